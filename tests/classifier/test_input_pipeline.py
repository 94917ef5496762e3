"""Every image of a split arrives, in an order that seed and epoch decide; what is damaged is named."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from components.classifier.input_pipeline import (
    FILLER,
    Batching,
    SplitImages,
    epoch_batches,
    open_splits,
    read_labels,
    sample_images,
    stored_batches,
    view_batches,
)
from components.failures import UserError
from components.formats.splits import Splits, read_splits, write_splits
from tests.classifier.small_splits import SHAPES, drawn_shapes, write_small_splits

SIZE_PX = 32


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stored") / "splits"
    images = drawn_shapes({"train": 7, "validation": 3, "test": 1}, seed=2)
    write_small_splits(directory, images, SIZE_PX, shards=3)
    return directory


@pytest.fixture
def training(stored: Path) -> SplitImages:
    return open_splits(stored)[1]


def pixels_and_labels(batches: object) -> tuple[np.ndarray, np.ndarray, list[int]]:
    parts = list(batches.as_numpy_iterator())  # type: ignore[attr-defined]
    images = np.concatenate([part[0] for part in parts])
    return images, np.concatenate([part[1] for part in parts]), [len(part[1]) for part in parts]


def as_set(images: np.ndarray) -> set[bytes]:
    return {image.astype(np.float32).round(2).tobytes() for image in images}


@pytest.mark.parametrize("devices", [1, 2])
def test_a_batch_takes_no_more_room_than_the_images_that_there_are(training: SplitImages, devices: int) -> None:
    """TensorFlow would make room for 2**31 of them, for minutes in which nothing stops it."""
    images, _, sizes = pixels_and_labels(stored_batches(training, Batching(2**31, devices)))
    assert sizes == [21 + devices - 1]
    assert len(as_set(images)) == 21


def test_stored_batches_hold_every_image_and_the_tail(training: SplitImages) -> None:
    images, labels, sizes = pixels_and_labels(stored_batches(training, Batching(4, 1)))

    assert images.shape == (21, SIZE_PX, SIZE_PX, 3)
    assert images.dtype == np.uint8
    assert sizes == [4, 4, 4, 4, 4, 1]
    assert len(as_set(images)) == 21
    assert np.bincount(labels).tolist() == [7, 7, 7]
    assert read_labels(training).tolist() == labels.tolist()


def test_an_epoch_holds_every_image_once_in_an_order_of_its_own(training: SplitImages) -> None:
    plain, _, _ = pixels_and_labels(stored_batches(training, Batching(4, 1)))
    first, labels, sizes = pixels_and_labels(epoch_batches(training, Batching(4, 1), 0.0, seed=1, epoch=0))
    again, _, _ = pixels_and_labels(epoch_batches(training, Batching(8, 1), 0.0, seed=1, epoch=0))
    second, _, _ = pixels_and_labels(epoch_batches(training, Batching(4, 1), 0.0, seed=1, epoch=1))
    other, _, _ = pixels_and_labels(epoch_batches(training, Batching(4, 1), 0.0, seed=2, epoch=0))

    assert sizes == [4, 4, 4, 4, 4, 1]
    assert np.array_equal(first, again)
    assert as_set(first) == as_set(second) == as_set(other) == as_set(plain)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert labels[:7].tolist() != sorted(labels[:7].tolist())  # classes are mixed


def test_an_image_looks_the_same_in_an_epoch_and_in_the_view_of_that_number(training: SplitImages) -> None:
    """A cache of views holds the very images that training epoch by epoch would see."""
    view, _, _ = pixels_and_labels(view_batches(training, Batching(4, 1), 0.8, seed=1, view=2))
    epoch, _, _ = pixels_and_labels(epoch_batches(training, Batching(4, 1), 0.8, seed=1, epoch=2))

    assert as_set(view) == as_set(epoch)


def test_batches_shared_among_devices_are_all_full(training: SplitImages) -> None:
    plain, labels, _ = pixels_and_labels(stored_batches(training, Batching(4, 1)))
    images, filled_labels, sizes = pixels_and_labels(stored_batches(training, Batching(8, 4)))
    _, _, of_few = pixels_and_labels(stored_batches(training, Batching(64, 4)))

    assert sizes == [8, 8, 8]
    assert np.array_equal(images[:21], plain)
    assert filled_labels.tolist() == [*labels.tolist(), FILLER, FILLER, FILLER]
    assert of_few == [24]


def test_samples_are_of_each_class_under_their_own_numbers(training: SplitImages) -> None:
    plain, labels, _ = pixels_and_labels(stored_batches(training, Batching(4, 1)))
    numbers = [place % 3 * 7 + place // 3 for place in range(21)]  # three shards of 7, read by turns

    samples = sample_images(training, 4)

    assert [label for _, label in samples.values()] == [0, 0, 1, 2]
    for number, (image, label) in samples.items():
        place = numbers.index(number)
        assert np.array_equal(image, plain[place])
        assert label == labels[place]
    assert len(sample_images(training, 400)) == 21


def test_fewer_samples_than_classes_are_of_the_largest(tmp_path: Path) -> None:
    drawn = drawn_shapes({"train": 5, "validation": 1, "test": 1}, seed=2)
    drawn["train"] = {
        name: images[:count] for (name, images), count in zip(drawn["train"].items(), (2, 4, 5), strict=True)
    }
    write_small_splits(tmp_path / "splits", drawn, SIZE_PX)
    _, training, _ = open_splits(tmp_path / "splits")

    assert [label for _, label in sample_images(training, 2).values()] == [1, 2]
    assert [label for _, label in sample_images(training, 5).values()] == [0, 1, 1, 2, 2]


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    directory = tmp_path / "splits"
    write_small_splits(directory, drawn_shapes({"train": 2, "validation": 1, "test": 1}, seed=2), SIZE_PX)
    return directory


def test_a_folder_without_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no readable splits\.json"):
        open_splits(tmp_path)


def test_a_missing_shard_is_named(damaged: Path) -> None:
    (damaged / "train-00000-of-00001.tfrecord").unlink()
    with pytest.raises(UserError, match="shard train-00000-of-00001.tfrecord of the train split is missing"):
        open_splits(damaged)


def test_a_shard_with_one_wrong_bit_is_named(damaged: Path) -> None:
    shard = damaged / "validation-00000-of-00001.tfrecord"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match="shard validation-00000-of-00001.tfrecord of the validation split is damaged"):
        open_splits(damaged)


def change(directory: Path, splits: Splits, split: str, **values: object) -> None:
    changed = dataclasses.replace(splits.splits[split], **values)  # type: ignore[arg-type]
    write_splits(dataclasses.replace(splits, splits={**splits.splits, split: changed}), directory)


def test_a_class_without_training_images_is_named(damaged: Path) -> None:
    change(damaged, read_splits(damaged), "train", images_per_class={"circle": 2, "square": 4, "stripes": 0})
    with pytest.raises(UserError, match="class 'stripes' has no training images"):
        open_splits(damaged)


def test_an_empty_validation_split_is_refused(damaged: Path) -> None:
    change(damaged, read_splits(damaged), "validation", images=0, images_per_class={}, shards=[])
    with pytest.raises(UserError, match="validation split is empty"):
        open_splits(damaged)


def test_a_single_class_is_refused(damaged: Path) -> None:
    write_splits(dataclasses.replace(read_splits(damaged), class_names=[SHAPES[0]]), damaged)
    with pytest.raises(UserError, match="at least two"):
        open_splits(damaged)


def test_another_number_of_images_than_promised_is_refused(damaged: Path) -> None:
    training = open_splits(damaged)[1]
    with pytest.raises(UserError, match=r"speaks of 7 images and the shards hold 6"):
        read_labels(dataclasses.replace(training, shard_images=[7]))
