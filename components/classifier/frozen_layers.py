"""Layers that do not learn, run on batches of pixels ahead of those that do.

What they give needs no gradient, so training through them is training of what is behind them, on what they give.
"""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf


class FrozenLayers:
    """The layers before those that learn, on the devices they were built for.

    Args:
        model: From pixels in [0, 255] to what the layers that learn take.
        xla: Whether to compile them with XLA.
        taken: Name of the output that is wanted of a model that has several. The others are computed too: TensorFlow
            joins layers whose outputs nobody asked for, which rounds otherwise.
    """

    def __init__(self, model: keras.Model, xla: bool, taken: str | None = None) -> None:
        self._taken = taken
        self._strategy = strategy = model.distribute_strategy
        self.image_shape: tuple[int, int, int] = tuple(model.input_shape[1:])
        """Height, width and channels of an image."""

        several = strategy.num_replicas_in_sync > 1

        def of_replica(pixels: tf.Tensor) -> Any:
            return model(pixels, training=False)

        # XLA compiles what is on one device and no more: of several each has its own share compiled.
        compiled = tf.function(of_replica, autograph=False, jit_compile=True) if xla and several else of_replica

        def of_share(pixels: tf.Tensor) -> Any:
            return compiled(pixels)

        def forward(images: Any) -> Any:
            # Not ``compiled`` itself: TensorFlow would have all devices compiled as one.
            return strategy.run(of_share, args=(images,))

        # One graph for batches of any size, as for a training step; several devices are given batches of one size.
        signature = [tf.TensorSpec([None, *self.image_shape], tf.float32)]
        self._forward = tf.function(
            forward,
            input_signature=None if several else signature,
            autograph=False,
            jit_compile=(xla and not several) or None,
        )

    def outputs(self, images: Any) -> Any:
        """Return what the layers that learn take, on each device for its share of a batch.

        On a GPU they are still being computed when this has returned.

        Args:
            images: float32 ``[batch, height, width, channels]``, shared among the devices where there are several.
        """
        return self._wanted(self._forward(images))

    def outputs_of(self, batches: tf.data.Dataset) -> Iterator[Any]:
        """Yield ``outputs`` for batches of images of any type, and labels."""
        as_floats = batches.map(lambda images, _: tf.cast(images, tf.float32))
        for images in self._strategy.experimental_distribute_dataset(as_floats):
            yield self.outputs(images)

    def output_spec(self, images: Any) -> Any:
        """Return the type of ``outputs`` for the type of batches."""
        outputs = self._forward.get_concrete_function(images).structured_outputs
        return tf.nest.map_structure(tf.type_spec_from_value, self._wanted(outputs))

    def _wanted(self, outputs: Any) -> Any:
        return outputs if self._taken is None else outputs[self._taken]
