"""The images of a split as pixels on a local disk: an epoch of streaming reads them from there, decoded once.

Decoding takes longer than all else that prepares a batch. What is kept is the image as it is stored, uint8, so that
augmentation varies it anew in each epoch; the batches are bit for bit those of ``input_pipeline``.
"""

import contextlib
import os
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from components.classifier import input_pipeline
from components.classifier.augmentation import augment
from components.classifier.gathered_batches import gathered_batches
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
    """Images that are decoded once, and kept in a file without a name, which goes with the process.

    They are decoded by the first epoch that reads them, or before it, when batches in stored order are asked for. They
    are read into the batch and not mapped, so that they take no memory that the system cannot have back. Where the disk
    has no room after all they are decoded in every epoch.

    Args:
        step: Whose they are, for the log.
        source: The images.
        folder: On a local disk, with ``decoded_bytes`` of room; made when it is missing.
    """

    def __init__(self, step: str, source: SplitImages, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._step = step
        self._source = source
        self._shape = (source.image_size_px, source.image_size_px, 3)
        self._pixels = [tf.TensorSpec(self._shape, tf.uint8)]
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._file.close)
        self._labels = np.zeros(source.images, np.int64)
        self._written = np.zeros(source.images, bool)
        self._given_up = threading.Event()
        self._giving_up = threading.Lock()

    def stored_batches(self, batching: Batching) -> tf.data.Dataset:
        """Return the images as they are, in stored order; they may be read any number of times."""
        decoding = Batching(_BATCH_WHILE_DECODING, 1)
        if not self._complete and not self._given_up.is_set():
            for _ in input_pipeline.stored_batches(self._source, decoding, self._kept):
                if self._given_up.is_set():
                    break
        if not self._complete:
            return input_pipeline.stored_batches(self._source, batching)
        order = input_pipeline.stored_order(self._source)
        return gathered_batches(order, self._labels[order], self._take, self._pixels, tf.identity, batching)

    def epoch_batches(self, batching: Batching, strength: float, seed: int, epoch: int) -> tf.data.Dataset:
        """Return one epoch of training; the first one that is read to its end has all images decoded."""
        if not self._complete:
            kept = None if self._given_up.is_set() else self._kept
            return input_pipeline.epoch_batches(self._source, batching, strength, seed, epoch, kept)
        _, order = input_pipeline.epoch_order(self._source, seed, epoch)
        labels = self._labels[order]
        if strength == 0.0:
            return gathered_batches(order, labels, self._take, self._pixels, _as_not_augmented, batching)

        def example(number: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            image = tf.numpy_function(self._take_one, [number], tf.uint8, stateful=False)
            return augment(tf.ensure_shape(image, self._shape), strength, seed, number, epoch), label

        examples = tf.data.Dataset.from_tensor_slices((order, labels))
        return in_batches(mapped(examples, example), self._source.images, batching)

    @property
    def _complete(self) -> bool:
        return bool(self._written.all()) and not self._given_up.is_set()

    def _kept(self, number: tf.Tensor, pixels: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        kept = tf.numpy_function(self._keep, [number, pixels, label], tf.uint8, stateful=False)
        return tf.ensure_shape(kept, self._shape)

    def _keep(self, number: np.int64, pixels: np.ndarray, label: np.int64) -> np.ndarray:
        if self._given_up.is_set():
            return pixels
        try:
            _write_all(self._file.fileno(), np.ascontiguousarray(pixels).data.cast("B"), int(number) * pixels.nbytes)
        except OSError as error:
            self._give_up(error)
        self._labels[number] = label
        self._written[number] = True
        return pixels

    def _give_up(self, error: OSError) -> None:
        with self._giving_up:
            if self._given_up.is_set():
                return
            self._given_up.set()
        with contextlib.suppress(OSError):  # a courtesy: what else is written to that disk needs the room more
            self._file.truncate(0)
        said = error.strerror or error
        print(f"{self._step}: images are decoded in every epoch from now on: {said}", flush=True)

    def _take_one(self, number: np.int64) -> np.ndarray:
        [[pixels]] = self._take(np.array([number]))
        return pixels

    def _take(self, numbers: np.ndarray) -> list[np.ndarray]:
        images = np.empty((len(numbers), *self._shape), np.uint8)
        for number, pixels in zip(numbers.tolist(), images, strict=True):
            if os.preadv(self._file.fileno(), [pixels.data.cast("B")], number * pixels.nbytes) != pixels.nbytes:
                raise OSError(f"image {number} is cut off in the file of decoded images")
        return [images]


def _as_not_augmented(pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(pixels, tf.float32)


def _write_all(file: int, data: memoryview, place: int) -> None:
    """Write bytes to the end: the system may take fewer at once, as what is left before a limit on file sizes.

    Raises:
        OSError: When the disk has no room, or the limit is reached.
    """
    while data:
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written


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
    return [DecodedImages(step, source, folder) for source in sources]
