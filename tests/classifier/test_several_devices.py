"""Several devices, here virtual ones of a CPU, learn as one does, whatever one of them runs into."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.classifier.batch_size import largest_that_fits
from components.classifier.devices import Devices, sharing_among
from components.classifier.fit_settings import FitSettings
from components.classifier.input_pipeline import in_batches
from components.classifier.training import Fit, Validation, compile_classifier, fit_epochs
from tests.classifier.plain_settings import PLAIN
from tests.classifier.two_cpus import in_own_process, two_cpus

POINTS = np.random.default_rng(3).normal(size=(48, 4)).astype(np.float32)
LABELS = (POINTS[:, 0] > 0).astype(np.int64)
SETTINGS = dataclasses.replace(PLAIN, epochs=2, optimizer="sgd")


def test_several_devices() -> None:
    in_own_process(_check)


def _check() -> None:
    one = Devices(tf.distribute.get_strategy(), ["CPU"], "float32")
    two = Devices(two_cpus(), ["CPU", "CPU"], "float32")
    check_statistics(one, two, xla=False)
    check_statistics(one, two, xla=True)
    check_uneven_end(one, two)
    check_trying(two)
    check_attempts()


class Hungry(keras.layers.Layer):
    """Wants more memory than any machine has on the second device, when there are more than 30 images on it."""

    def call(self, images: Any) -> Any:
        replica = tf.distribute.get_replica_context()
        first = replica is None or replica.replica_id_in_sync_group == 0
        fine = tf.logical_or(tf.shape(images)[0] <= 30, first)
        wanted = tf.where(fine, tf.constant(1, tf.int64), tf.constant(2**46, tf.int64))
        return images + tf.reduce_sum(tf.fill([wanted], tf.cast(tf.shape(images)[0], tf.float32))) * 0.0

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


def model_on(devices: Devices, first: keras.layers.Layer, settings: FitSettings) -> keras.Model:
    keras.utils.set_random_seed(1)
    with devices.building():
        model = keras.Sequential([keras.Input((4,)), first, keras.layers.Dense(2, activation="softmax")])
        compile_classifier(model, settings)
    return model


def fit(
    model: keras.Model,
    devices: Devices,
    settings: FitSettings,
    images: int = 48,
    class_weight: dict[int, float] | None = None,
) -> Fit:
    examples = tf.data.Dataset.from_tensor_slices((POINTS[:images], LABELS[:images]))
    batches = in_batches(examples, images, devices.batching(8))
    validation = Validation(batches, LABELS[:images])
    return fit_epochs(model, "frozen", settings, lambda _: batches, validation, class_weight, None)


def check_statistics(one: Devices, two: Devices, *, xla: bool) -> None:
    """Normalization that learns gathers on both devices what it gathers on one: the mean, of whatever share."""
    settings = dataclasses.replace(SETTINGS, xla=xla)
    means = []
    for devices in (one, two):
        with devices.building():
            normalization = keras.layers.BatchNormalization(momentum=0.5)
        model = model_on(devices, normalization, settings)
        fit(model, devices, settings)
        means.append(devices.strategy.experimental_local_results(normalization.moving_mean.value))
    [single], (first, second) = means

    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, single, atol=1e-6)
    assert np.abs(first).max() > 0.01


def check_uneven_end(one: Devices, two: Devices) -> None:
    """What fills up the last batch for the second device is neither learned from nor counted."""
    cases = (45, SETTINGS), (1, SETTINGS), (45, dataclasses.replace(SETTINGS, label_smoothing=0.1, xla=True))
    for images, settings in cases:
        weights, rows = [], []
        for devices in (one, two):
            model = model_on(devices, keras.layers.Dense(3), settings)
            history = fit(model, devices, settings, images, {0: 0.6, 1: 1.7}).history
            weights.append(model.get_weights())
            rows.append(history[["loss", "accuracy", "val_loss", "val_accuracy"]].to_numpy())
        np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5)
        for shared, single in zip(weights[1], weights[0], strict=True):
            np.testing.assert_allclose(shared, single, atol=1e-6)


def check_trying(two: Devices) -> None:
    """The second device runs out of memory while the first one does not, and training goes on as if nothing were."""
    model = model_on(two, Hungry(), SETTINGS)

    found = largest_that_fits(model, 8, 256, xla=False, gpu_prefetch_batches=2)

    assert found == 32  # 64 are 36 for each with what is spared
    assert steps_of(model) == 0, "nothing is learned while it is tried"
    fit(model, two, SETTINGS)
    assert steps_of(model) == 2 * 6


def steps_of(model: keras.Model) -> int:
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


def check_attempts() -> None:
    """An attempt that starts over in the process may have other gradients to add up: those of another precision."""
    for width in (3, 5):
        two = Devices(sharing_among(("CPU:0", "CPU:1")), ["CPU", "CPU"], "float32")
        with two.building():
            layer = keras.layers.Dense(width)
        fit(model_on(two, layer, SETTINGS), two, SETTINGS)
