"""The head is trained on two devices as on one, through the whole model or on features, and goes on when stopped."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.classifier import backbones, epoch_steps
from components.classifier.devices import Devices, prepare_training
from components.failures import RETRY_WAITS_VARIABLE, TransientError
from components.train_frozen import frozen_phase
from tests.classifier.small_splits import drawn_shapes, write_small_splits
from tests.classifier.step_runs import run_train_frozen, trained_model
from tests.classifier.stopped_attempts import BACKBONE, tiny_backbone
from tests.classifier.two_cpus import in_own_process, two_cpus

# 21 images in batches of 8: each device gets 4 of every batch, and 3 of the last only fill it up.
SETTINGS: dict[str, Any] = {"backbone": BACKBONE, "epochs": 2, "learning_rate": 0.02, "unfrozen_layers": 0}


def test_two_devices_train_as_one_does(tmp_path: Path) -> None:
    write_small_splits(tmp_path / "splits", drawn_shapes({"train": 7, "validation": 4, "test": 1}, seed=1), 32)
    in_own_process(_compare, tmp_path)


def _compare(folder: Path) -> None:
    strategies = {1: tf.distribute.get_strategy(), 2: two_cpus()}
    patch = pytest.MonkeyPatch()  # for as long as this process lives
    patch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})
    patch.setenv(RETRY_WAITS_VARIABLE, "0")

    def trained(name: str, mode: str, devices: int, **changes: Any) -> list[np.ndarray]:
        def prepared(*given: Any, **named: Any) -> Devices:
            return dataclasses.replace(prepare_training(*given, **named), strategy=strategies[devices])

        patch.setattr(frozen_phase, "prepare_training", prepared)
        run_train_frozen(folder / "splits", folder / name, **{**SETTINGS, "training_mode": mode, **changes})
        weights: list[np.ndarray] = trained_model(folder / name).get_weights()
        return weights

    one = trained("one", "streaming", 1, dropout=0.0, epochs=1)
    for mode, ahead in (("streaming", 2), ("streaming", 0), ("cached", 2)):
        two = trained(f"two-{mode}-{ahead}", mode, 2, dropout=0.0, epochs=1, gpu_prefetch_batches=ahead)
        for shared, single in zip(two, one, strict=True):
            np.testing.assert_allclose(shared, single, atol=2e-5)

    undisturbed = trained("undisturbed", "streaming", 2)
    take_step, steps = epoch_steps.take_step, itertools.count(1)

    def step_or_fail(*given: Any) -> Any:
        if next(steps) == 5:  # of six
            raise TransientError("something outside failed")
        return take_step(*given)

    patch.setattr(epoch_steps, "take_step", step_or_fail)
    resumed = trained("resumed", "streaming", 2, checkpoint_uri=str(folder / "kept"), checkpoint_seconds=1e-9)
    assert next(steps) == 8, "it began anew"
    assert all(np.array_equal(*pair) for pair in zip(resumed, undisturbed, strict=True))
