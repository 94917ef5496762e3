"""The batch size that is found is the largest that a training step can hold, and finding it leaves no trace."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.classifier import epoch_steps
from components.classifier.batch_size import found_batch_size, largest_that_fits
from components.classifier.frozen_layers import FrozenLayers
from components.classifier.training import compile_classifier
from tests.classifier.plain_settings import PLAIN

SETTINGS = dataclasses.replace(PLAIN, epochs=1, batch_size=0)


class Hungry(keras.layers.Layer):
    """Wants more memory than any machine has, when there are more images than it bears."""

    def __init__(self, bears: int) -> None:
        super().__init__()
        self._bears = bears

    def call(self, images: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images, tf.int64)[0]
        wanted = tf.where(count > self._bears, tf.constant(2**46, tf.int64), tf.constant(1, tf.int64))
        return images + tf.reduce_sum(tf.fill([wanted], tf.cast(count, tf.float32))) * 0.0


@pytest.fixture
def model() -> keras.Model:
    return model_that_bears(100)


def model_that_bears(images: int) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = [keras.Input((3,)), Hungry(images), keras.layers.Dropout(0.5), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential(layers)
    compile_classifier(model, SETTINGS)
    return model


def test_it_doubles_while_a_step_fits(model: keras.Model) -> None:
    before = [variable.numpy() for variable in model.variables]

    assert largest_that_fits(model, 8, 1000, xla=False, gpu_prefetch_batches=2) == 64
    assert largest_that_fits(model, 8, 40, xla=False, gpu_prefetch_batches=2) == 32
    assert largest_that_fits(model, 8, 4, xla=False, gpu_prefetch_batches=2) == 8

    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_it_leaves_an_eighth_to_spare() -> None:
    assert largest_that_fits(model_that_bears(72), 8, 64, xla=False, gpu_prefetch_batches=2) == 64
    assert largest_that_fits(model_that_bears(71), 8, 64, xla=False, gpu_prefetch_batches=2) == 32


@pytest.mark.parametrize("ahead", [0, 2])
def test_it_tries_as_many_batches_as_wait_in_training(
    model: keras.Model, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in training, one asked for, and those that are kept ahead."""
    sizes = []
    take_step = epoch_steps.take_step

    def counted(step: Any, batch: Any) -> Any:
        sizes.append(len(batch[0]))
        return take_step(step, batch)

    monkeypatch.setattr(epoch_steps, "take_step", counted)

    assert largest_that_fits(model, 8, 16, xla=False, gpu_prefetch_batches=ahead) == 16
    assert sizes == [18] * (2 + ahead)


def test_it_tries_the_frozen_layers_too() -> None:
    """What they bear counts, and what they take is what waits."""
    image = keras.Input((4, 4, 3))
    before = keras.Model(image, keras.layers.GlobalAveragePooling2D()(Hungry(30)(image)))

    frozen = FrozenLayers(before, False)
    assert largest_that_fits(model_that_bears(100), 8, 64, xla=False, gpu_prefetch_batches=2, frozen=frozen) == 16


def test_a_cpu_takes_the_usual_one(model: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _: [])

    assert found_batch_size(model, 10_000, xla=False, gpu_prefetch_batches=2) == 32
