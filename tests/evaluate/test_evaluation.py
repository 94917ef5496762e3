"""Every test image is counted once, on inputs that are what they claim to be, and the page says what was found."""

import dataclasses
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from components.failures import UserError
from components.formats.evaluation import read_evaluation, read_per_class, read_predictions
from components.formats.splits import read_splits, write_splits
from components.formats.trained_model import KERAS_FILE, read_training_record, write_training_record
from tests.evaluate.tiny_project import LOOKS_LIKE, TEST_LABELS, TinyProject, evaluate_project, write_project

Outputs = tuple[Path, Path]


@pytest.fixture
def copy(project: TinyProject, tmp_path: Path) -> TinyProject:
    """A project to damage."""
    return dataclasses.replace(
        project,
        splits=shutil.copytree(project.splits, tmp_path / "splits"),
        model=shutil.copytree(project.model, tmp_path / "model"),
        frozen=shutil.copytree(project.frozen, tmp_path / "frozen"),
    )


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_every_image_counts_once_whatever_the_batch(project: TinyProject, outputs: Outputs, batch_size: int) -> None:
    evaluate_project(project, *outputs, batch_size=batch_size)
    evaluation = read_evaluation(outputs[0])
    assert (evaluation.correct_images, evaluation.test_images) == (15, 17)
    assert evaluation.confusion_matrix == [[8, 0, 0], [0, 5, 0], [0, 2, 2]]
    assert evaluation.accuracy == pytest.approx(15 / 17)
    assert evaluation.majority_class == "ash"
    assert evaluation.majority_baseline == pytest.approx(8 / 17)
    assert evaluation.macro_recall == pytest.approx((1 + 1 + 0.5) / 3)
    predictions = read_predictions(outputs[0])
    names = np.array(evaluation.class_names)
    assert predictions["path"].is_unique
    assert predictions["true_class"].tolist() == names[list(TEST_LABELS)].tolist()
    assert predictions["predicted_class"].tolist() == names[list(LOOKS_LIKE)].tolist()
    by_class = predictions[[f"probability_{name}" for name in names]].to_numpy()
    assert by_class.sum(axis=1) == pytest.approx(np.ones(17), abs=1e-5)
    assert read_per_class(outputs[0])["test_images"].tolist() == [8, 5, 4]


def test_a_second_run_over_leftovers_gives_the_same_bytes(project: TinyProject, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    (second / "leftover.txt").write_text("of an attempt that was stopped")
    for directory in (first, second):
        evaluate_project(project, directory, directory.with_suffix(".html"))
    files = sorted(path.name for path in first.iterdir())
    assert files == sorted(path.name for path in second.iterdir())
    assert len(files) == 12
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert first.with_suffix(".html").read_bytes() == second.with_suffix(".html").read_bytes()


def test_the_page_opens_with_the_verdict_and_shows_the_mistakes(project: TinyProject, outputs: Outputs) -> None:
    evaluate_project(project, *outputs)
    page = outputs[1].read_text(encoding="utf-8")
    assert "15 of 17 test images right: accuracy 0.88; a majority guess gets 0.47." in page
    assert "The test set is small: with 17 images the true accuracy lies between 0.66 and 0.97" in page
    assert page.count('<img src="data:image/jpeg') == 2 * 2 + 12 + 2 * 12
    assert "cedar/015.jpg" in page
    assert "Mistakes" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page), "nothing is fetched"


def test_hostile_class_names_stay_text(tmp_path: Path, outputs: Outputs) -> None:
    names = ["<script>alert(1)</script>", "a$b$c_{", "_hidden", "鳥", "é\"'&amp;", "x" * 90]
    labels = [number % 5 for number in range(20)]  # the last class has no test image
    project = write_project(tmp_path, names, labels, [*labels[:-1], 0])
    evaluate_project(project, *outputs)
    page = outputs[1].read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "No test image of 1 of 6 classes" in page
    assert ">n/a<" in page
    assert not re.search(r">\s*(nan|None)\s*<", page)
    assert read_evaluation(outputs[0]).class_names == names


def test_only_one_class_in_the_test_split_has_no_auc(tmp_path: Path, outputs: Outputs) -> None:
    project = write_project(tmp_path, test_labels=[1, 1, 1], looks_like=[1, 1, 0], shards=1)
    evaluate_project(project, *outputs)
    evaluation = json.loads((outputs[0] / "metrics.json").read_text())
    assert evaluation["auc_macro"] is None
    assert evaluation["majority_baseline"] == 1.0
    assert "no better than always answering “birch”" in outputs[1].read_text(encoding="utf-8")


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batch_size_below_one(project: TinyProject, outputs: Outputs, batch_size: int) -> None:
    with pytest.raises(UserError, match=f"batch_size is {batch_size}"):
        evaluate_project(project, *outputs, batch_size=batch_size)


def test_a_corrupt_shard_is_named(copy: TinyProject, outputs: Outputs) -> None:
    shard = copy.splits / "test-00001-of-00002.tfrecord"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match=r"test-00001-of-00002\.tfrecord is corrupt"):
        evaluate_project(copy, *outputs)
    assert not any(path.exists() for path in outputs)


def test_a_missing_shard_is_named(copy: TinyProject, outputs: Outputs) -> None:
    (copy.splits / "test-00000-of-00002.tfrecord").unlink()
    with pytest.raises(UserError, match=r"lack the shard test-00000-of-00002\.tfrecord"):
        evaluate_project(copy, *outputs)


def test_a_wrong_count_in_the_splits_is_found(copy: TinyProject, outputs: Outputs) -> None:
    splits = read_splits(copy.splits)
    test = dataclasses.replace(splits.splits["test"], images=18)
    write_splits(dataclasses.replace(splits, splits=splits.splits | {"test": test}), copy.splits)
    with pytest.raises(UserError, match=r"hold 17 images, splits\.json says 18"):
        evaluate_project(copy, *outputs)


def test_an_empty_test_split(copy: TinyProject, outputs: Outputs) -> None:
    splits = read_splits(copy.splits)
    test = dataclasses.replace(splits.splits["test"], images=0, shards=[])
    write_splits(dataclasses.replace(splits, splits=splits.splits | {"test": test}), copy.splits)
    with pytest.raises(UserError, match="the test split is empty"):
        evaluate_project(copy, *outputs)


@pytest.mark.parametrize("change", [{"dataset_digest": "e" * 64}, {"class_names": ["birch", "ash", "cedar"]}])
def test_a_model_of_other_splits_is_refused(copy: TinyProject, outputs: Outputs, change: dict[str, object]) -> None:
    write_training_record(dataclasses.replace(read_training_record(copy.model), **change), copy.model)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="trained on other splits"):
        evaluate_project(copy, *outputs)


@pytest.mark.parametrize("change", [{"resize_policy": "pad"}, {"shards_digest": "5" * 64}])
def test_other_pixels_of_the_same_images_are_refused(
    copy: TinyProject, outputs: Outputs, change: dict[str, str]
) -> None:
    write_training_record(dataclasses.replace(read_training_record(copy.model), **change), copy.model)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="trained on other pixels of the same images"):
        evaluate_project(copy, *outputs)


@pytest.mark.parametrize("missing", ["splits.json", "training.json", "history.csv", "model.keras"])
def test_a_missing_file_is_named(copy: TinyProject, outputs: Outputs, missing: str) -> None:
    for directory in (copy.splits, copy.model):
        (directory / missing).unlink(missing_ok=True)
    with pytest.raises(UserError, match=missing.replace(".", r"\.")):
        evaluate_project(copy, *outputs)


@pytest.mark.parametrize(
    ("folder", "file", "message"),
    [
        ("splits", "splits.json", r"splits\.json is damaged"),
        ("model", "training.json", "the model's records are damaged"),
    ],
)
def test_a_damaged_record_is_named(copy: TinyProject, outputs: Outputs, folder: str, file: str, message: str) -> None:
    (getattr(copy, folder) / file).write_text("{")
    with pytest.raises(UserError, match=message):
        evaluate_project(copy, *outputs)


def test_a_model_file_that_is_not_one(copy: TinyProject, outputs: Outputs) -> None:
    (copy.model / KERAS_FILE).write_bytes(b"not a zip")
    with pytest.raises(UserError, match=r"model\.keras is damaged"):
        evaluate_project(copy, *outputs)


def test_a_model_file_that_carries_code_is_refused(copy: TinyProject, outputs: Outputs) -> None:
    path = copy.model / KERAS_FILE
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Rescaling")
    layer["class_name"] = "Lambda"
    layer["config"] = {
        "name": "evil",
        "function": {"class_name": "__lambda__", "config": {"code": "YQ==", "defaults": None, "closure": None}},
    }
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match="cannot be loaded as a safe Keras model: .*Lambda"):
        evaluate_project(copy, *outputs)
