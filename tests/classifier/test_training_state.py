"""A fit that goes on from a checkpoint ends as if it had never stopped, whatever precision and devices it runs on."""

import collections
import contextlib
import multiprocessing
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from components.classifier.checkpoints import Checkpoints
from components.classifier.devices import Devices
from components.classifier.fit_settings import FitSettings
from components.classifier.input_pipeline import in_batches
from components.classifier.training import Fit, Validation, compile_classifier, fit_epochs

POINTS = np.random.default_rng(3).normal(size=(61, 4)).astype(np.float32)
LABELS = (POINTS[:, 0] + 0.5 * POINTS[:, 1] > 0).astype(np.int64)
# Validation wants the opposite of training: the rate falls and training stops early.
AGAINST = 1 - LABELS
SETTINGS = FitSettings(
    epochs=9,
    batch_size=8,
    learning_rate=0.1,
    class_weights="none",
    early_stopping_patience=4,
    plateau_patience=2,
    seed=1,
)
ONE_CPU = Devices(tf.distribute.get_strategy(), ["CPU"], "float32")


class StoppedError(Exception):
    """An attempt was stopped."""


def new_model(devices: Devices) -> keras.Model:
    """Return a model that drops out, behind a frozen layer and a frozen normalization."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(SETTINGS.seed)
    with devices.building():
        backbone = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(6), keras.layers.BatchNormalization(), keras.layers.Dense(8)]
        )
        for layer in backbone.layers[:2]:
            layer.trainable = False
        inputs = keras.Input((4,))
        hidden = keras.layers.Dropout(0.5, dtype="float32")(backbone(inputs))
        model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", dtype="float32")(hidden))
        compile_classifier(model, SETTINGS.learning_rate)
    return model


def fit(model: keras.Model, devices: Devices, checkpoints: Checkpoints | None, stop: int = SETTINGS.epochs) -> Fit:
    """Fit, and stop before an epoch, counted from 0."""
    batching = devices.batching(SETTINGS.batch_size)

    def batches(epoch: int) -> tf.data.Dataset:
        if epoch >= stop:
            raise StoppedError
        return in_batches(tf.data.Dataset.from_tensor_slices((POINTS, LABELS)), len(LABELS), batching)

    validation = Validation(in_batches(tf.data.Dataset.from_tensor_slices((POINTS, LABELS)), 61, batching), AGAINST)
    return fit_epochs(model, "frozen", SETTINGS, batches, validation, None, checkpoints)


def opened(folder: Path) -> Checkpoints:
    checkpoints = Checkpoints.opened(str(folder), "frozen", {})
    assert checkpoints is not None
    return checkpoints


def weights_of(model: keras.Model) -> list[np.ndarray]:
    """All weights, and what the optimizer knows."""
    return [*model.get_weights(), *(keras.ops.convert_to_numpy(variable) for variable in model.optimizer.variables)]


def check_resuming(devices: Devices, folder: Path, stops: list[int]) -> Fit:
    """Stop before each of some epochs and go on with a fresh model each time; compare with a fit that never stopped."""
    tf.config.experimental.enable_op_determinism()
    undisturbed = new_model(devices)
    expected = fit(undisturbed, devices, None)
    for stop in stops:
        with pytest.raises(StoppedError):
            fit(new_model(devices), devices, opened(folder), stop)
    model = new_model(devices)

    found = fit(model, devices, opened(folder))

    pd.testing.assert_frame_equal(found.history.drop(columns="seconds"), expected.history.drop(columns="seconds"))
    assert (found.best_epoch, found.best_val_loss) == (expected.best_epoch, expected.best_val_loss)
    assert all(np.array_equal(*pair) for pair in zip(weights_of(model), weights_of(undisturbed), strict=True))
    return found


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_fit_goes_on_as_if_it_had_never_stopped(precision: str, tmp_path: Path) -> None:
    """In half precision the optimizer also scales the loss."""
    found = check_resuming(Devices(ONE_CPU.strategy, ["CPU"], precision), tmp_path, [1, 3, 4])

    assert len(found.history) < SETTINGS.epochs
    assert found.history["learning_rate"].nunique() > 1


def test_a_fit_on_two_devices_goes_on_too(tmp_path: Path) -> None:
    """In a process of its own: how many devices a CPU stands for is decided before TensorFlow starts."""
    process = multiprocessing.get_context("forkserver").Process(target=_resume_on_two_devices, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0


def _resume_on_two_devices(folder: Path) -> None:
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    check_resuming(Devices(strategy, ["CPU", "CPU"], "float32"), folder, [2])


def test_a_damaged_checkpoint_costs_an_epoch_and_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = new_model(ONE_CPU)
    expected = fit(first, ONE_CPU, opened(tmp_path))
    newest = sorted(Path(opened(tmp_path).folder).glob("epoch-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    capsys.readouterr()
    model = new_model(ONE_CPU)

    found = fit(model, ONE_CPU, opened(tmp_path))

    epochs = len(expected.history)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"frozen: checkpoint {newest} is damaged: looking for the one before"
    assert lines[1].startswith(f"frozen: resuming after epoch {epochs - 1} of 9 from ")
    assert lines[2].startswith(f"frozen epoch {epochs}/9 ")
    pd.testing.assert_frame_equal(found.history.drop(columns="seconds"), expected.history.drop(columns="seconds"))
    assert all(np.array_equal(*pair) for pair in zip(weights_of(model), weights_of(first), strict=True))


def test_a_finished_fit_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = new_model(ONE_CPU)
    expected = fit(first, ONE_CPU, opened(tmp_path))
    capsys.readouterr()
    model = new_model(ONE_CPU)

    found = fit(model, ONE_CPU, opened(tmp_path), 0)

    assert found.history.equals(expected.history)
    assert all(np.array_equal(*pair) for pair in zip(model.get_weights(), first.get_weights(), strict=True))
    epochs = len(expected.history)
    assert capsys.readouterr().out.splitlines() == [
        f"frozen: resuming after epoch {epochs} of 9 from {opened(tmp_path).folder}",
        "frozen: no better validation loss for 4 epochs, stopping early",
    ]


def test_a_checkpoint_holds_what_may_change_and_no_more(tmp_path: Path) -> None:
    """The best weights only where they are not those of the last epoch."""
    for stop, best in ((1, 0), (2, 0), (SETTINGS.epochs, 4)):
        with contextlib.suppress(StoppedError):
            fit(new_model(ONE_CPU), ONE_CPU, opened(tmp_path), stop)
        checkpoint = opened(tmp_path).read_newest()
        assert checkpoint is not None
        groups = collections.Counter(name.partition("/")[0] for name in checkpoint.arrays)
        # Two layers learn; Adam has a step, a rate and two moments of each weight; dropout has a seed.
        assert groups == collections.Counter(weights=4, optimizer=10, random=1, best=best)
