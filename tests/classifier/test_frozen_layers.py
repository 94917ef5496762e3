"""Training through frozen layers is training on what they give, and their time is told apart from that of steps."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.classifier.devices import Devices
from components.classifier.epoch_steps import EpochProgress, ForwardShare
from components.classifier.fit_settings import FitSettings
from components.classifier.frozen_layers import FrozenLayers
from components.classifier.input_pipeline import Batching, in_batches
from components.classifier.training import Fit, Validation, compile_classifier, fit_epochs, measure
from tests.classifier.plain_settings import PLAIN
from tests.classifier.two_cpus import in_own_process, two_cpus

IMAGES = np.random.default_rng(5).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
LABELS = (IMAGES.mean(axis=(1, 2, 3)) > IMAGES.mean()).astype(np.int64)
SETTINGS = dataclasses.replace(PLAIN, epochs=2)
ONE_CPU = Devices(tf.distribute.get_strategy(), ["CPU"], "float32")


def parts(devices: Devices, settings: FitSettings, dropout: float = 0.5) -> tuple[keras.Model, keras.Model]:
    """Return layers that two tensors leave, and layers that take both and drop out."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    with devices.building():
        image = keras.Input((8, 8, 3))
        scaled = keras.layers.Rescaling(1 / 127.5, -1.0, dtype="float32")(image)
        one = keras.layers.Conv2D(4, 3, activation="relu")(scaled)
        other = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3, strides=2)(one))
        before = keras.Model(image, (one, other))
        inputs = keras.Input((6, 6, 4)), keras.Input((5,))
        joined = keras.layers.Concatenate()([keras.layers.Flatten()(inputs[0]), inputs[1]])
        dropped = keras.layers.Dropout(dropout, dtype="float32")(joined)
        learning = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", dtype="float32")(dropped))
        compile_classifier(learning, settings)
    return before, learning


def batched(inputs: np.ndarray | Sequence[np.ndarray], batching: Batching) -> tf.data.Dataset:
    given = tuple(inputs) if isinstance(inputs, list) else inputs
    return in_batches(tf.data.Dataset.from_tensor_slices((given, LABELS)), len(LABELS), batching)


def fit_through(devices: Devices, settings: FitSettings, dropout: float = 0.5) -> tuple[keras.Model, Fit]:
    """Train on pixels, which are floats as augmentation leaves them, and validate on pixels as they are stored."""
    before, learning = parts(devices, settings, dropout)
    batching = devices.batching(settings.batch_size)
    training = batched(IMAGES.astype(np.float32), batching)
    held_back = Validation(batched(IMAGES, batching), LABELS)
    frozen = FrozenLayers(before, settings.xla)
    fit = fit_epochs(learning, "frozen", settings, lambda _: training, held_back, None, None, frozen)
    assert measure(learning, held_back, frozen) == (fit.best_val_loss, fit.best_val_accuracy)
    return learning, fit


@pytest.mark.parametrize("changes", [{}, {"xla": True}], ids=["plain", "XLA"])
def test_training_through_them_is_training_on_what_they_give(changes: dict[str, Any]) -> None:
    """In batches of 8, the last one of 4."""
    tf.config.experimental.enable_op_determinism()
    settings = dataclasses.replace(SETTINGS, **changes)
    learning, fit = fit_through(ONE_CPU, settings)
    before, on_given = parts(ONE_CPU, settings)
    forward = tf.function(before, jit_compile=settings.xla or None)
    given = [np.asarray(output) for output in forward(IMAGES.astype(np.float32))]
    batches = batched(given, Batching(settings.batch_size, 1))

    expected = fit_epochs(on_given, "frozen", settings, lambda _: batches, Validation(batches, LABELS), None, None)

    for weights, others in zip(learning.get_weights(), on_given.get_weights(), strict=True):
        np.testing.assert_allclose(weights, others, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fit.history["val_loss"], expected.history["val_loss"], rtol=1e-5)
    assert fit.history["forward_seconds"].sum() > 0.0
    assert (expected.history["forward_seconds"] == 0.0).all()


def test_two_devices_share_what_they_give() -> None:
    in_own_process(_compare_devices)


def _compare_devices() -> None:
    pair = Devices(two_cpus(), ["CPU", "CPU"], "float32")
    half = dataclasses.replace(pair, precision="mixed_float16")
    # No tail, which would be filled up, and an optimizer whose steps are as small as what gradients differ by.
    settings = dataclasses.replace(SETTINGS, optimizer="sgd", batch_size=10)

    one, two, of_half = (fit_through(devices, settings, dropout=0.0)[0] for devices in (ONE_CPU, pair, half))
    compiled, _ = fit_through(pair, dataclasses.replace(settings, xla=True), dropout=0.0)

    weights = (model.get_weights() for model in (one, two, compiled, of_half))
    for single, shared, of_xla, rounded in zip(*weights, strict=True):
        np.testing.assert_allclose(shared, single, atol=2e-6)
        np.testing.assert_allclose(of_xla, single, atol=2e-6)
        np.testing.assert_allclose(rounded, single, atol=2e-3)


def test_a_cpu_is_waited_for_in_each_step() -> None:
    share, progress = ForwardShare(asynchronous=False), EpochProgress(0.1)

    for _ in range(40):
        assert share.sampled()
        share.measured(progress, 3.0, 1.0)
        share.add(progress, 0.5)  # until figures are in: training alone, if any

    assert (progress.forward_seconds, progress.step_seconds) == (120.0, 60.0)


def test_a_gpu_is_waited_for_in_one_step_of_sixteen() -> None:
    """The first step builds graphs, so it says nothing about the next ones."""
    share, progress = ForwardShare(asynchronous=True), EpochProgress(0.1)
    waited = []
    for number in range(48):
        if share.sampled():
            waited.append(number)
            share.measured(progress, *((9.0, 91.0) if number == 0 else (6.0, 2.0)))
        else:
            share.add(progress, 8.0)

    assert waited == [0, 1, 16, 32]
    assert progress.forward_seconds == 9.0 + 47 * 6.0
    assert progress.step_seconds == 91.0 + 47 * 2.0
