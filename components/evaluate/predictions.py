"""Predict every image of a split exactly once, on shards and a model that are what they claim to be."""

import dataclasses
import hashlib
import time
import zipfile
from collections.abc import Collection
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.failures import UserError
from components.formats.jpeg_decoding import decode_jpeg
from components.formats.splits import Splits
from components.formats.tfrecords import parse_example
from components.formats.trained_model import KERAS_FILE

TEST_SPLIT = "test"
VALIDATION_SPLIT = "validation"

SECONDS_BETWEEN_LINES = 10.0


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model says about a split, in shard order.

    Attributes:
        paths: The images' names.
        digests: MD5 of their original bytes, hexadecimal.
        labels: int64 ``[images]``, indices into the class names.
        probabilities: float32 ``[images, classes]``.
    """

    paths: list[str]
    digests: list[str]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class NamedImages:
    """Images of a split by their records alone, in shard order.

    Attributes:
        paths: The images' names.
        digests: MD5 of their original bytes, hexadecimal.
        labels: int64 ``[images]``, indices into the class names.
    """

    paths: list[str]
    digests: list[str]
    labels: npt.NDArray[np.int64]


def verify_shards(splits: Splits, directory: Path, split: str) -> None:
    """Check the shards of a split against their digests.

    Raises:
        UserError: When a shard is missing or differs from what was written, naming it.
    """
    for shard in splits.splits[split].shards:
        path = directory / shard.file
        if not path.is_file():
            raise UserError(f"the splits lack the shard {shard.file}: run the split step again")
        if file_sha256(path) != shard.sha256:
            raise UserError(
                f"the shard {shard.file} is corrupt: its bytes differ from the SHA-256 in splits.json; "
                "run the split step again"
            )


def load_classifier(directory: Path, splits: Splits) -> keras.Model:
    """Load ``model.keras`` without running code that a model file could carry, and check that it fits the splits.

    Raises:
        UserError: When the file is missing, not a safe Keras model, or made for other images or classes.
    """
    path = directory / KERAS_FILE
    if not path.is_file():
        raise UserError(f"the model holds no {KERAS_FILE}: give the output of a training step")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{KERAS_FILE} is damaged, it is no .keras archive: run the training step again")
    # On newer GPUs TensorFlow multiplies with 10 bits by default; exports are compared with what is predicted here.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{KERAS_FILE} cannot be loaded as a safe Keras model: {reason}") from error
    size, classes = splits.image_size_px, len(splits.class_names)
    if tuple(model.output_shape) != (None, classes):
        raise UserError(
            f"the model gives {tuple(model.output_shape)[1:]} values an image, the splits have {classes} classes: "
            "give the model that was trained on these splits"
        )
    if tuple(model.input_shape[1:]) not in {(size, size, 3), (None, None, 3)}:
        raise UserError(
            f"the model takes images of {tuple(model.input_shape[1:])}, the splits hold {(size, size, 3)}: "
            "give the model that was trained on these splits"
        )
    return model


def predict_split(model: keras.Model, splits: Splits, directory: Path, split: str, batch_size: int) -> Predictions:
    """Return the model's probabilities for every image of a split, the images of an incomplete last batch included.

    Args:
        model: From ``load_classifier``.
        splits: What the folder claims to hold.
        directory: The splits' folder.
        split: Which of them; it has images.
        batch_size: Images in one step, at least 1.

    Raises:
        UserError: When the number of images is not the one in ``splits.json``, or the model gives NaN.
    """
    paths: list[str] = []
    digests: list[str] = []
    labels: list[int] = []
    expected = splits.splits[split].images
    probabilities = np.empty((expected, len(splits.class_names)), np.float32)
    reported = time.monotonic()
    for batch in images_of(splits, directory, split).batch(batch_size).prefetch(tf.data.AUTOTUNE):
        given = np.asarray(model.predict_on_batch(batch["image"]), dtype=np.float32)
        if len(paths) + len(given) <= expected:
            probabilities[len(paths) : len(paths) + len(given)] = given
        labels.extend(batch["label"].numpy().tolist())
        paths.extend(path.decode() for path in batch["path"].numpy())
        digests.extend(digest.decode() for digest in batch["md5"].numpy())
        if time.monotonic() - reported > SECONDS_BETWEEN_LINES:
            reported = time.monotonic()
            print(f"evaluate: {len(paths)} of {expected} {split} images", flush=True)
    if len(paths) != expected:
        raise UserError(f"the {split} shards hold {len(paths)} images, splits.json says {expected}: run split again")
    predictions = Predictions(paths, digests, np.asarray(labels, dtype=np.int64), probabilities)
    if not np.isfinite(predictions.probabilities).all():
        raise UserError("the model gives NaN for some images: its training diverged, lower the learning rate")
    return predictions


def read_images(splits: Splits, directory: Path, split: str, positions: Collection[int]) -> dict[int, bytes]:
    """Return the JPEG bytes of a few images of a split, by their position in shard order."""
    rising = sorted(set(positions))
    records = _records_at(splits, directory, split, np.array(rising, np.int64)).as_numpy_iterator()
    return {position: parse_example(record)["image"].numpy() for position, record in zip(rising, records, strict=True)}


def names_of(splits: Splits, directory: Path, split: str, positions: npt.NDArray[np.int64]) -> NamedImages:
    """Return which images are at rising positions of a split, without decoding any."""

    def named(record: tf.Tensor) -> dict[str, tf.Tensor]:
        example = parse_example(record)
        return {name: example[name] for name in ("label", "path", "md5")}

    records = _records_at(splits, directory, split, positions).map(named, num_parallel_calls=tf.data.AUTOTUNE)
    examples = list(records.as_numpy_iterator())
    return NamedImages(
        [example["path"].decode() for example in examples],
        [example["md5"].decode() for example in examples],
        np.array([example["label"] for example in examples], np.int64),
    )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def images_of(
    splits: Splits, directory: Path, split: str, positions: npt.NDArray[np.int64] | None = None
) -> tf.data.Dataset:
    """Yield image uint8 ``[size, size, 3]``, label, path and md5 of the original bytes in shard order.

    Args:
        splits: What the folder claims to hold.
        directory: The splits' folder.
        split: Which of them.
        positions: Of the images wanted, rising; None for all.
    """

    def decode(record: tf.Tensor) -> dict[str, tf.Tensor]:
        example = parse_example(record)
        image = decode_jpeg(example["image"])
        image = tf.ensure_shape(image, (splits.image_size_px, splits.image_size_px, 3))
        return {"image": image, **{name: example[name] for name in ("label", "path", "md5")}}

    records = _records_at(splits, directory, split, positions)
    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _records_at(
    splits: Splits, directory: Path, split: str, positions: npt.NDArray[np.int64] | None
) -> tf.data.Dataset:
    """Yield the serialized records of a split at rising positions, all for None; what is passed over is not parsed."""
    records = tf.data.TFRecordDataset([str(path) for path in splits.shard_paths(directory, split)])
    images = splits.splits[split].images
    if positions is None or len(positions) == images:
        return records
    wanted = np.zeros(images, bool)
    wanted[positions] = True
    chosen = tf.constant(wanted)
    return records.enumerate().filter(lambda place, _: chosen[place]).map(lambda _, record: record)
