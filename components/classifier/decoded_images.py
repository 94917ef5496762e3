"""The images of a split as pixels on a local disk: an epoch of streaming reads them from there, decoded once.

Decoding takes longer than all else that prepares a batch. What is kept is the image as it is stored, uint8, so that
augmentation varies it anew in each epoch; the batches are bit for bit those of ``input_pipeline``.
"""

import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from components.classifier import input_pipeline
from components.classifier.augmentation import augment
from components.classifier.input_pipeline import Batching, SplitImages, in_batches, mapped
from components.classifier.training_mode import ModeSettings, size_in_words, why_no_room

_BATCH_WHILE_DECODING = 64


class Pictures(Protocol):
    """Where the batches of a split come from; see the functions of the same names in ``input_pipeline``."""

    def stored_batches(self, batching: Batching) -> tf.data.Dataset:
        """Return the images as they are, in stored order."""

    def epoch_batches(self, batching: Batching, strength: float, seed: int, epoch: int) -> tf.data.Dataset:
        """Return one epoch of training."""


class EncodedImages:
    """Images that are decoded whenever they are needed.

    Args:
        source: The images.
    """

    def __init__(self, source: SplitImages) -> None:
        self._source = source

    def stored_batches(self, batching: Batching) -> tf.data.Dataset:
        """Return the images as they are, in stored order."""
        return input_pipeline.stored_batches(self._source, batching)

    def epoch_batches(self, batching: Batching, strength: float, seed: int, epoch: int) -> tf.data.Dataset:
        """Return one epoch of training."""
        return input_pipeline.epoch_batches(self._source, batching, strength, seed, epoch)


class DecodedImages:
    """Images that were decoded to a file without a name, which goes with the process.

    They are read into the batch and not mapped, so that they take no memory that the system cannot have back.

    Args:
        source: The images.
        folder: On a local disk, with ``decoded_bytes`` of room; made when it is missing.

    Raises:
        OSError: When the disk has no room.
    """

    def __init__(self, source: SplitImages, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._source = source
        self._shape = (source.image_size_px, source.image_size_px, 3)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._file.close)
        labels = []
        for pixels, some in input_pipeline.stored_batches(source, Batching(_BATCH_WHILE_DECODING, 1)):
            _write_all(self._file.fileno(), np.ascontiguousarray(pixels).data.cast("B"))
            labels.append(np.asarray(some))
        self._labels = np.concatenate(labels)

    def stored_batches(self, batching: Batching) -> tf.data.Dataset:
        """Return the images as they are, in stored order."""
        places = tf.data.Dataset.range(self._source.images)
        return in_batches(mapped(places, self._image), self._source.images, batching)

    def epoch_batches(self, batching: Batching, strength: float, seed: int, epoch: int) -> tf.data.Dataset:
        """Return one epoch of training."""
        places, numbers = input_pipeline.epoch_order(self._source, seed, epoch)

        def example(place: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            image, label = self._image(place)
            return augment(image, strength, seed, number, epoch), label

        examples = tf.data.Dataset.from_tensor_slices((places, numbers))
        return in_batches(mapped(examples, example), self._source.images, batching)

    def _image(self, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.numpy_function(self._read, [place], [tf.uint8, tf.int64], stateful=False)
        return tf.ensure_shape(image, self._shape), tf.ensure_shape(label, [])

    def _read(self, place: np.int64) -> tuple[np.ndarray, np.int64]:
        pixels = np.empty(self._shape, np.uint8)
        read = os.preadv(self._file.fileno(), [pixels.data.cast("B")], int(place) * pixels.nbytes)
        if read != pixels.nbytes:
            raise OSError(f"image {place} is cut off in the file of decoded images")
        return pixels, self._labels[place]


def _write_all(file: int, data: memoryview) -> None:
    """Write bytes to the end: Linux takes 2 GiB at once at most, and what is left before a limit on file sizes.

    Raises:
        OSError: When the disk has no room, or the limit is reached.
    """
    while data:
        data = data[os.write(file, data) :]


def decoded_bytes(source: SplitImages) -> int:
    """Return how much room the decoded images of a split take."""
    return source.images * source.image_size_px**2 * 3


def open_pictures(
    step: str, sources: Sequence[SplitImages], settings: ModeSettings, epochs: int, folder: Path
) -> list[Pictures]:
    """Return where the batches of splits come from, all of them decoded once where that saves something and fits.

    Args:
        step: Whose they are, for the log.
        sources: The splits.
        settings: Says how much a cache may take.
        epochs: That will read them.
        folder: On a local disk, for what is decoded.
    """
    need = sum(map(decoded_bytes, sources))
    reason = "there is one epoch" if epochs < 2 else why_no_room(settings, need, folder)
    if reason:
        print(f"{step}: images are decoded in every epoch: {reason}", flush=True)
        return [EncodedImages(source) for source in sources]
    print(f"{step}: images are decoded once, to {size_in_words(need)} in {folder}", flush=True)
    return [DecodedImages(source, folder) for source in sources]
