"""What the frozen backbone sees in the training images, to judge their labels by.

The backbone of a fine-tuned model has learned these very labels, the wrong ones too, so no model on top of it is one
that has not seen them. The frozen one is as it was pretrained.
"""

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.evaluate.predictions import SECONDS_BETWEEN_LINES, images_of, load_classifier, names_of
from components.failures import UserError
from components.formats.splits import Splits
from components.formats.training_features import (
    TRAINING_SPLIT,
    TrainingFeatures,
    of_length_1,
    read_training_features,
    shuffled_positions,
    training_shards_digest,
)


@dataclasses.dataclass(frozen=True)
class SeenImages:
    """Training images, in shard order, and what the backbone sees in them.

    Attributes:
        paths: The images' names.
        digests: MD5 of their original bytes, hexadecimal.
        labels: int64 ``[images]``, indices into the class names.
        positions: int64 ``[images]``, where each is in the shards.
        features: float16 ``[images, features]`` of length 1.
        views: Of how many augmented views of each image they are the mean; 0 for the images as the split holds them.
    """

    paths: list[str]
    digests: list[str]
    labels: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    features: npt.NDArray[np.float16]
    views: int


def see_training_images(
    frozen_model: Path, splits: Splits, directory: Path, *, most_images: int, batch_size: int, seed: int
) -> SeenImages | None:
    """Return the pooled features that train_frozen has kept, else look at the images; None for a model without any.

    Args:
        frozen_model: Folder of train_frozen's model.
        splits: What the folder claims to hold; its training split has images.
        directory: The splits' folder.
        most_images: Of more, a random sample of so many is taken, at least 1.
        batch_size: Images in one step, at least 1.
        seed: Of the sample.

    Raises:
        UserError: When the features are damaged or of other images, or the model is.
    """
    shuffled = shuffled_positions(splits.splits[TRAINING_SPLIT].images, seed)
    kept = _kept_features(frozen_model, splits)
    if kept is None:
        classifier = load_classifier(frozen_model, splits)
        return _looked_at(classifier, splits, directory, np.sort(shuffled[:most_images]), batch_size)
    positions = np.sort(shuffled[np.isin(shuffled, kept.positions)][:most_images])
    print(f"evaluate: features of {len(positions)} training images come from train_frozen", flush=True)
    named = names_of(splits, directory, TRAINING_SPLIT, positions)
    features = kept.features[np.searchsorted(kept.positions, positions)]
    return SeenImages(named.paths, named.digests, named.labels, positions, features, kept.views)


def _kept_features(frozen_model: Path, splits: Splits) -> TrainingFeatures | None:
    try:
        kept = read_training_features(frozen_model)
    except ValueError as error:
        raise UserError(f"the frozen model's features are damaged ({error}): run train_frozen again") from error
    if kept is None:
        return None
    if (kept.dataset_digest, kept.shards_digest) != (splits.dataset_digest, training_shards_digest(splits)):
        raise UserError(
            "the frozen model's features are of other training images, or of the same ones in other shards: give the "
            "splits that train_frozen was given, or run it on these"
        )
    return kept


def _looked_at(
    model: keras.Model, splits: Splits, directory: Path, positions: npt.NDArray[np.int64], batch_size: int
) -> SeenImages | None:
    """Return what the model's backbone sees in the images at rising positions, as they are, without augmentation."""
    pooling = next((layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)), None)
    if pooling is None:
        return None
    seen = keras.Model(model.inputs[0], pooling.output)
    paths: list[str] = []
    digests: list[str] = []
    labels: list[int] = []
    features: list[npt.NDArray[np.float16]] = []
    reported = time.monotonic()
    for batch in images_of(splits, directory, TRAINING_SPLIT, positions).batch(batch_size).prefetch(tf.data.AUTOTUNE):
        features.append(of_length_1(np.asarray(seen.predict_on_batch(batch["image"]), np.float32)))
        labels.extend(batch["label"].numpy().tolist())
        paths.extend(path.decode() for path in batch["path"].numpy())
        digests.extend(digest.decode() for digest in batch["md5"].numpy())
        if time.monotonic() - reported > SECONDS_BETWEEN_LINES:
            reported = time.monotonic()
            print(f"evaluate: features of {len(paths)} of {len(positions)} training images", flush=True)
    numbers = np.asarray(labels, np.int64)
    return SeenImages(paths, digests, numbers, positions[: len(paths)], np.concatenate(features), views=0)
