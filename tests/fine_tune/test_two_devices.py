"""Both phases on two devices come to what they come to on one, in the precision that several GPUs have by default."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.classifier import backbones
from components.classifier.devices import Devices, prepare_training
from components.fine_tune import fine_tune_phase
from components.train_frozen import frozen_phase
from tests.classifier.small_splits import drawn_shapes, write_small_splits
from tests.classifier.step_runs import run_fine_tune, run_train_frozen, trained_model
from tests.classifier.stopped_attempts import BACKBONE, tiny_backbone
from tests.classifier.two_cpus import in_own_process, two_cpus

# 21 images in batches of 8: each device gets 4 of every batch, and 3 of the last only fill it up.
SETTINGS: dict[str, Any] = {
    "precision": "mixed_bfloat16", "training_mode": "cached", "unfrozen_layers": 6, "optimizer": "sgd", "epochs": 1,
}  # fmt: skip


def test_two_devices_fine_tune_as_one_does(tmp_path: Path) -> None:
    write_small_splits(tmp_path / "splits", drawn_shapes({"train": 7, "validation": 3, "test": 1}, seed=1), 32)
    in_own_process(_compare, tmp_path)


def _compare(folder: Path) -> None:
    one, two = tf.distribute.get_strategy(), two_cpus()
    patch = pytest.MonkeyPatch()  # for as long as this process lives
    patch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})

    def trained(name: str, strategy: tf.distribute.Strategy, splits: Path, **changes: Any) -> list[np.ndarray]:
        def prepared(*given: Any, **named: Any) -> Devices:
            return dataclasses.replace(prepare_training(*given, **named), strategy=strategy)

        for phase in (frozen_phase, fine_tune_phase):
            patch.setattr(phase, "prepare_training", prepared)
        frozen, tuned = folder / f"frozen-{name}", folder / f"tuned-{name}"
        settings = {**SETTINGS, **changes}
        run_train_frozen(splits, frozen, backbone=BACKBONE, dropout=0.0, **settings)
        found = {"batch_size": 0} if name == "few" else {}
        run_fine_tune(splits, frozen / "model", tuned, **{**settings, **found})
        weights: list[np.ndarray] = trained_model(tuned).get_weights()
        return weights

    weights = (trained(name, strategy, folder / "splits") for name, strategy in (("one", one), ("two", two)))
    for single, shared in zip(*weights, strict=True):
        np.testing.assert_allclose(shared, single, atol=1e-3)
    # One image of each class: a single batch, filled up with one of them.
    write_small_splits(folder / "few", drawn_shapes({"train": 1, "validation": 1, "test": 1}, seed=1), 32)
    few = trained("few", two, folder / "few", training_mode="streaming", gpu_prefetch_batches=3)
    assert all(np.isfinite(array).all() for array in few)
