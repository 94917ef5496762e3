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
    take: Callable[[np.ndarray], list[np.ndarray]],
    arrays: Sequence[tf.TensorSpec],
    finish: Callable[..., Any],
    batching: Batching,
) -> tf.data.Dataset:
    """Return batches in the given order.

    Args:
        order: What says of each image where it lies.
        take: Gives arrays for the images of a batch from their part of ``order``; a pure function, which several
            threads call at once.
        arrays: Their types, without the batch.
        finish: What makes of them, as tensors, an element of the dataset.
        batching: How many are read in one go.
    """

    def gather(places: tf.Tensor) -> Any:
        # Not stateful, so that with deterministic operations too several batches are read at once.
        taken = tf.numpy_function(take, [places], [array.dtype for array in arrays], stateful=False)
        return finish(*(tf.ensure_shape(one, [None, *array.shape]) for one, array in zip(taken, arrays, strict=True)))

    batches = in_batches(tf.data.Dataset.from_tensor_slices(order), len(order), batching).map(
        tf.autograph.experimental.do_not_convert(gather), num_parallel_calls=_READ_AT_ONCE, deterministic=True
    )
    return batches.prefetch(1)
