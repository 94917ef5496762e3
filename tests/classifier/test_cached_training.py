"""Training on activations computed once ends in the weights of training on pixels, epoch by epoch the same."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from components.classifier import backbones
from components.formats.trained_model import read_training_record
from components.formats.training_features import TRAINING_FEATURES_FILE
from tests.classifier.small_splits import drawn_shapes, write_small_splits
from tests.classifier.step_runs import run_fine_tune, run_train_frozen, trained_model
from tests.classifier.stopped_attempts import BACKBONE, tiny_backbone

# 27 images in batches of 8, the last one of 3, and everything that leaves a mark on what comes after.
FROZEN: dict[str, Any] = {
    "backbone": BACKBONE, "epochs": 4, "learning_rate": 0.02, "plateau_patience": 1, "class_weights": "balanced",
}  # fmt: skip
FINE_TUNE: dict[str, Any] = {"unfrozen_layers": 5, "epochs": 4, "learning_rate": 1e-4, "plateau_patience": 1}

FIGURES = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a phase came to."""

    weights: list[np.ndarray]
    history: pd.DataFrame
    best_phase: str
    mode: str


def outcome(output: Path, phase: str) -> Outcome:
    record = read_training_record(output / "model")
    history = pd.read_csv(output / "model" / "history.csv")[FIGURES]
    return Outcome(
        trained_model(output).get_weights(), history, record.best_phase, record.settings[phase]["training_mode"]
    )


def branching_network(image_size_px: int) -> keras.Model:
    """Return a network in which two tensors cross to the last five layers.

    Without biases, as InceptionV3: normalization that learns takes every bias before it away again, so that a bias has
    a rounding error for its gradient, which Adam makes a whole step of.
    """
    image = keras.Input((image_size_px, image_size_px, 3))
    maps = keras.layers.Conv2D(16, 3, strides=4, use_bias=False, padding="same", name="stem")(image)
    maps = keras.layers.ReLU(name="stem_relu")(keras.layers.BatchNormalization(name="stem_normalization")(maps))
    branch = keras.layers.Conv2D(16, 3, use_bias=False, padding="same", name="branch")(maps)
    branch = keras.layers.BatchNormalization(name="branch_normalization")(branch)
    maps = keras.layers.Concatenate(name="mixed")([maps, branch])
    maps = keras.layers.Conv2D(24, 3, strides=2, use_bias=False, padding="same", name="top")(maps)
    maps = keras.layers.BatchNormalization(name="top_normalization")(maps)
    return keras.Model(image, keras.layers.ReLU(name="top_relu")(maps), name=BACKBONE)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = dataclasses.replace(tiny_backbone(), build=branching_network)
    monkeypatch.setattr(backbones, "BACKBONES", {BACKBONE: backbone})


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shapes") / "splits"
    write_small_splits(directory, drawn_shapes({"train": 9, "validation": 4, "test": 1}, seed=1), 32, shards=3)
    return directory


def largest_difference(one: Outcome, other: Outcome) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one.weights, other.weights, strict=True))


def test_the_head_ends_in_the_same_weights(splits: Path, tmp_path: Path) -> None:
    outcomes = {}
    for mode in ("cached", "streaming"):
        run_train_frozen(splits, tmp_path / mode, **FROZEN, training_mode=mode)
        outcomes[mode] = outcome(tmp_path / mode, "frozen")

    assert {outcome.mode for outcome in outcomes.values()} == {"cached", "streaming"}
    assert largest_difference(outcomes["cached"], outcomes["streaming"]) == 0.0
    pd.testing.assert_frame_equal(outcomes["cached"].history, outcomes["streaming"].history)
    kept = [mode for mode in outcomes if (tmp_path / mode / "model" / TRAINING_FEATURES_FILE).is_file()]
    assert kept == ["cached"], "streaming has nothing that it could keep"


@pytest.mark.parametrize("train_batch_normalization", [False, True], ids=["frozen", "trained"])
def test_the_last_layers_end_in_the_same_weights(splits: Path, tmp_path: Path, train_batch_normalization: bool) -> None:
    run_train_frozen(splits, tmp_path / "head", **FROZEN, unfrozen_layers=5, cache_precision="float32")
    frozen_model = tmp_path / "head" / "model"
    outcomes = {}
    for mode, precision in (("cached", "float32"), ("streaming", "float32"), ("cached", "float16")):
        output = tmp_path / f"{mode}-{precision}"
        metrics = run_fine_tune(
            splits,
            frozen_model,
            output,
            **FINE_TUNE,
            training_mode=mode,
            cache_precision=precision,
            train_batch_normalization=train_batch_normalization,
        )
        assert metrics["fine_tuned_model_kept"] == 1, "nothing to compare: choose other settings"
        outcomes[mode, precision] = outcome(output, "fine_tune")
    exact, streamed, half = outcomes.values()

    assert largest_difference(exact, streamed) == 0.0
    pd.testing.assert_frame_equal(exact.history, streamed.history)
    assert 0.0 < largest_difference(half, streamed) < 1e-3
    before = trained_model(tmp_path / "head").get_weights()
    assert largest_difference(streamed, dataclasses.replace(streamed, weights=before)) > 1e-3
