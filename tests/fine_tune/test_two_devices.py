"""Both phases on two devices come to what they come to on one, in what several GPUs compute in by default."""

import dataclasses
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.classifier import backbones
from components.classifier.devices import Devices, prepare_training, sharing_among
from components.fine_tune import fine_tune_phase
from components.train_frozen import frozen_phase
from tests.classifier.small_splits import drawn_shapes, write_small_splits
from tests.classifier.step_runs import run_fine_tune, run_train_frozen, trained_model
from tests.classifier.stopped_attempts import BACKBONE, tiny_backbone

# 24 images in batches of 8: each device gets 4 of every batch, and no image twice.
SETTINGS: dict[str, Any] = {"precision": "mixed_bfloat16", "unfrozen_layers": 6, "optimizer": "sgd", "epochs": 1}


def test_two_devices_fine_tune_as_one_does(tmp_path: Path) -> None:
    """In a process of its own: how many devices a CPU stands for is decided before TensorFlow starts."""
    write_small_splits(tmp_path / "splits", drawn_shapes({"train": 8, "validation": 3, "test": 1}, seed=1), 32)
    process = multiprocessing.get_context("forkserver").Process(target=_compare, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0


def _compare(folder: Path) -> None:
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategies = {1: tf.distribute.get_strategy(), 2: sharing_among(("CPU:0", "CPU:1"))}
    patch = pytest.MonkeyPatch()  # for as long as this process lives
    patch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})

    def trained(devices: int) -> list[np.ndarray]:
        def prepared(*given: Any, **named: Any) -> Devices:
            return dataclasses.replace(prepare_training(*given, **named), strategy=strategies[devices])

        for phase in (frozen_phase, fine_tune_phase):
            patch.setattr(phase, "prepare_training", prepared)
        frozen, tuned = folder / f"frozen-{devices}", folder / f"tuned-{devices}"
        run_train_frozen(
            folder / "splits", frozen, backbone=BACKBONE, dropout=0.0, training_mode="cached", head_units=8, **SETTINGS
        )
        run_fine_tune(folder / "splits", frozen / "model", tuned, training_mode="cached", **SETTINGS)
        weights: list[np.ndarray] = trained_model(tuned).get_weights()
        return weights

    for single, shared in zip(trained(1), trained(2), strict=True):
        np.testing.assert_allclose(shared, single, atol=1e-3)
