"""What an answer rests on: the parts of an image that raise the score of a class.

Grad-CAM: Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization, ICCV 2017. The score is the class's input of the softmax, because the gradient of a
probability near 1 vanishes.
"""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

Heat = npt.NDArray[np.float32]
"""``[height, width]`` of the last feature maps, [0, 1]: 0 where nothing speaks for the class, 1 where most does."""


def explain(
    model: keras.Model, images: npt.NDArray[np.uint8], labels: Sequence[int], batch_size: int
) -> list[Heat] | None:
    """Return what speaks for a class in each image; None for a model whose layers cannot be asked.

    Args:
        model: A chain of layers, as the training steps make it: feature maps, pooled, then layers up to a softmax.
        images: ``[images, size, size, 3]``.
        labels: The class to ask about, one per image.
        batch_size: Images in one step, at least 1.
    """
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    pooling = next(
        (place for place, layer in enumerate(layers) if isinstance(layer, keras.layers.GlobalAveragePooling2D)), None
    )
    answering = layers[-1]
    if pooling is None or not isinstance(answering, keras.layers.Dense):
        return None
    heat: list[Heat] = []
    for begin in range(0, len(images), batch_size):
        # In float32: a backbone of half precision would lose gradients as small as these.
        maps = tf.cast(_through(layers[:pooling], tf.constant(images[begin : begin + batch_size])), tf.float32)
        wanted = tf.one_hot(list(labels[begin : begin + batch_size]), answering.units)
        with tf.GradientTape() as tape:
            tape.watch(maps)
            features = _through(layers[pooling:-1], maps)
            before_softmax = tf.matmul(features, answering.kernel) + answering.bias
            scores = tf.reduce_sum(before_softmax * wanted, axis=1)
        weights = tf.reduce_mean(tape.gradient(scores, maps), axis=(1, 2), keepdims=True)
        heat.extend(_scaled(np.maximum(np.asarray(tf.reduce_sum(weights * maps, axis=3), np.float32), 0.0)))
    return heat


def _through(layers: Sequence[keras.layers.Layer], values: tf.Tensor) -> tf.Tensor:
    for layer in layers:
        values = layer(values, training=False)
    return values


def _scaled(heat: npt.NDArray[np.float32]) -> list[Heat]:
    highest = heat.max(axis=(1, 2), keepdims=True)
    return list(np.divide(heat, highest, out=np.zeros_like(heat), where=highest > 0))
