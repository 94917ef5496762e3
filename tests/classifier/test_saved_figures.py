"""What is reported of a model is what the saved one, in float32, comes to, whatever training computed in."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.classifier import backbones
from components.classifier.input_pipeline import Batching, open_splits, read_labels, stored_batches
from components.formats.trained_model import read_training_record
from tests.classifier.step_runs import run_fine_tune, run_train_frozen, trained_model
from tests.classifier.stopped_attempts import BACKBONE, tiny_backbone

FROZEN: dict[str, Any] = {"backbone": BACKBONE, "epochs": 3, "learning_rate": 0.02, "unfrozen_layers": 5}
FINE_TUNE: dict[str, Any] = {"unfrozen_layers": 5, "epochs": 2, "learning_rate": 1e-3}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})


def scored(output: Path, splits: Path) -> tuple[float, float]:
    """Return loss and accuracy of the model in a folder, as whoever loads it computes them."""
    validation = open_splits(splits)[2]
    labels = read_labels(validation)
    probabilities = trained_model(output).predict(stored_batches(validation, Batching(5, 1)), verbose=0)
    loss = -np.log(probabilities[np.arange(len(labels)), labels].astype(np.float64)).mean()
    return float(loss), float((probabilities.argmax(axis=1) == labels).mean())


def check(output: Path, metrics: dict[str, Any], splits: Path, said: str) -> None:
    """The record, the metrics, the page and the log tell the saved model's figures, and training's beside them."""
    record = read_training_record(output / "model")
    history = pd.read_csv(output / "model" / "history.csv").set_index(["phase", "epoch"])
    of_training = history["val_loss"].to_dict()[record.best_phase, record.best_epoch]
    loss, accuracy = scored(output, splits)

    assert metrics["val_loss"] == record.best_val_loss == pytest.approx(loss, abs=2e-6)
    assert metrics["val_accuracy"] == record.best_val_accuracy == pytest.approx(accuracy)
    assert abs(of_training - loss) > 1e-5, "choose settings in which the precisions differ"
    if record.phase == record.best_phase:
        assert record.training_val_loss == pytest.approx(of_training)
    assert f"of the saved model, float32, {loss:.4f} ({accuracy:.1%})" in said
    page = (output / "report").read_text()
    assert f"lowest validation loss, {loss:.4f}; " in page
    assert f"That is the saved model, in float32; in bfloat16, while training, its loss was {of_training:.4f}" in page


@pytest.mark.parametrize("mode", ["cached", "streaming"])
def test_both_phases_report_the_saved_model_in_half_precision(
    splits: Path, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = {"precision": "mixed_bfloat16", "training_mode": mode}
    frozen, tuned, worse = (tmp_path / name for name in ("frozen", "tuned", "worse"))

    of_frozen = run_train_frozen(splits, frozen, **FROZEN, **shared)
    check(frozen, of_frozen, splits, capsys.readouterr().out)

    of_tuned = run_fine_tune(splits, frozen / "model", tuned, **FINE_TUNE, **shared)
    assert of_tuned["fine_tuned_model_kept"] == 1
    check(tuned, of_tuned, splits, capsys.readouterr().out)
    assert of_tuned["frozen_val_loss"] == pytest.approx(scored(frozen, splits)[0], abs=2e-6)

    of_worse = run_fine_tune(splits, frozen / "model", worse, **{**FINE_TUNE, "learning_rate": 0.9}, **shared)
    assert of_worse["fine_tuned_model_kept"] == 0
    check(worse, of_worse, splits, capsys.readouterr().out)
    assert of_worse["frozen_val_loss"] == of_worse["val_loss"] == of_tuned["frozen_val_loss"]


def test_nothing_is_measured_again_in_float32(splits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = run_train_frozen(splits, tmp_path, **FROZEN)

    record = read_training_record(tmp_path / "model")
    history = pd.read_csv(tmp_path / "model" / "history.csv")
    assert metrics["val_loss"] == record.best_val_loss == record.training_val_loss
    assert history["val_loss"].min() == pytest.approx(record.best_val_loss, abs=1e-12)
    assert "of the saved model" not in capsys.readouterr().out + (tmp_path / "report").read_text()
