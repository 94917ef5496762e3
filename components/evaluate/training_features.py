"""What the model's backbone sees in the training images, to judge their labels by."""

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.evaluate.predictions import SECONDS_BETWEEN_LINES, images_of
from components.formats.splits import Splits

TRAINING_SPLIT = "train"


@dataclasses.dataclass(frozen=True)
class TrainingFeatures:
    """Of training images, in shard order.

    Attributes:
        paths: The images' names.
        digests: MD5 of their original bytes, hexadecimal.
        labels: int64 ``[images]``, indices into the class names.
        positions: int64 ``[images]``, where each is in the shards.
        features: float16 ``[images, features]`` of length 1.
    """

    paths: list[str]
    digests: list[str]
    labels: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    features: npt.NDArray[np.float16]


def training_features(
    model: keras.Model, splits: Splits, directory: Path, *, most_images: int, batch_size: int, seed: int
) -> TrainingFeatures | None:
    """Return pooled features of training images, as they are, without augmentation; None for a model without any.

    Args:
        model: From ``load_classifier``.
        splits: What the folder claims to hold; its training split has images.
        directory: The splits' folder.
        most_images: Of more, a random sample of so many is taken, at least 1.
        batch_size: Images in one step, at least 1.
        seed: Of the sample.
    """
    pooling = next((layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)), None)
    if pooling is None:
        return None
    seen = keras.Model(model.inputs[0], pooling.output)
    count = splits.splits[TRAINING_SPLIT].images
    positions = np.sort(np.random.default_rng(seed).permutation(count)[:most_images])
    paths: list[str] = []
    digests: list[str] = []
    labels: list[int] = []
    features: list[npt.NDArray[np.float16]] = []
    reported = time.monotonic()
    for batch in images_of(splits, directory, TRAINING_SPLIT, positions).batch(batch_size).prefetch(tf.data.AUTOTUNE):
        pooled = np.asarray(seen.predict_on_batch(batch["image"]), np.float32)
        length = np.linalg.norm(pooled, axis=1, keepdims=True)
        features.append((pooled / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float16))
        labels.extend(batch["label"].numpy().tolist())
        paths.extend(path.decode() for path in batch["path"].numpy())
        digests.extend(digest.decode() for digest in batch["md5"].numpy())
        if time.monotonic() - reported > SECONDS_BETWEEN_LINES:
            reported = time.monotonic()
            print(f"evaluate: features of {len(paths)} of {len(positions)} training images", flush=True)
    numbers = np.asarray(labels, np.int64)
    return TrainingFeatures(paths, digests, numbers, positions[: len(paths)], np.concatenate(features))
