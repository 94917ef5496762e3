"""Decoded images give bit for bit the batches of encoded ones, and are kept where they fit."""

import dataclasses
import gc
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.classifier.decoded_images import DecodedImages, EncodedImages, decoded_bytes, open_pictures
from components.classifier.input_pipeline import Batching, SplitImages, open_splits
from components.classifier.training_mode import ModeSettings
from tests.classifier.small_splits import drawn_shapes, write_small_splits

MODE = ModeSettings("streaming", 1, "float16", 1.0, "")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> SplitImages:
    directory = tmp_path_factory.mktemp("stored") / "splits"
    write_small_splits(directory, drawn_shapes({"train": 7, "validation": 3, "test": 1}, seed=2), 32, shards=3)
    return open_splits(directory)[1]


def content(batches: tf.data.Dataset) -> Iterator[tuple[bytes, bytes]]:
    for images, labels in batches.as_numpy_iterator():
        yield f"{images.dtype}{images.shape}".encode() + images.tobytes(), labels.tobytes()


STRENGTHS = (0.0, 0.7, 0.0, 0.7)
"""Of some epochs, one after the other."""


def epochs_of(pictures: DecodedImages | EncodedImages, batching: Batching) -> list[list[tuple[bytes, bytes]]]:
    return [
        list(content(pictures.epoch_batches(batching, strength, 5, epoch))) for epoch, strength in enumerate(STRENGTHS)
    ]


@pytest.mark.parametrize("batching", [Batching(4, 1), Batching(4, 2)], ids=["one device", "two devices"])
def test_batches_are_those_of_encoded_images(training: SplitImages, batching: Batching, tmp_path: Path) -> None:
    encoded, decoded = EncodedImages(training), DecodedImages("fine_tune", training, tmp_path)
    assert list(content(decoded.stored_batches(batching))) == list(content(encoded.stored_batches(batching)))
    seen = epochs_of(DecodedImages("fine_tune", training, tmp_path), batching)
    assert seen == epochs_of(encoded, batching)
    assert seen[0] != seen[2], "each epoch has an order of its own"


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_the_first_epoch_decodes_each_image_and_no_other_does(
    training: SplitImages, strength: float, tmp_path: Path
) -> None:
    expected = [
        list(content(EncodedImages(training).epoch_batches(Batching(4, 1), strength, 5, epoch))) for epoch in (0, 1)
    ]
    copy = tmp_path / "splits"
    shutil.copytree(training.shards[0].parent, copy)
    source = open_splits(copy)[1]
    decoded = DecodedImages("fine_tune", source, tmp_path)
    first = list(content(decoded.epoch_batches(Batching(4, 1), strength, 5, 0)))
    for shard in source.shards:
        shard.unlink()
    assert [first, list(content(decoded.epoch_batches(Batching(4, 1), strength, 5, 1)))] == expected


def test_an_epoch_that_is_left_early_is_no_reason_to_miss_images(training: SplitImages, tmp_path: Path) -> None:
    """As when the process is told to stop, or an epoch goes on in its midst."""
    decoded = DecodedImages("fine_tune", training, tmp_path)
    list(content(decoded.epoch_batches(Batching(4, 1), 0.0, 5, 0).take(2)))
    assert epochs_of(decoded, Batching(4, 1)) == epochs_of(EncodedImages(training), Batching(4, 1))
    resumed = DecodedImages("fine_tune", training, tmp_path)
    list(content(resumed.epoch_batches(Batching(4, 1), 0.0, 5, 0).skip(4)))
    assert resumed._complete


def test_nothing_is_left_on_the_disk(training: SplitImages, tmp_path: Path) -> None:
    decoded = DecodedImages("fine_tune", training, tmp_path / "caches")
    assert list((tmp_path / "caches").iterdir()) == []
    del decoded
    gc.collect()


@pytest.mark.parametrize(
    ("mode", "epochs", "reason"),
    [
        (MODE, 1, "there is one epoch"),
        (dataclasses.replace(MODE, cache_limit_gb=1e-6), 5, "they would take 64.5 kB and cache_limit_gb is 1e-06"),
    ],
)
def test_images_stay_encoded_where_that_is_better(
    training: SplitImages, mode: ModeSettings, epochs: int, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert decoded_bytes(training) == 21 * 32 * 32 * 3
    (pictures,) = open_pictures("train_frozen", [training], mode, epochs, tmp_path)
    assert isinstance(pictures, EncodedImages)
    assert capsys.readouterr().out == f"train_frozen: images are decoded in every epoch: {reason}\n"


def test_images_are_decoded_where_they_fit(
    training: SplitImages, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (pictures,) = open_pictures("fine_tune", [training], MODE, 2, tmp_path)
    assert isinstance(pictures, DecodedImages)
    assert "fine_tune: images are decoded once, to 64.5 kB in " in capsys.readouterr().out


def test_what_is_cut_off_is_no_batch(training: SplitImages, tmp_path: Path) -> None:
    decoded = DecodedImages("fine_tune", training, tmp_path)
    batches = decoded.stored_batches(Batching(4, 1))
    decoded._file.truncate(1000)
    with pytest.raises(tf.errors.OpError, match="cut off"):
        list(batches)


@pytest.mark.parametrize("limit", [1, 30_000, 64_511])
def test_where_the_disk_takes_no_more_images_are_decoded_in_every_epoch(
    training: SplitImages, limit: int, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Of the 64,512 bytes of all images the system takes as many as it may, and then none."""
    encoded = EncodedImages(training)
    expected = [list(content(encoded.stored_batches(Batching(4, 1)))), *epochs_of(encoded, Batching(4, 1))]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # Python ignores the signal of it
    try:
        decoded = DecodedImages("fine_tune", training, tmp_path)
        epochs = epochs_of(decoded, Batching(4, 1))
        stored = DecodedImages("fine_tune", training, tmp_path)
        seen = [list(content(stored.stored_batches(Batching(4, 1)))), *epochs]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert seen == expected
    said = "fine_tune: images are decoded in every epoch from now on: File too large\n"
    assert capsys.readouterr().out == said * 2, "once each"


def test_a_write_that_takes_less_than_all_is_gone_on_with(
    training: SplitImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, place: write(file, data[:1000], place))
    decoded = DecodedImages("fine_tune", training, tmp_path)
    expected = list(content(EncodedImages(training).stored_batches(Batching(4, 1))))
    assert list(content(decoded.stored_batches(Batching(4, 1)))) == expected


def test_labels_are_those_of_the_images(training: SplitImages, tmp_path: Path) -> None:
    batches = DecodedImages("fine_tune", training, tmp_path).epoch_batches(Batching(21, 1), 0.0, 1, 2)
    assert np.bincount(next(iter(batches.as_numpy_iterator()))[1]).tolist() == [7, 7, 7]
