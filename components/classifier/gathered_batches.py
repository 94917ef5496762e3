"""Batches of what lies ready for each image, each read in one go."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.classifier.input_pipeline import Batching, in_batches

# As many wait in memory, however much there is to read: of activations of InceptionV3 each takes 17 MB.
_READ_AT_ONCE = 2


def gathered_batches(
    order: np.ndarray,
    labels: np.ndarray,
    take: Callable[[np.ndarray], list[np.ndarray]],
    arrays: Sequence[tf.TensorSpec],
    finish: Callable[..., Any],
    batching: Batching,
) -> tf.data.Dataset:
    """Return batches in the given order: what ``finish`` makes of their arrays, and int64 labels.

    Args:
        order: What says of each image where it lies.
        labels: Of the images in that order.
        take: Gives arrays for the images of a batch from their part of ``order``; a pure function, which several
            threads call at once.
        arrays: Their types, without the batch.
        finish: Takes them as tensors.
        batching: How many are read in one go.
    """

    def gather(places: tf.Tensor, of_images: tf.Tensor) -> tuple[Any, tf.Tensor]:
        # Not stateful, so that with deterministic operations too several batches are read at once.
        taken = tf.numpy_function(take, [places], [array.dtype for array in arrays], stateful=False)
        shaped = (tf.ensure_shape(one, [None, *array.shape]) for one, array in zip(taken, arrays, strict=True))
        return finish(*shaped), of_images

    batches = in_batches(tf.data.Dataset.from_tensor_slices((order, labels)), len(order), batching).map(
        tf.autograph.experimental.do_not_convert(gather), num_parallel_calls=_READ_AT_ONCE, deterministic=True
    )
    return batches.prefetch(1)
