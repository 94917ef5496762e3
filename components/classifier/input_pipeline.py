"""Images of a split as batches: streamed from TFRecord shards, the same order for the same seed, every image counted.

What waits in memory is the encoded image, a tenth of its pixels and a fortieth of them as floats; decoding runs ahead
of training on all cores.
"""

import dataclasses
import hashlib
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from components.classifier.augmentation import augment
from components.failures import UserError
from components.formats.jpeg_decoding import decode_jpeg
from components.formats.splits import Splits, read_splits
from components.formats.tfrecords import parse_example
from components.ordered_work import processors

# Fixed, so that the order is the same on every machine.
_INTERLEAVED_SHARDS = 8
_BATCHES_AHEAD = 2
_SHUFFLE_BUFFER_IMAGES = 16_384
_READ_BUFFER_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class SplitImages:
    """The images of one split.

    Attributes:
        shards: TFRecord files.
        shard_images: How many images each holds.
        image_size_px: Height and width of every image.
        images_per_class: In label order.
    """

    shards: list[Path]
    shard_images: list[int]
    image_size_px: int
    images_per_class: list[int]

    @property
    def images(self) -> int:
        """How many images the split has."""
        return sum(self.shard_images)


FILLER = -1
"""Label of an example that only fills up a batch: no gradient comes of it, and it counts in no figure. Batch
normalization that learns sees it among the images of its device."""

Kept = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Takes an image's number, its pixels, and its label, and returns the pixels."""


@dataclasses.dataclass(frozen=True)
class Batching:
    """How examples are batched.

    Attributes:
        size: Examples in a batch over all devices; the last batch of an epoch holds what is left.
        devices: How many share a batch, of which ``size`` is a multiple. Above 1 the last batch is filled up with
            examples from the beginning, because a device without an example fails. Their label is ``FILLER``, and
            whoever predicts cuts them off.
    """

    size: int
    devices: int


def open_splits(directory: Path) -> tuple[Splits, SplitImages, SplitImages]:
    """Read what a folder of splits holds, and check the training and validation shards against their digests.

    Returns:
        The description, the training images and the validation images.

    Raises:
        UserError: When the folder holds no splits, a shard is missing or damaged, there are fewer than two classes, or
            a class has nothing to learn from.
    """
    splits = _read(directory)
    if len(splits.class_names) < 2:
        raise UserError(f"there is only the class {splits.class_names}: a classifier needs at least two")
    training, validation = (_open_split(splits, directory, name) for name in ("train", "validation"))
    for name, images in zip(splits.class_names, training.images_per_class, strict=True):
        if images == 0:
            raise UserError(f"class '{name}' has no training images: add some, or remove the class")
    if validation.images == 0:
        raise UserError("the validation split is empty: split again with a larger validation_fraction")
    for part in (training, validation):
        _require_size(part)
    return splits, training, validation


def require_whole_shards(directory: Path) -> None:
    """Check the training and validation shards of a folder of splits against their digests.

    Raises:
        UserError: Naming the shard that is missing or damaged.
    """
    splits = _read(directory)
    for name in ("train", "validation"):
        _require_whole(splits, directory, name)


def _read(directory: Path) -> Splits:
    try:
        splits = read_splits(directory)
        if missing := [name for name in ("train", "validation") if name not in splits.splits]:
            raise ValueError(f"there is no split {missing[0]}")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{directory} holds no readable splits.json ({reason}): give the output of the split step"
        ) from error
    return splits


def _require_whole(splits: Splits, directory: Path, name: str) -> None:
    for shard in splits.splits[name].shards:
        path = directory / shard.file
        if not path.is_file():
            raise UserError(f"shard {shard.file} of the {name} split is missing: run the split step again")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != shard.sha256:
            raise UserError(f"shard {shard.file} of the {name} split is damaged: run the split step again")


def _open_split(splits: Splits, directory: Path, name: str) -> SplitImages:
    _require_whole(splits, directory, name)
    split = splits.splits[name]
    return SplitImages(
        shards=splits.shard_paths(directory, name),
        shard_images=[shard.images for shard in split.shards],
        image_size_px=splits.image_size_px,
        images_per_class=[split.images_per_class.get(class_name, 0) for class_name in splits.class_names],
    )


def _require_size(source: SplitImages) -> None:
    """Check that the first image is of the size that all of them are said to have.

    Without an operation of TensorFlow, whose devices are not set up yet.
    """
    shard = next(path for path, images in zip(source.shards, source.shard_images, strict=True) if images)
    with shard.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        record = file.read(4 + length)[4:]  # after the checksum of the length
    image = tf.train.Example.FromString(record).features.feature["image"].bytes_list.value[0]
    with Image.open(io.BytesIO(image)) as opened:
        width, height = opened.size
    if (width, height) != (source.image_size_px, source.image_size_px):
        raise UserError(
            f"splits.json says that images are {source.image_size_px} px, and {shard.name} begins with one of {width} "
            f"x {height} px: run the split step again"
        )


def stored_batches(source: SplitImages, batching: Batching, kept: Kept | None = None) -> tf.data.Dataset:
    """Return the images as they are, in stored order: uint8 ``[batch, size, size, 3]`` and int64 labels ``[batch]``.

    Args:
        source: The images.
        batching: How they are batched.
        kept: Sees each image once it is decoded.
    """
    records = _records(source, np.arange(len(source.shards)))
    examples = mapped(records, lambda number, record: _decode(number, record, source.image_size_px, kept))
    return in_batches(examples, source.images, batching)


def view_batches(
    source: SplitImages,
    batching: Batching,
    strength: float,
    seed: int,
    view: int,
    first: int = 0,
    count: int | None = None,
) -> tf.data.Dataset:
    """Return one augmented view of images in stored order: float32 images and int64 labels.

    Args:
        source: The images.
        batching: How they are batched.
        strength: Of augmentation, [0, 1].
        seed: Of the run.
        view: Number of the view.
        first: Place of the first image wanted; those before are read and not decoded.
        count: How many are wanted from there; None for all.
    """
    wanted = source.images - first if count is None else count
    records = _records(source, np.arange(len(source.shards))).skip(first).take(wanted)
    return _augmented(records, source, wanted, batching, strength, seed, view)


def epoch_batches(
    source: SplitImages, batching: Batching, strength: float, seed: int, epoch: int, kept: Kept | None = None
) -> tf.data.Dataset:
    """Return one epoch of training: every image once, shuffled and augmented anew.

    The order depends on seed and epoch alone. Up to 16,384 images the shuffle is complete; above, shards are shuffled
    and then images within a window of that size.

    Args:
        source: The training images.
        batching: How they are batched.
        strength: Of augmentation, [0, 1].
        seed: Of the run.
        epoch: From 0.
        kept: Sees each image once it is decoded, before it is augmented.
    """
    shuffled = _shuffled(_records(source, _shard_order(source, seed, epoch)), source, seed, epoch)
    return _augmented(shuffled, source, source.images, batching, strength, seed, epoch, kept)


def epoch_order(source: SplitImages, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of an epoch in the order of ``epoch_batches``: places in stored order, and numbers.

    So what was computed for each image once can be trained on in the very order of training from pixels, and an image
    be augmented as there. Both are int64 ``[images]``.
    """
    stored = stored_order(source)
    places = np.empty_like(stored)
    places[stored] = np.arange(source.images)
    numbers = _shuffled(_numbers(source, _shard_order(source, seed, epoch)), source, seed, epoch)
    collected = _collected(numbers, source)
    return places[collected], collected


def stored_order(source: SplitImages) -> np.ndarray:
    """Return the numbers of the images in stored order, int64 ``[images]``."""
    return _collected(_numbers(source, np.arange(len(source.shards))), source)


def read_labels(source: SplitImages) -> np.ndarray:
    """Return the labels of all images in stored order, int64 ``[images]``, without decoding an image.

    Raises:
        UserError: When the shards hold another number of images than ``splits.json`` says.
    """
    records = _records(source, np.arange(len(source.shards)))
    labels = mapped(records, lambda _, record: parse_example(record)["label"])
    values = np.fromiter(labels.as_numpy_iterator(), np.int64)
    if len(values) != source.images:
        raise UserError(
            f"splits.json speaks of {source.images} images and the shards hold {len(values)}: run the split step again"
        )
    return values


def sample_images(source: SplitImages, count: int) -> dict[int, tuple[np.ndarray, int]]:
    """Return a few images, uint8 ``[size, size, 3]``, and labels, by number in stored order, class by class.

    There is one of each class as far as ``count`` goes, largest classes first, and then more of the largest; within a
    class they come from all over the split.
    """
    wanted = _places_within_classes(source.images_per_class, count)
    records = _records(source, np.arange(len(source.shards)))
    labelled = mapped(records, lambda index, record: (index, parse_example(record)["label"], record))
    seen, samples = [0] * len(wanted), []
    for index, label, record in labelled.as_numpy_iterator():
        if seen[label] in wanted[label]:
            pixels, _ = _decode(index, tf.constant(record), source.image_size_px)
            samples.append((int(label), int(index), np.asarray(pixels)))
        seen[label] += 1
    return {index: (pixels, label) for label, index, pixels in sorted(samples, key=lambda sample: sample[:2])}


def _places_within_classes(images_per_class: Sequence[int], count: int) -> list[set[int]]:
    """Return which of a class's images to show, by label, counted within the class."""
    shares = [0] * len(images_per_class)
    for _ in range(min(count, sum(images_per_class))):
        left = [label for label, images in enumerate(images_per_class) if shares[label] < images]
        shares[max(left, key=lambda label: (shares[label] == 0, images_per_class[label] / (shares[label] + 1)))] += 1
    return [
        # The middles of as many parts as there are images to show.
        {int((part + 0.5) * images / share) for part in range(share)}
        for images, share in zip(images_per_class, shares, strict=True)
    ]


def mapped(examples: tf.data.Dataset, work: Callable[..., Any]) -> tf.data.Dataset:
    """Return what work makes of examples, in their order, several at a time.

    Work has no loop or branch for AutoGraph to see, whose translation takes longer than building the graph, and leaves
    a file behind for each where the process is killed.
    """
    return examples.map(tf.autograph.experimental.do_not_convert(work), num_parallel_calls=processors())


def in_batches(examples: tf.data.Dataset, count: int, batching: Batching) -> tf.data.Dataset:
    """Return batches made ahead of their use.

    How many come is made known, because where Keras does not know it tries one step too many at the end of an epoch,
    which advances the random state of dropout or does not, as threads have it.

    Args:
        examples: Single examples, the same ones whenever they are read again, each a tuple that ends with its label.
        count: How many they are.
        batching: How they are batched.
    """
    # TensorFlow makes room for a whole batch before it looks for the first example.
    size = min(batching.size, max(1, math.ceil(count / batching.devices)) * batching.devices)
    missing = -count % size if batching.devices > 1 else 0
    if missing:
        examples = examples.concatenate(mapped(examples.repeat().take(missing), _as_filler))
    batches = examples.batch(size)
    known = batches.apply(tf.data.experimental.assert_cardinality(math.ceil(count / size)))
    options = tf.data.Options()
    # One machine reads all files; sharding them among its devices would undo the known count.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # As fast as what TensorFlow tunes by itself, and the end of an epoch never waits for its tuner to wake up, which
    # takes seconds now and then.
    options.autotune.enabled = False
    return known.prefetch(_BATCHES_AHEAD).with_options(options)


def _as_filler(*example: Any) -> tuple[Any, ...]:
    *inputs, label = example
    return *inputs, tf.fill(tf.shape(label), tf.constant(FILLER, label.dtype))


def print_counts(splits: Splits) -> None:
    """Print how many images each class has in each split."""
    for name, split in splits.splits.items():
        counts = ", ".join(
            f"{class_name} {split.images_per_class.get(class_name, 0)}" for class_name in splits.class_names
        )
        print(f"{name}: {split.images} images ({counts})", flush=True)


def _records(source: SplitImages, order: np.ndarray) -> tf.data.Dataset:
    """Return each image's number and record, the shards in the given order; an image's number does not depend on it."""
    paths = np.array([str(path) for path in source.shards])
    return _interleaved(
        tf.data.Dataset.from_tensor_slices((paths[order], _starts(source)[order])),
        lambda path, start: tf.data.TFRecordDataset(path, buffer_size=_READ_BUFFER_BYTES).enumerate(start),
    )


def _numbers(source: SplitImages, order: np.ndarray) -> tf.data.Dataset:
    """Return the numbers that ``_records`` gives, without reading a shard."""
    counts = np.array(source.shard_images, np.int64)
    return _interleaved(
        tf.data.Dataset.from_tensor_slices((_starts(source)[order], counts[order])),
        lambda start, count: tf.data.Dataset.range(start, start + count),
    )


def _interleaved(shards: tf.data.Dataset, read: Callable[..., tf.data.Dataset]) -> tf.data.Dataset:
    return shards.interleave(
        tf.autograph.experimental.do_not_convert(read),
        cycle_length=_INTERLEAVED_SHARDS,
        num_parallel_calls=processors(),
        deterministic=True,
    )


def _starts(source: SplitImages) -> np.ndarray:
    """Return the number of each shard's first image."""
    return np.concatenate([[0], np.cumsum(source.shard_images)])[:-1].astype(np.int64)


def _shard_order(source: SplitImages, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(len(source.shards))


def _shuffled(records: tf.data.Dataset, source: SplitImages, seed: int, epoch: int) -> tf.data.Dataset:
    window = min(source.images, _SHUFFLE_BUFFER_IMAGES)
    return records.shuffle(window, seed=_shuffle_seed(seed, epoch), reshuffle_each_iteration=False)


def _collected(numbers: tf.data.Dataset, source: SplitImages) -> np.ndarray:
    """Return the numbers as an array, in one go."""
    return np.asarray(next(iter(numbers.batch(source.images))), np.int64)


def _augmented(
    records: tf.data.Dataset,
    source: SplitImages,
    count: int,
    batching: Batching,
    strength: float,
    seed: int,
    view: int,
    kept: Kept | None = None,
) -> tf.data.Dataset:
    def example(number: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = _decode(number, record, source.image_size_px, kept)
        return augment(image, strength, seed, number, view), label

    return in_batches(mapped(records, example), count, batching)


def _decode(
    number: tf.Tensor, record: tf.Tensor, image_size_px: int, kept: Kept | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    example = parse_example(record)
    image = tf.ensure_shape(decode_jpeg(example["image"]), [image_size_px, image_size_px, 3])
    return kept(number, image, example["label"]) if kept else image, example["label"]


def _shuffle_seed(seed: int, epoch: int) -> int:
    return int(np.random.default_rng([seed, epoch, 1]).integers(2**31))
