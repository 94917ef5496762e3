"""Light random changes to training images that keep what they show.

Stateless: the result is a pure function of image, seed, the image's number and the view's number. So it does not depend
on threads or order, and a cached view is the same as one made again.
"""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

# At strength 1. Each change is applied to half of the images, by an amount drawn evenly up to its limit.
_MAXIMUM_ROTATION = math.radians(20.0)
_MAXIMUM_ZOOM = 0.25  # of the side, in or out
_MAXIMUM_BRIGHTNESS = 0.25 * 255.0  # added or taken away
_MAXIMUM_CONTRAST = 0.35  # of the distance from the image's mean

_DRAWS = 9


def augment(image: tf.Tensor, strength: float, seed: int, index: tf.Tensor, view: int) -> tf.Tensor:
    """Return one view of an image: flipped, rotated, zoomed, brighter or darker, with more or less contrast.

    Args:
        image: uint8 or float ``[height, width, 3]`` in [0, 255].
        strength: 0 changes nothing, 1 is the strongest.
        seed: Of the run.
        index: Number of the image, scalar int64.
        view: Number of the view: the epoch, or the cached copy.

    Returns:
        float32 of the same shape in [0, 255].
    """
    image = tf.cast(image, tf.float32)
    if strength == 0.0:
        return image
    return _augmentation(strength, tuple(image.shape))(image, seed, index, view)


@functools.cache
def _augmentation(strength: float, shape: tuple[int, ...]) -> Callable[..., tf.Tensor]:
    """Return what augments images of a shape: one graph for all views, as building it takes half a second."""
    numbers = [tf.TensorSpec([], dtype) for dtype in (tf.int64, tf.int64, tf.int32)]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32), *numbers], autograph=False)
    def augmented(image: tf.Tensor, seed: tf.Tensor, index: tf.Tensor, view: tf.Tensor) -> tf.Tensor:
        return _changed(image, strength, seed, index, view)

    return augmented


def _changed(image: tf.Tensor, strength: float, seed: tf.Tensor, index: tf.Tensor, view: tf.Tensor) -> tf.Tensor:
    key = tf.random.fold_in(tf.random.fold_in(tf.stack([seed, tf.constant(0, tf.int64)]), view), index)
    draws = tf.random.stateless_uniform([_DRAWS], tf.cast(key, tf.int64))
    flip = draws[0] < 0.5
    angle = strength * _MAXIMUM_ROTATION * _amount(draws[1], draws[2])
    zoom = 1.0 + strength * _MAXIMUM_ZOOM * _amount(draws[3], draws[4])
    brightness = strength * _MAXIMUM_BRIGHTNESS * _amount(draws[5], draws[6])
    contrast = 1.0 + strength * _MAXIMUM_CONTRAST * _amount(draws[7], draws[8])
    image = _transform(image, flip, angle, zoom)
    mean = tf.reduce_mean(image)
    return tf.clip_by_value((image - mean) * contrast + mean + brightness, 0.0, 255.0)


def _amount(chance: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Return 0 for half of the chances, else ``amount`` moved from [0, 1] to [-1, 1]."""
    return tf.where(chance < 0.5, 0.0, 2.0 * amount - 1.0)


def _transform(image: tf.Tensor, flip: tf.Tensor, angle: tf.Tensor, zoom: tf.Tensor) -> tf.Tensor:
    """Flip, rotate and zoom about the centre in one resampling; what comes from outside is mirrored in."""
    height, width = image.shape[0], image.shape[1]
    centre_x, centre_y = (width - 1) / 2.0, (height - 1) / 2.0
    side = tf.where(flip, -1.0, 1.0)
    # Rows of the matrix that takes a point of the result to the point of the image it comes from.
    a, b = side * tf.cos(angle) * zoom, -side * tf.sin(angle) * zoom
    c, d = tf.sin(angle) * zoom, tf.cos(angle) * zoom
    matrix = tf.stack(
        [
            a,
            b,
            centre_x - a * centre_x - b * centre_y,
            c,
            d,
            centre_y - c * centre_x - d * centre_y,
            0.0,
            0.0,
        ]
    )
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=matrix[tf.newaxis],
        output_shape=[height, width],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )
    return tf.ensure_shape(moved[0], image.shape)
