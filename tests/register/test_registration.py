"""A version is registered once, whole, and verifiably, whatever stops or doubles the attempt."""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import storage
from components.failures import UserError
from components.formats import model_bundle
from components.formats.evaluation import PREDICTIONS_FILE, read_evaluation, read_predictions, write_evaluation
from components.formats.model_bundle import EXPORTS_FILE, verify_bundle
from components.formats.source_record import SourceRecord
from components.formats.splits import read_splits, write_splits
from components.formats.trained_model import KERAS_FILE, Resumption, read_training_record, write_training_record
from components.register.command_line import main
from components.register.lineage import Origin
from components.register.promotion_gate import Gate
from components.register.registration import Registration
from components.register.registry import ModelRegistry
from tests.register.conftest import CREATED, ORIGIN, EvaluatedProject, Register

BUNDLE_FILES = {
    "README.md",
    "reliability.png",
    "slices.csv",
    "exports.json",
    "golden_batch.json",
    "model_card.html",
    "packages.txt",
    "predictions.parquet",
    "confusion_matrix.png",
    "curves.png",
    "history.csv",
    "labels.json",
    "labels.txt",
    "lineage.json",
    "manifest.json",
    "metrics.json",
    "model.keras",
    "per_class.csv",
    "preprocessing.json",
    "roc.png",
    "saved_model/1/fingerprint.pb",
    "saved_model/1/saved_model.pb",
    "saved_model/1/variables/variables.data-00000-of-00001",
    "saved_model/1/variables/variables.index",
}


class StoppedError(BaseException):
    """Stands for a killed process: nothing may handle it."""


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def bytes_below(directory: Path) -> dict[str, bytes]:
    """Return files' bytes by path, without hidden ones: locks and leftovers of interrupted writes."""
    files = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def saved_later(project: EvaluatedProject, directory: Path) -> EvaluatedProject:
    """Return the same model saved at another time: other bytes, same weights, evaluated again."""
    copy = project.copy_to(directory)
    path = copy.model / KERAS_FILE
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["metadata.json"] = json.dumps(json.loads(members["metadata.json"]) | {"date_saved": "later"}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2030, 1, 1, 0, 0, 0)), data)
    shutil.copyfile(path, copy.exports / KERAS_FILE)
    (copy.exports / "saved_model" / "1" / "fingerprint.pb").write_bytes(b"of another export")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    write_evaluation(dataclasses.replace(read_evaluation(copy.evaluation), model_sha256=sha256), copy.evaluation)
    say_exports_are_of(sha256, copy)
    return copy


def say_exports_are_of(sha256: str, project: EvaluatedProject) -> None:
    path = project.exports / EXPORTS_FILE
    path.write_text(json.dumps(read_json(path) | {"model_sha256": sha256}))


def test_first_registration(register: Register, tmp_path: Path) -> None:
    registration = register()
    bundle = Path(registration.uri)
    assert bundle.is_relative_to(tmp_path / "registry" / "trees" / "versions" / registration.version)
    assert bytes_below(bundle).keys() == BUNDLE_FILES
    manifest = verify_bundle(bundle)
    assert (manifest.model_name, manifest.version) == ("trees", registration.version)
    index = read_json(tmp_path / "registry" / "trees" / "index.json")
    assert index["aliases"] == {"candidate": registration.version, "champion": registration.version}
    (record,) = index["versions"]
    assert (record["created"], record["run"]) == (CREATED, "run-1")
    assert record["accuracy"] == pytest.approx(15 / 17)
    assert tmp_path / "registry" / "trees" / record["path"] == bundle
    entry = read_json(tmp_path / "entry" / "entry.json")
    assert entry["uri"] == registration.uri
    assert entry["aliases"] == ["candidate", "champion"]
    assert entry["gate"]["passed"]
    assert {file["path"] for file in entry["files"]} == BUNDLE_FILES - {"manifest.json"}


def test_every_file_of_a_bundle_is_in_its_description() -> None:
    described = str(model_bundle.__doc__)
    assert [path for path in BUNDLE_FILES if path.partition("/")[0] not in described] == []


def test_what_the_bundle_says(register: Register) -> None:
    bundle = Path(register().uri)
    assert read_json(bundle / "labels.json") == {"class_names": ["ash", "birch", "cedar"]}
    assert (bundle / "labels.txt").read_text() == "ash\nbirch\ncedar\n"
    assert read_json(bundle / "preprocessing.json")["image_size_px"] == 32
    lineage = read_json(bundle / "lineage.json")
    assert lineage["source"] == "gs://photos/trees.zip"
    assert lineage["dataset"]["digest"] == "d" * 64
    assert lineage["training"]["settings"] == {"frozen": {"epochs": 2}, "fine_tune": {"epochs": 1}}
    assert lineage["package"]["version"]
    assert lineage["image"] == "unknown"
    card = (bundle / "README.md").read_text()
    assert "| Accuracy | 0.882 (15 of 17 images) |" in card
    assert "| cedar | 1.000 | 0.500 (0.000 to 1.000) |" in card


@pytest.mark.parametrize(
    ("read", "generation"),
    [
        (SourceRecord("gs://photos/trees.zip", "f" * 64, 1, 17), "17"),
        (SourceRecord("gs://photos/trees", "f" * 64, 1234), "none of its own, 1,234 files: see the fingerprint"),
        (None, "not told"),
    ],
    ids=["object", "folder", "splits of before"],
)
def test_lineage_names_what_was_read(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, read: SourceRecord | None, generation: str
) -> None:
    project = evaluated.copy_to(tmp_path / "copy")
    write_splits(dataclasses.replace(read_splits(project.splits), source=read), project.splits)
    told = dataclasses.replace(ORIGIN, source_fingerprint="a" * 64)
    bundle = Path(register(project, origin=told).uri)
    lineage = read_json(bundle / "lineage.json")
    fingerprint = read.fingerprint if read else "a" * 64
    assert lineage["source_fingerprint"] == fingerprint
    assert lineage["source_files"] == (read.files if read else None)
    card = (bundle / "README.md").read_text()
    assert f"| source generation | `{generation}` |" in card
    assert f"| source fingerprint | `{fingerprint}` |" in card


def test_lineage_tells_the_time_of_all_attempts_at_training(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    project = evaluated.copy_to(tmp_path / "copy")
    assert read_json(Path(register(project).uri) / "lineage.json")["training_seconds"] == 9.0  # of its epochs
    resumed = {"frozen": [], "fine_tune": [Resumption(1, 10)]}
    record = dataclasses.replace(
        read_training_record(project.model), seconds={"frozen": 12.5, "fine_tune": 30.0}, resumed=resumed
    )
    write_training_record(record, project.model)

    bundle = Path(register(project, registry_uri=str(tmp_path / "another")).uri)

    lineage = read_json(bundle / "lineage.json")
    assert lineage["training_seconds"] == 42.5
    assert lineage["training"]["resumed"]["fine_tune"] == [{"epoch": 1, "batches": 10}]
    assert "On CPU, 42 s of training in all attempts" in (bundle / "README.md").read_text()


def test_lineage_names_the_image_that_the_step_was_placed_in(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = f"registry.example/team/image-classification-training@sha256:{'b' * 64}"
    monkeypatch.setenv("IMAGE_REFERENCE", image)
    bundle = Path(register().uri)
    assert read_json(bundle / "lineage.json")["image"] == image
    assert image in (bundle / "README.md").read_text(encoding="utf-8")


def test_a_second_registration_changes_nothing(register: Register, tmp_path: Path) -> None:
    first = register()
    before, entry = bytes_below(tmp_path / "registry"), bytes_below(tmp_path / "entry")
    assert register(origin=Origin("photos", "run-2"), created="2027-01-01T00:00:00+00:00") == first
    assert bytes_below(tmp_path / "registry") == before
    assert bytes_below(tmp_path / "entry") == entry


def test_a_model_saved_again_is_the_same_version(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    first = register()
    before = bytes_below(tmp_path / "registry")
    second = register(saved_later(evaluated, tmp_path), origin=Origin("photos", "run-2"))
    assert second == first
    assert bytes_below(tmp_path / "registry") == before, "the first writer stays"


def test_other_weights_are_another_version(register: Register, evaluated: EvaluatedProject, tmp_path: Path) -> None:
    first = register()
    second = register(retrained(evaluated, tmp_path / "b", 16))
    assert second.version != first.version
    index = read_json(tmp_path / "registry" / "trees" / "index.json")
    assert [record["version"] for record in index["versions"]] == [first.version, second.version]
    versions = {"candidate": second.version, "champion": second.version, "previous": first.version}
    assert index["aliases"] == versions
    verify_bundle(first.uri)
    verify_bundle(second.uri)


def retrained(project: EvaluatedProject, directory: Path, right: int) -> EvaluatedProject:
    """Return a model with other weights, right on so many of the 17 test images and wrong on those after them."""
    copy = project.copy_to(directory)
    table = read_predictions(copy.evaluation).sort_values("path", kind="stable")
    wrong = table["true_class"].map({"ash": "birch", "birch": "cedar", "cedar": "ash"})
    table["predicted_class"] = table["true_class"].where(np.arange(len(table)) < right, wrong)
    table.to_parquet(copy.evaluation / PREDICTIONS_FILE, index=False)
    path = copy.model / KERAS_FILE
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["model.weights.h5"] += str(right).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    evaluation = dataclasses.replace(read_evaluation(copy.evaluation), accuracy=right / 17, correct_images=right)
    write_evaluation(dataclasses.replace(evaluation, model_sha256=sha256), copy.evaluation)
    say_exports_are_of(sha256, copy)
    return copy


def test_a_weak_model_is_registered_as_rejected(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registration = register(gate=Gate(0.9))
    assert not registration.champion
    verify_bundle(registration.uri)
    index = read_json(tmp_path / "registry" / "trees" / "index.json")
    assert index["aliases"] == {}
    reason = "rejected: test accuracy 0.8824 is below the required 0.9000"
    assert read_json(tmp_path / "entry" / "entry.json")["gate"]["reason"] == reason
    assert reason in capsys.readouterr().out
    assert register(gate=Gate(0.85)).champion, "judged anew with another minimum"


def count_writes(register: Register, registry: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    return with_stop_at(None, register, registry, monkeypatch, after=False)


def with_stop_at(
    number: int | None,
    register: Register,
    registry: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    after: bool,
    project: EvaluatedProject | None = None,
) -> int:
    """Register and stop before or after the write of that number; return how many writes there were."""
    writes = 0

    def stopping(write: Callable[..., bool]) -> Callable[..., bool]:
        def call(*arguments: Any) -> bool:
            nonlocal writes
            writes += 1
            if writes == number and not after:
                raise StoppedError
            written = write(*arguments)
            if writes == number:
                raise StoppedError
            return written

        return call

    with monkeypatch.context() as patch:
        for name in ("write_if_absent", "write_if_unchanged"):
            patch.setattr(storage, name, stopping(getattr(storage, name)))
        arguments = {"registry_uri": str(registry)} | ({"project": project} if project else {})
        if number is None:
            register(**arguments)
        else:
            with pytest.raises(StoppedError):
                register(**arguments)
    return writes


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
def test_an_attempt_stopped_at_any_write_is_completed_by_the_next(
    register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    writes = count_writes(register, tmp_path / "whole", monkeypatch)
    expected = bytes_below(tmp_path / "whole")
    assert writes == len(BUNDLE_FILES) + 1, "every file, and the index"
    for number in range(1, writes + 1):
        registry = tmp_path / f"stopped-{number}"
        with_stop_at(number, register, registry, monkeypatch, after=after)
        registration = register(registry_uri=str(registry))
        verify_bundle(registration.uri)
        assert bytes_below(registry) == expected, number


def test_leftovers_of_other_bytes_are_left_aside(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = saved_later(evaluated, tmp_path / "later")
    for number in range(1, len(BUNDLE_FILES) + 2):
        registry = tmp_path / f"stopped-{number}"
        with_stop_at(number, register, registry, monkeypatch, after=True, project=later)
        registration = register(registry_uri=str(registry))
        verify_bundle(registration.uri)
        index = read_json(registry / "trees" / "index.json")
        assert len(index["versions"]) == 1
        assert registry / "trees" / index["versions"][0]["path"] == Path(registration.uri)


@pytest.mark.parametrize("same_bytes", [True, False], ids=["same bytes", "saved at different times"])
def test_eight_threads_leave_one_version(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, same_bytes: bool
) -> None:
    later = saved_later(evaluated, tmp_path / "later")
    barrier = threading.Barrier(8)

    def attempt(number: int) -> Registration:
        barrier.wait()
        project = evaluated if same_bytes or number % 2 else later
        return register(
            project,
            entry=tmp_path / f"entry-{number}",
            card=tmp_path / f"card-{number}",
            origin=Origin("photos", f"run-{number}"),
        )

    with ThreadPoolExecutor(8) as pool:
        registrations = list(pool.map(attempt, range(8)))
    assert len(set(registrations)) == 1
    verify_bundle(registrations[0].uri)
    index = read_json(tmp_path / "registry" / "trees" / "index.json")
    assert len(index["versions"]) == 1
    assert index["aliases"] == dict.fromkeys(("candidate", "champion"), registrations[0].version)
    entries = {(tmp_path / f"entry-{number}" / "entry.json").read_bytes() for number in range(8)}
    assert len(entries) == 1


def test_eight_threads_with_eight_models_lose_none(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    projects = [retrained(evaluated, tmp_path / str(right), right) for right in range(10, 18)]

    def attempt(number: int) -> Registration:
        own = {"entry": tmp_path / f"entry-{number}", "card": tmp_path / f"card-{number}"}
        return register(projects[number], gate=Gate(0.5), **own)

    with ThreadPoolExecutor(8) as pool:
        registrations = list(pool.map(attempt, range(8)))
    index = read_json(tmp_path / "registry" / "trees" / "index.json")
    assert {record["version"] for record in index["versions"]} == {r.version for r in registrations}
    assert len(index["versions"]) == 8
    assert index["aliases"]["champion"] == registrations[7].version, "the best of them, in whatever order they came"


PROCESS = """
import sys
from pathlib import Path
from components.register.lineage import Origin
from components.register.promotion_gate import Gate
from components.register.registration import register_model
model, evaluation, splits, exports, registry, entry = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
print(register_model(Path(model), Path(evaluation), Path(splits), Path(exports), registry_uri=registry,
    model_name="trees", gate=Gate(0.8), origin=Origin("photos", "run"), created="now", entry=Path(entry),
    card=Path(entry + ".html")).uri)
assert not {"tensorflow", "keras", "kfp"} & sys.modules.keys()
"""


def test_processes_at_once_leave_one_version_and_load_no_tensorflow(
    evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    registry = tmp_path / "registry"
    folders = [str(folder) for folder in (evaluated.model, evaluated.evaluation, evaluated.splits, evaluated.exports)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, *folders, str(registry), str(tmp_path / f"entry-{number}")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0].splitlines()[-1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len(set(outputs)) == 1
    verify_bundle(outputs[0])
    assert len(read_json(registry / "trees" / "index.json")["versions"]) == 1


def test_a_registry_in_cloud_storage(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, new_bucket: Callable[[], str]
) -> None:
    registry = f"{new_bucket()}/models"
    with ThreadPoolExecutor(4) as pool:
        registrations = list(
            pool.map(
                lambda n: register(registry_uri=registry, entry=tmp_path / f"entry-{n}", card=tmp_path / f"card-{n}"),
                range(4),
            )
        )
    assert len(set(registrations)) == 1
    uri = registrations[0].uri
    assert uri.startswith(f"{registry}/trees/versions/")
    assert {file.uri.removeprefix(f"{uri}/") for file in storage.list_files(uri)} == BUNDLE_FILES
    verify_bundle(uri)
    index = json.loads(storage.read_bytes(f"{registry}/trees/index.json"))
    assert len(index["versions"]) == 1
    second = register(retrained(evaluated, tmp_path / "b", 16), registry_uri=registry)
    assert json.loads(storage.read_bytes(f"{registry}/trees/index.json"))["aliases"] == {
        "candidate": second.version,
        "champion": second.version,
        "previous": registrations[0].version,
    }


def test_a_missing_bucket_is_named(register: Register, gcs: str) -> None:
    with pytest.raises(UserError, match="gs://no-such-bucket-here does not exist"):
        register(registry_uri="gs://no-such-bucket-here/models")


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, 80.0, float("nan")])
def test_minimum_accuracy_outside_its_range(accuracy: float) -> None:
    with pytest.raises(UserError, match="minimum_accuracy is .*: give a number from 0 to 1"):
        Gate(accuracy)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "two words", "x" * 64, "übersicht", "a\n"])
def test_malformed_model_names(register: Register, name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model_name is"):
        register(model_name=name)
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize("uri", ["", "  ", "s3://bucket/models", "https://example.com"])
def test_malformed_registries(register: Register, uri: str) -> None:
    with pytest.raises(UserError, match="registry_uri is"):
        register(registry_uri=uri)


def test_a_registry_that_cannot_be_written(register: Register, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="cannot"):
        register(registry_uri=str(tmp_path / "file"))


def test_a_read_only_registry(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uri: str, data: bytes | Path) -> bool:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), uri)

    monkeypatch.setattr(storage, "write_if_absent", refuse)
    with pytest.raises(UserError, match="cannot be written: .*Read-only file system"):
        register()


def test_a_damaged_index_is_named(register: Register, tmp_path: Path) -> None:
    register()
    (tmp_path / "registry" / "trees" / "index.json").write_text("{")
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        register()


def test_a_stored_file_with_other_bytes_is_named(register: Register, tmp_path: Path) -> None:
    bundle = Path(register().uri)
    (bundle / "manifest.json").unlink()
    (bundle / "labels.json").write_text("{}")
    with pytest.raises(UserError, match=r"labels\.json exists and holds other bytes"):
        register()


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("model", "model.keras"),
        ("model", "training.json"),
        ("model", "history.csv"),
        ("evaluation", "metrics.json"),
        ("evaluation", "per_class.csv"),
        ("splits", "splits.json"),
    ],
)
def test_a_missing_input_is_named(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, folder: str, file: str
) -> None:
    project = evaluated.copy_to(tmp_path)
    (getattr(project, folder) / file).unlink()
    with pytest.raises(UserError, match=file):
        register(project)


def test_a_damaged_input_is_named(register: Register, evaluated: EvaluatedProject, tmp_path: Path) -> None:
    project = evaluated.copy_to(tmp_path)
    (project.evaluation / "metrics.json").write_text("{")
    with pytest.raises(UserError, match="model, evaluation or splits are damaged"):
        register(project)


def test_a_model_without_a_savedmodel_is_the_same_version(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    project = evaluated.copy_to(tmp_path)
    shutil.rmtree(project.exports / "saved_model")
    (project.exports / "model.h5").write_bytes(b"legacy")
    bundle = Path(register(project, registry_uri=str(tmp_path / "other")).uri)
    assert "saved_model" not in read_json(bundle / "preprocessing.json")
    assert (bundle / "model.h5").read_bytes() == b"legacy"
    assert bundle.parent.name == register().version
    verify_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset_digest": "e" * 64}, "different datasets"),
        ({"class_names": ["a", "b", "c"]}, "different classes"),
        ({"model_sha256": "f" * 64}, "the evaluation is of another model.keras"),
    ],
)
def test_scores_of_another_model_are_refused(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    project = evaluated.copy_to(tmp_path)
    write_evaluation(dataclasses.replace(read_evaluation(project.evaluation), **change), project.evaluation)
    with pytest.raises(UserError, match=message):
        register(project)


def test_a_file_that_is_no_keras_model(register: Register, evaluated: EvaluatedProject, tmp_path: Path) -> None:
    project = evaluated.copy_to(tmp_path)
    (project.model / KERAS_FILE).write_bytes(b"no zip")
    sha256 = hashlib.sha256(b"no zip").hexdigest()
    write_evaluation(dataclasses.replace(read_evaluation(project.evaluation), model_sha256=sha256), project.evaluation)
    with pytest.raises(UserError, match=r"the exports are of another model\.keras"):
        register(project)
    say_exports_are_of(sha256, project)
    with pytest.raises(UserError, match=r"model\.keras is missing or damaged"):
        register(project)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("file", ["model.keras", "manifest.json", "README.md"])
def test_a_damaged_bundle_is_replaced_by_registering_the_model_again(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    first = register()
    flip_a_byte(Path(first.uri) / file)
    damaged = bytes_below(Path(first.uri))
    second = register(origin=Origin("photos", "run-2"))
    out = capsys.readouterr().out
    assert file in out.partition("a new bundle takes its place")[0]
    assert (second.version, second.champion) == (first.version, True)
    assert second.uri != first.uri
    assert bytes_below(Path(first.uri)) == damaged, "files are never replaced"
    index = ModelRegistry(str(tmp_path / "registry"), "trees").read_index()
    (record,) = index.versions
    assert ModelRegistry(str(tmp_path / "registry"), "trees").verify(record).version == first.version
    assert (record.run, record.created) == ("run-1", CREATED)


def test_a_damaged_bundle_of_the_very_same_files_is_named_and_not_called_registered(register: Register) -> None:
    bundle = Path(register().uri)
    flip_a_byte(bundle / "model.keras")
    with pytest.raises(UserError, match=r"model\.keras exists and holds other bytes than it should: delete it"):
        register()
    (bundle / "model.keras").unlink()
    assert register().uri == str(bundle)
    verify_bundle(bundle)
    (bundle / "planted.py").write_text("import os")
    with pytest.raises(UserError, match=r"planted\.py is not in its manifest\.json; delete it"):
        register()


def test_a_damaged_bundle_in_cloud_storage_is_replaced(register: Register, new_bucket: Callable[[], str]) -> None:
    registry = f"{new_bucket()}/models"
    first = register(registry_uri=registry)
    storage.delete_file(f"{first.uri}/model.keras")
    storage.write_if_absent(f"{first.uri}/model.keras", b"other")
    second = register(registry_uri=registry, origin=Origin("photos", "run-2"))
    assert (second.version, second.champion) == (first.version, True)
    assert second.uri != first.uri
    verify_bundle(second.uri)


def with_exports(project: EvaluatedProject, directory: Path, *names: str) -> EvaluatedProject:
    """Return the same model with exports besides the SavedModel."""
    copy = project.copy_to(directory)
    for name in names:
        (copy.exports / name).write_bytes(name.encode())
    return copy


def test_an_accepted_version_gains_an_export(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = register()
    before = bytes_below(Path(first.uri))
    second = register(with_exports(evaluated, tmp_path / "h5", "model.h5"))
    assert "model.h5 is added: a new bundle takes the place of" in capsys.readouterr().out
    assert (second.version, second.champion, second.versions) == (first.version, True, 1)
    assert (Path(second.uri) / "model.h5").read_bytes() == b"model.h5"
    assert bytes_below(Path(first.uri)) == before, "who reads the earlier one goes on"
    assert register().uri == second.uri, "nothing is lost by registering with fewer"
    third = register(with_exports(evaluated, tmp_path / "onnx", "model.onnx"))
    assert third.uri == second.uri
    assert "it has no model.onnx, and stays without: the new bundle would lack model.h5" in capsys.readouterr().out
    verify_bundle(third.uri)


def test_no_export_is_added_that_does_not_work_or_that_nobody_signed(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = register()
    broken = with_exports(evaluated, tmp_path / "broken", "model.h5")
    facts = read_json(broken.exports / EXPORTS_FILE)
    facts["checks"][0]["largest_difference"] = 0.5
    (broken.exports / EXPORTS_FILE).write_text(json.dumps(facts))
    assert register(broken) == first
    assert "stays without: not every export made now answers" in capsys.readouterr().out
    Path(f"{first.uri}.sig").write_text("signature")
    assert register(with_exports(evaluated, tmp_path / "h5", "model.h5")) == first
    assert f"it is signed; delete {first.uri}.sig" in capsys.readouterr().out
    flip_a_byte(Path(first.uri) / "model.keras")
    with pytest.raises(UserError, match="register it again with exports that do"):
        register(broken)


def test_eight_threads_with_more_and_fewer_exports_leave_the_most(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    more = with_exports(evaluated, tmp_path / "h5", "model.h5")
    barrier = threading.Barrier(8)

    def attempt(number: int) -> Registration:
        barrier.wait()
        own = {"entry": tmp_path / f"entry-{number}", "card": tmp_path / f"card-{number}"}
        return register(more if number % 2 else evaluated, **own)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(8)))
    registry = ModelRegistry(str(tmp_path / "registry"), "trees")
    (record,) = registry.read_index().versions
    assert registry.verify(record).exports == {"saved_model", "model.h5"}


WRITER = """
import sys, time
from components import storage

def wait(number):
    print("writing", flush=True)
    time.sleep(600)

storage.os.fsync = wait  # all bytes are there, and nothing is published
storage.write_if_absent(sys.argv[1], b"x" * 1000)
"""


def test_what_killed_writers_left_is_deleted_by_the_next_that_registers(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(register().uri) / "saved_model" / "1"

    def writer(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(folder / name)]
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert started.stdout is not None
        assert started.stdout.readline() == "writing\n"
        return started

    def half_written() -> list[Path]:
        return sorted(folder.glob(".*.storage-partial"))

    killed = writer("killed")
    killed.kill()
    killed.wait()
    assert killed.stdout is not None
    killed.stdout.close()
    [left] = half_written()
    with writer("at work") as at_work:
        try:
            hours_ago = time.time() - 7200
            for path in half_written():
                os.utime(path, (hours_ago, hours_ago))
            capsys.readouterr()
            assert main(["verify", str(tmp_path / "registry"), "trees"]) == 0
            told = capsys.readouterr().out.splitlines()
            assert told[-3:] == [
                "NOTE       1 file, 0.0 MB, which killed writers left half-written and nobody reads:",
                f"           {left}",
                "           registering the next version of trees deletes them",
            ]
            assert left.exists(), "looking changes nothing"
            register(retrained(evaluated, tmp_path / "better", 16))
            assert "register: removed 1,000 bytes that killed attempts left half-written" in capsys.readouterr().out
            [stays] = half_written()
            assert stays != left
            assert main(["verify", str(tmp_path / "registry"), "trees"]) == 0
            assert "NOTE" not in capsys.readouterr().out
        finally:
            at_work.kill()
