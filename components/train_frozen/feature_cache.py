"""Pooled backbone features, computed once: a frozen backbone gives the same answer in every epoch.

Training the head on them gives the very weights that training the whole model would, at a hundredth of the time. They
wait in memory: 8 KB for each view of an image with InceptionV3, 4 GB for 100,000 images in five views.
"""

import keras
import numpy as np
import tensorflow as tf

from components.classifier.input_pipeline import Batching, SplitImages, in_batches, stored_batches, view_batches
from components.classifier.training import ProgressLines

_BYTES_OF_FLOAT32 = 4


def print_memory(extractor: keras.Model, source: SplitImages, views: int) -> None:
    """Print how much memory the features of all views take."""
    megabytes = views * source.images * extractor.output_shape[1] * _BYTES_OF_FLOAT32 / 1e6
    print(f"features of {source.images} images, {megabytes:,.1f} MB of memory in all", flush=True)


def training_features(
    extractor: keras.Model, source: SplitImages, batching: Batching, strength: float, view: int, views: int, seed: int
) -> np.ndarray:
    """Return the features of one augmented view of the training images.

    Args:
        extractor: Pixels to pooled features.
        source: The training images.
        batching: Of the images.
        strength: Of augmentation, [0, 1].
        view: Which one, from 0.
        views: Of how many. More show the head more variety, take longer to compute and more memory.
        seed: Of the run.

    Returns:
        float32 ``[images, features]`` in stored order.
    """
    return _extract(
        extractor,
        view_batches(source, batching, strength, seed, view),
        f"features of view {view + 1} of {views}",
        source.images,
        batching,
    )


def validation_features(extractor: keras.Model, source: SplitImages, batching: Batching) -> np.ndarray:
    """Return the features of the images as they are, float32 ``[images, features]`` in stored order."""
    return _extract(extractor, stored_batches(source, batching), "features for validation", source.images, batching)


def epoch_of_features(
    features: np.ndarray, labels: np.ndarray, batching: Batching, seed: int, epoch: int
) -> tf.data.Dataset:
    """Return one epoch: every image once in an order of its own."""
    order = np.random.default_rng([seed, epoch]).permutation(len(labels))
    return batches_of_features(features, labels, order, batching)


def batches_of_features(
    features: np.ndarray, labels: np.ndarray, order: np.ndarray, batching: Batching
) -> tf.data.Dataset:
    """Return batches of features and labels in the given order, the last one holding what is left."""

    def take(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return features[positions], labels[positions]

    def gather(positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # In NumPy: of a tensor with all features TensorFlow's pipeline makes three copies, gigabytes of a large split.
        rows, of_rows = tf.numpy_function(take, [positions], (tf.float32, tf.int64))
        return tf.ensure_shape(rows, [None, features.shape[1]]), tf.ensure_shape(of_rows, [None])

    return in_batches(tf.data.Dataset.from_tensor_slices(order), len(order), batching).map(gather)


def _extract(
    extractor: keras.Model, batches: tf.data.Dataset, doing: str, images: int, batching: Batching
) -> np.ndarray:
    print(f"{doing}: {images} images", flush=True)
    progress = ProgressLines(doing, images, batching.size)
    features = extractor.predict(batches, verbose=0, callbacks=[progress])
    return np.asarray(features, np.float32)[:images]
