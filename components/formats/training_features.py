"""What the pretrained backbone sees in training images, before anything has learned their labels.

``train_frozen`` leaves it beside its model (``components.formats.trained_model``) where it computed it anyway, and
``evaluate`` judges labels by it. NumPy's archive of these arrays, without pickles; its zip carries a CRC-32 of each:

    training_features.npz
      features        float16 [images, features] of length 1
      positions       int64 [images], rising: where each image is in the shards of the training split
      views           int64, of how many augmented views of each image the features are the mean
      dataset_digest  text, of the splits
      shards_digest   text, of their training shards: the dataset's digest speaks of neither pixels nor order
"""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.formats.splits import Splits

TRAINING_FEATURES_FILE = "training_features.npz"

TRAINING_SPLIT = "train"

MOST_IMAGES = 100_000
"""Of more a random sample is kept: 0.4 GB with InceptionV3, which goes wherever the model does."""


@dataclasses.dataclass(frozen=True)
class TrainingFeatures:
    """What the file holds, see above."""

    features: npt.NDArray[np.float16]
    positions: npt.NDArray[np.int64]
    views: int
    dataset_digest: str
    shards_digest: str


def write_training_features(kept: TrainingFeatures, directory: Path) -> None:
    """Write the file, the same bytes for the same features."""
    np.savez(
        directory / TRAINING_FEATURES_FILE,
        features=kept.features,
        positions=kept.positions,
        views=kept.views,
        dataset_digest=kept.dataset_digest,
        shards_digest=kept.shards_digest,
    )


def read_training_features(directory: Path) -> TrainingFeatures | None:
    """Read the file; None where there is none.

    Raises:
        ValueError: When it is damaged.
    """
    path = directory / TRAINING_FEATURES_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            kept = TrainingFeatures(
                features=arrays["features"],
                positions=arrays["positions"],
                views=int(arrays["views"]),
                dataset_digest=str(arrays["dataset_digest"]),
                shards_digest=str(arrays["shards_digest"]),
            )
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{TRAINING_FEATURES_FILE} is no whole archive: {error}") from error
    if kept.features.ndim != 2 or kept.positions.shape != kept.features.shape[:1]:
        raise ValueError(f"{TRAINING_FEATURES_FILE} has not one position for each row of features")
    return kept


def training_shards_digest(splits: Splits) -> str:
    """Return the digest of the training shards: which pixels are where."""
    return splits.shards_digest(TRAINING_SPLIT)


def shuffled_positions(images: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the positions of all training images in an order whose beginnings are its random samples.

    So of a sample that was kept, a smaller one with the same seed is the one that would be drawn of all images.
    """
    return np.random.default_rng(seed).permutation(images)


def of_length_1(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Return features, ``[images, features]``, divided by their length; what is zero stays so."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: npt.NDArray[np.float16] = (features / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float16)
    return scaled
