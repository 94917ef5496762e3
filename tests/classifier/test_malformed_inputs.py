"""Inputs of another form than the steps before give end in one sentence, before anything is trained."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.classifier import backbones
from components.formats.splits import SPLITS_FILE
from components.formats.trained_model import HISTORY_FILE, RECORD_FILE
from tests.classifier.step_runs import run_fine_tune, run_train_frozen
from tests.classifier.stopped_attempts import BACKBONE, tiny_backbone

Change = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})


@pytest.fixture(scope="module")
def frozen(splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("frozen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})
        run_train_frozen(splits, output, backbone=BACKBONE, epochs=1, unfrozen_layers=0)
    return output / "model"


def sentence(said: Any, step: str) -> str:
    """Return the one line that a step ended with."""
    assert "Traceback" not in said.err
    assert "epoch" not in said.out
    [line] = [line for line in said.err.splitlines() if line.startswith(f"{step}: error: ")]
    assert said.err.endswith(f"{line}\n")
    return line


def without(*keys: str) -> Change:
    """Return a function that deletes a value deep in JSON."""

    def change(value: Any) -> Any:
        inner = value
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        return value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("splits", "train"), "there is no split train"),
        (lambda value: {**value, "splits": []}, "splits.json: splits is not an object"),
        (lambda value: {**value, "class_names": None}, "splits.json: class_names is not a list"),
        (lambda value: {**value, "image_size_px": "32"}, "splits.json: image_size_px is not a whole number"),
        (lambda value: {**value, "image_size_px": 96}, "splits.json says that images are 96 px, and train-00000-of-"),
        (without("splits", "train", "shards"), "splits.json: splits: train has no shards"),
        (lambda _: [], "splits.json is not an object"),
        (lambda _: "folder", "holds no readable splits.json (Is a directory)"),
        (lambda _: "file", "holds no readable splits.json (Not a directory)"),
    ],
)
def test_splits(change: Change, message: str, splits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "splits"
    shutil.copytree(splits, given)
    path = given / SPLITS_FILE
    changed = change(json.loads(path.read_text(encoding="utf-8")))
    if changed == "folder":
        path.unlink()
        path.mkdir()
    elif changed == "file":
        given = path
    else:
        path.write_text(json.dumps(changed), encoding="utf-8")

    with pytest.raises(SystemExit, match="2"):
        run_train_frozen(given, tmp_path / "output", backbone=BACKBONE, epochs=1)

    assert message in sentence(capsys.readouterr(), "train_frozen")
    assert not (tmp_path / "output").exists()


def of_head(name: str, value: Any) -> Change:
    def change(record: Any) -> Any:
        record["settings"]["frozen"][name] = value
        return record

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("settings", "frozen"), "training.json tells no head_units of the frozen phase"),
        (without("settings", "frozen", "head_units"), "training.json tells no head_units of the frozen phase"),
        (lambda value: {**value, "settings": []}, "training.json: settings is not an object"),
        (of_head("head_units", "8"), "training.json tells no head_units of the frozen phase"),
        (of_head("dropout", 7), "training.json tells no dropout of the frozen phase"),
        (lambda value: {**value, "dataset_digest": None}, "training.json: dataset_digest is not text"),
        (of_head("head_units", 9), "is not what its training.json says ("),
    ],
)
def test_training_json(
    change: Change, message: str, splits: Path, frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "model"
    shutil.copytree(frozen, given)
    record = json.loads((given / RECORD_FILE).read_text(encoding="utf-8"))
    (given / RECORD_FILE).write_text(json.dumps(change(record)), encoding="utf-8")

    with pytest.raises(SystemExit, match="2"):
        run_fine_tune(splits, given, tmp_path / "output", unfrozen_layers=5)

    line = sentence(capsys.readouterr(), "fine_tune")
    assert message in line
    assert len(line) < 500
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: "a,b\n1,2\n", "history.csv has no column phase"),
        (lambda text: text.splitlines()[0] + "\n", "history.csv has no epochs"),
        (lambda text: text.replace("frozen,1,", "frozen,one,"), "history.csv: epoch is not a number in every epoch"),
        (lambda _: "", "is not a readable trained model"),
    ],
)
def test_history(
    change: Change, message: str, splits: Path, frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "model"
    shutil.copytree(frozen, given)
    text = (given / HISTORY_FILE).read_text(encoding="utf-8")
    (given / HISTORY_FILE).write_text(change(text), encoding="utf-8")

    with pytest.raises(SystemExit, match="2"):
        run_fine_tune(splits, given, tmp_path / "output", unfrozen_layers=5)

    assert message in sentence(capsys.readouterr(), "fine_tune")
