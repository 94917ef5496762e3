"""Exports answer as the evaluated model, calibrated, from the bytes that a client would send; others are caught."""

import base64
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.classifier.export import export_onnx
from components.failures import TransientError, UserError
from components.formats.evaluation import (
    METRICS_FILE,
    Calibration,
    read_evaluation,
    read_predictions,
    with_temperature,
    write_evaluation,
)
from components.register.model_exports import (
    Exports,
    _checks,
    check_formats,
    exported_files,
    golden_rows,
    read_exports,
    temperature_of,
    write_exports,
)
from components.register.promotion_gate import Gate
from tests.register.conftest import EvaluatedProject, Register

TEMPERATURE = 2.5
FORMATS = ("saved_model", "h5", "tflite", "onnx")


@pytest.fixture(scope="module")
def exports(evaluated: EvaluatedProject, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exports]:
    directory = tmp_path_factory.mktemp("exports") / "all"
    folders = (evaluated.model, evaluated.evaluation, evaluated.splits)
    return directory, write_exports(*folders, formats=FORMATS, temperature=TEMPERATURE, directory=directory)


def test_every_export_gives_the_calibrated_probabilities(
    exports: tuple[Path, Exports], evaluated: EvaluatedProject
) -> None:
    directory, written = exports
    assert [check.path for check in written.checks] == [
        "Animals_Classification.h5",
        "model.keras",
        "model.onnx",
        "model.tflite",
        "saved_model/1",
    ]
    assert all(check.passed for check in written.checks)
    assert max(check.largest_difference for check in written.checks if check.path != "model.tflite") < 1e-6
    assert max(check.from_model for check in written.checks if check.path != "model.tflite") < 1e-6
    assert read_exports(directory) == written
    golden = json.loads((directory / "golden_batch.json").read_text())
    predictions = read_predictions(evaluated.evaluation).set_index("path").loc[golden["paths"]]
    raw = predictions[[f"probability_{name}" for name in ("ash", "birch", "cedar")]].to_numpy(np.float64)
    powers = raw ** (1 / TEMPERATURE)
    np.testing.assert_allclose(golden["probabilities"], powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    assert np.abs(raw - golden["probabilities"]).max() > 0.01, "the temperature makes a difference"


@pytest.mark.parametrize("export", ["saved_model", "h5"])
def test_a_full_disk_is_said_to_be_full(export: str, evaluated: EvaluatedProject, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    room = (evaluated.model / "model.keras").stat().st_size + 8192  # for the model and a part of another file
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", disk], check=False).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        folders = (evaluated.model, evaluated.evaluation, evaluated.splits)
        with pytest.raises(TransientError, match="^the disk is full; give the step more ephemeral storage$"):
            write_exports(*folders, formats=(export,), temperature=1.0, directory=disk / "exports")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


SERVED = """
import json, sys, numpy as np, tensorflow as tf
module = tf.saved_model.load(sys.argv[1])
images = [tf.io.decode_base64(i["image_bytes"]["b64"].replace("+", "-").replace("/", "_").rstrip("=")) for i in json.load(open(sys.argv[2]))["request"]["instances"]]
answer = module.signatures["serving_default"](image_bytes=tf.stack(images))
print(json.dumps({"probabilities": answer["probabilities"].numpy().tolist(), "label": [l.decode() for l in answer["label"].numpy()]}))
"""  # noqa: E501


def test_a_process_that_knows_nothing_of_us_serves_the_golden_batch(exports: tuple[Path, Exports]) -> None:
    directory, _ = exports
    command = [sys.executable, "-c", SERVED, str(directory / "saved_model" / "1"), str(directory / "golden_batch.json")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", env={"PATH": "/usr/bin"})
    answer = json.loads(result.stdout)
    golden = json.loads((directory / "golden_batch.json").read_text())
    np.testing.assert_allclose(answer["probabilities"], golden["probabilities"], atol=1e-4)
    assert set(answer["label"]) <= {"ash", "birch", "cedar"}
    assert base64.b64decode(golden["request"]["instances"][0]["image_bytes"]["b64"])[:2] == b"\xff\xd8"


def test_exporting_again_gives_the_same_bytes(
    exports: tuple[Path, Exports], evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    folders = (evaluated.model, evaluated.evaluation, evaluated.splits)
    write_exports(*folders, formats=FORMATS[::-1], temperature=TEMPERATURE, directory=tmp_path / "again")
    first, again = exported_files(exports[0]), exported_files(tmp_path / "again")
    assert first.keys() == again.keys()
    assert [name for name, path in first.items() if path.read_bytes() != again[name].read_bytes()] == []


def test_an_export_that_answers_otherwise_is_rejected(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    project = evaluated.copy_to(tmp_path / "copy")
    path = project.evaluation / "predictions.parquet"
    predictions = pd.read_parquet(path)
    predictions["probability_ash"] = predictions["probability_ash"] + 0.01
    predictions.to_parquet(path, index=False)
    shutil.rmtree(project.exports)
    folders = (project.model, project.evaluation, project.splits)
    write_exports(*folders, formats=("saved_model",), temperature=1.0, directory=project.exports)
    registration = register(project, gate=Gate(0.0))
    assert len(registration.rejected) == 2
    assert "saved_model/1 differs by" in registration.rejected[1]
    assert "it answers as the model that it was made of" in registration.rejected[1]
    assert "itself differs by 9.90e-03 from what was evaluated: evaluate again" in registration.rejected[1]
    assert not registration.champion


@pytest.mark.parametrize(
    ("export", "model", "passed", "message"),
    [
        (3e-5, 3e-5, True, "0.00003"),
        (5e-4, 0.0, False, "the export is wrong"),
        (5e-4, 5e-4, False, "evaluate again, on a CPU if it was not"),
        (0.0, 5e-4, False, "the export is wrong"),
    ],
    ids=["another machine", "broken export", "other evaluation", "right by chance"],
)
def test_it_shows_which_is_wrong(export: float, model: float, passed: bool, message: str) -> None:
    evaluated = np.array([[0.25, 0.75]])
    given, own = (evaluated + np.array([[off, -off]]) for off in (export, model))
    (check,) = _checks({"saved_model/1": given.tolist()}, own, evaluated)
    assert check.passed == passed
    assert passed or message in str(check)


def test_exports_of_another_model_are_refused(register: Register, evaluated: EvaluatedProject, tmp_path: Path) -> None:
    project = evaluated.copy_to(tmp_path / "copy")
    path = project.exports / "exports.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"the exports are of another model\.keras"):
        register(project)


def test_another_temperature_is_another_version(
    register: Register, evaluated: EvaluatedProject, exports: tuple[Path, Exports], tmp_path: Path
) -> None:
    project = EvaluatedProject(evaluated.splits, evaluated.model, evaluated.evaluation, exports[0])
    first, second = register(), register(project, registry_uri=str(tmp_path / "other"))
    assert first.version != second.version
    assert json.loads((Path(second.uri) / "preprocessing.json").read_text())["temperature"] == TEMPERATURE
    assert json.loads((Path(second.uri) / "lineage.json").read_text())["calibration"]["applied_temperature"] == 2.5


def test_onnx_without_its_converter_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UserError, match="ONNX needs tf2onnx, which is not installed here"):
        export_onnx(None, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("calibration", "applied", "expected"),
    [(Calibration(1.7, fitted=True), True, 1.7), (Calibration(1.7), False, 1.0), (Calibration(), True, 1.0)],
)
def test_which_temperature_is_applied(
    evaluated: EvaluatedProject, calibration: Calibration, applied: bool, expected: float, tmp_path: Path
) -> None:
    write_evaluation(dataclasses.replace(read_evaluation(evaluated.evaluation), calibration=calibration), tmp_path)
    assert temperature_of(tmp_path, apply_temperature=applied) == expected


def test_an_evaluation_of_before_there_was_calibration_has_no_temperature(
    evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    known = json.loads((evaluated.evaluation / METRICS_FILE).read_text())
    del known["calibration"]
    (tmp_path / METRICS_FILE).write_text(json.dumps(known))
    assert temperature_of(tmp_path, apply_temperature=True) == 1.0


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"metrics\.json is missing"), ("{", r"metrics\.json is damaged"), ("[]", "damaged"), ("{}", "damaged")],
)
def test_an_evaluation_that_cannot_be_read(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / METRICS_FILE).write_text(content)
    with pytest.raises(UserError, match=message):
        temperature_of(tmp_path, apply_temperature=True)


def test_the_golden_batch_has_every_class_and_is_always_the_same() -> None:
    rows = [(f"{label}/{number:03d}.jpg", label) for label, count in (("a", 100), ("b", 3)) for number in range(count)]
    predictions = pd.DataFrame(rows, columns=["path", "true_class"])
    chosen = golden_rows(predictions)
    assert len(chosen) == 16
    assert (chosen["true_class"] == "b").sum() == 3
    pd.testing.assert_frame_equal(chosen, golden_rows(predictions.sample(frac=1.0, random_state=1)))


def test_probabilities_of_zero_stay_finite() -> None:
    scaled = with_temperature(np.array([[1.0, 0.0, 0.0]]), 4.0)
    assert np.isfinite(scaled).all()
    assert scaled[0, 0] == pytest.approx(1.0)


def test_unknown_formats_are_named() -> None:
    with pytest.raises(UserError, match="exports names 'torch': choose among saved_model, h5, tflite, onnx"):
        check_formats(["saved_model", "torch"])
