"""A fit that goes on from a checkpoint ends as if it had never stopped, whatever precision and devices it runs on."""

import collections
import contextlib
import copy
import dataclasses
import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from components.classifier import epoch_steps
from components.classifier.attempts_made import AttemptsMade
from components.classifier.checkpoints import Checkpoint, Checkpoints
from components.classifier.devices import Devices
from components.classifier.fit_settings import FitSettings
from components.classifier.input_pipeline import in_batches
from components.classifier.training import Fit, Validation, compile_classifier, fit_epochs
from components.classifier.training_state import TrainingState
from components.formats.trained_model import TIMING_COLUMNS, Resumption
from tests.classifier.plain_settings import PLAIN
from tests.classifier.two_cpus import in_own_process, two_cpus

POINTS = np.random.default_rng(3).normal(size=(61, 4)).astype(np.float32)
LABELS = (POINTS[:, 0] + 0.5 * POINTS[:, 1] > 0).astype(np.int64)
# Validation wants the opposite of training: the rate falls and training stops early.
AGAINST = 1 - LABELS
SETTINGS = dataclasses.replace(PLAIN, epochs=9, learning_rate=0.1, early_stopping_patience=4, plateau_patience=2)
ONE_CPU = Devices(tf.distribute.get_strategy(), ["CPU"], "float32")

# Seconds between checkpoints: epochs alone, a few steps of this model, none.
NEVER, SOMETIMES, EACH_STEP = 0.0, 0.02, 1e-9


class StoppedError(Exception):
    """An attempt was stopped."""


def new_model(devices: Devices, settings: FitSettings = SETTINGS) -> keras.Model:
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
        compile_classifier(model, settings)
    return model


def fit(
    model: keras.Model,
    devices: Devices,
    checkpoints: Checkpoints | None,
    stop: int = SETTINGS.epochs,
    settings: FitSettings = SETTINGS,
    attempts: AttemptsMade | None = None,
) -> Fit:
    """Fit, and stop before an epoch, counted from 0."""
    batching = devices.batching(SETTINGS.batch_size)

    def batches(epoch: int) -> tf.data.Dataset:
        if epoch >= stop:
            raise StoppedError
        return in_batches(tf.data.Dataset.from_tensor_slices((POINTS, LABELS)), len(LABELS), batching)

    validation = Validation(in_batches(tf.data.Dataset.from_tensor_slices((POINTS, LABELS)), 61, batching), AGAINST)
    return fit_epochs(model, "frozen", settings, batches, validation, None, checkpoints, attempts=attempts)


def opened(folder: Path, every_seconds: float = 0.0) -> Checkpoints:
    checkpoints = Checkpoints.opened(str(folder), "frozen", {}, every_seconds)
    assert checkpoints is not None
    return checkpoints


def weights_of(model: keras.Model) -> list[np.ndarray]:
    """All weights, and what the optimizer knows."""
    return [*model.get_weights(), *(keras.ops.convert_to_numpy(variable) for variable in model.optimizer.variables)]


def untimed(fit: Fit) -> pd.DataFrame:
    return fit.history.drop(columns=list(TIMING_COLUMNS))


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

    pd.testing.assert_frame_equal(untimed(found), untimed(expected))
    assert (found.best_epoch, found.best_val_loss) == (expected.best_epoch, expected.best_val_loss)
    assert all(np.array_equal(*pair) for pair in zip(weights_of(model), weights_of(undisturbed), strict=True))
    return found


def check_stops_within_epochs(devices: Devices, folder: Path, settings: FitSettings, seed: int, times: int) -> None:
    """Die at so many steps, one attempt after another, while every step is kept, or some, or epochs alone."""
    tf.config.experimental.enable_op_determinism()
    undisturbed = new_model(devices, settings)
    expected = fit(undisturbed, devices, None, settings=settings)
    draw = random.Random(seed)
    moments = [(draw.randint(1, 12), draw.choice([NEVER, SOMETIMES, EACH_STEP])) for _ in range(times)]
    resumed_within = 0
    for steps, every_seconds in moments:
        with pytest.MonkeyPatch.context() as patch:
            die_after(patch, steps)
            model = new_model(devices, settings)
            kept = opened(folder).read_newest()
            resumed_within += int(bool(kept and kept.batches))
            with contextlib.suppress(StoppedError):
                fit(model, devices, opened(folder, every_seconds), settings=settings)
    assert resumed_within, "choose a seed with which more is kept than epochs"
    model = new_model(devices, settings)

    found = fit(model, devices, opened(folder), settings=settings)

    pd.testing.assert_frame_equal(untimed(found), untimed(expected))
    assert all(np.array_equal(*pair) for pair in zip(weights_of(model), weights_of(undisturbed), strict=True))


def die_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Let an attempt die when it begins a step after so many."""
    remaining = itertools.count(steps, -1)
    take_step = epoch_steps.take_step

    def take_or_die(*given: Any) -> Any:
        if next(remaining) == 0:
            raise StoppedError
        return take_step(*given)

    patch.setattr(epoch_steps, "take_step", take_or_die)


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        pytest.param({}, 10, id="plateau"),
        pytest.param({"schedule": "cosine", "warmup_epochs": 1.5, "label_smoothing": 0.1}, 10, id="cosine"),
        pytest.param({"optimizer": "sgd", "xla": True, "epochs": 2}, 2, id="sgd with XLA"),
    ],
)
def test_a_fit_goes_on_from_the_midst_of_an_epoch(changes: dict[str, Any], times: int, tmp_path: Path) -> None:
    check_stops_within_epochs(ONE_CPU, tmp_path, dataclasses.replace(SETTINGS, **changes), 20263, times)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_fit_goes_on_as_if_it_had_never_stopped(precision: str, tmp_path: Path) -> None:
    """In half precision the optimizer also scales the loss."""
    found = check_resuming(Devices(ONE_CPU.strategy, ["CPU"], precision), tmp_path, [1, 3, 4])

    assert len(found.history) < SETTINGS.epochs
    assert found.history["learning_rate"].nunique() > 1


def test_a_fit_on_two_devices_goes_on_too(tmp_path: Path) -> None:
    """Of float32 tests/train_frozen/test_two_devices.py shows it."""
    in_own_process(_resume_on_two_devices, tmp_path)


def _resume_on_two_devices(folder: Path) -> None:
    strategy = two_cpus()
    half = Devices(strategy, ["CPU", "CPU"], "mixed_float16")
    check_stops_within_epochs(half, folder / "steps", dataclasses.replace(SETTINGS, epochs=4), 20264, 2)
    check_overflow_of_one_device(half)


def number(variable: keras.Variable) -> float:
    return float(keras.ops.convert_to_numpy(variable))


def check_overflow_of_one_device(devices: Devices) -> None:
    """A gradient that overflows on the second device alone leaves a step out and lowers the scale for both."""
    points = POINTS.copy()
    points[4::8] *= 3e3
    model = new_model(devices)
    before = number(model.optimizer.dynamic_scale)
    batches = in_batches(tf.data.Dataset.from_tensor_slices((points, LABELS)), 61, devices.batching(8))
    settings = dataclasses.replace(SETTINGS, epochs=2)

    found = fit_epochs(model, "frozen", settings, lambda _: batches, Validation(batches, LABELS), None, None)

    assert float(keras.ops.convert_to_numpy(model.optimizer.dynamic_scale)) < before, (
        "nothing overflowed: choose larger points"
    )
    assert number(model.optimizer.iterations) > 0
    assert np.isfinite(found.history["loss"]).all()
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


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
    pd.testing.assert_frame_equal(untimed(found), untimed(expected))
    assert all(np.array_equal(*pair) for pair in zip(weights_of(model), weights_of(first), strict=True))


SPOILS: dict[str, Callable[[Checkpoint], Any]] = {
    "a shape": lambda checkpoint: checkpoint.arrays.update({"weights/0000": np.zeros((2, 2), np.float32)}),
    "an array too few": lambda checkpoint: checkpoint.arrays.pop("random/0000"),
    "an array too many": lambda checkpoint: checkpoint.arrays.update({"weights/0009": np.zeros(1)}),
    "a fact too few": lambda checkpoint: checkpoint.state.pop("stopped"),
    "an epoch too few": lambda checkpoint: checkpoint.state["history"].pop(),
    "a callback too few": lambda checkpoint: checkpoint.state["callbacks"].pop(),
}


def test_a_checkpoint_of_another_shape_does_not_fit(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=1)
    model = new_model(ONE_CPU, settings)
    fit(model, ONE_CPU, opened(tmp_path), settings=settings)
    checkpoint = opened(tmp_path).read_newest()
    assert checkpoint is not None
    stopping = keras.callbacks.EarlyStopping()
    state = TrainingState(model, stopping, [stopping, keras.callbacks.ReduceLROnPlateau()])
    assert state.fits(checkpoint)

    for what, spoil in SPOILS.items():
        spoiled = copy.deepcopy(checkpoint)
        spoil(spoiled)
        assert not state.fits(spoiled), what


def test_attempts_and_their_time_are_counted(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, epochs=4, early_stopping_patience=0)
    for stop in (0, 1, 1, 3):  # one that leaves nothing, and one that adds nothing to what is kept, are not known
        with contextlib.suppress(StoppedError):
            began = time.monotonic() - 10_000.0
            fit(new_model(ONE_CPU, settings), ONE_CPU, opened(tmp_path), stop, settings, AttemptsMade(began))
    attempts = AttemptsMade()

    fit(new_model(ONE_CPU, settings), ONE_CPU, opened(tmp_path), settings=settings, attempts=attempts)

    assert attempts.resumed == [Resumption(1, 0), Resumption(3, 0)]
    assert 20_000.0 < attempts.seconds < 30_000.0
    assert attempts.told.startswith(" Resumed 2 times: after epoch 1, and after epoch 3. The time is that of all attem")


def test_a_checkpoint_of_before_attempts_were_counted_is_gone_on_from() -> None:
    history = [{"seconds": 3.0}, {"seconds": 4.0}]
    attempts = AttemptsMade()

    attempts.go_on(Checkpoint(2, 5, {"history": history}, {}))

    assert attempts.resumed == [Resumption(2, 5)]
    assert attempts.earlier_seconds == 7.0


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
