"""Wherever TensorFlow decodes a JPEG here, its pixels are the very ones that Pillow decodes."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.classifier.export import decode_and_resize
from components.classifier.input_pipeline import Batching, open_splits, stored_batches
from components.evaluate.predictions import images_of
from components.formats.jpeg_decoding import decode_jpeg
from components.formats.splits import Splits
from components.formats.tfrecords import parse_example
from tests.classifier.small_splits import PHOTOS, sample_photos, write_small_splits

SIZE_PX = 96
KINDS = {
    "4:2:0": {"subsampling": 2},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True, "subsampling": 2},
    "poor": {"quality": 20},
}


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def as_jpeg(image: Image.Image, **parameters: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 90, **parameters})
    return buffer.getvalue()


def kinds_of(image: Image.Image) -> dict[str, bytes]:
    made = {name: as_jpeg(image, **parameters) for name, parameters in KINDS.items()}
    return made | {"gray": as_jpeg(image.convert("L"))}


def test_photos_as_they_are() -> None:
    files = sorted(PHOTOS.glob("*/*.jpg"))
    assert len(files) > 70
    for file in files:
        data = file.read_bytes()
        np.testing.assert_array_equal(decode_jpeg(data).numpy(), pillow(data), file.name)


@pytest.mark.parametrize("kind", [*KINDS, "gray"])
def test_each_kind_of_jpeg_is_decoded_and_served_exactly(kind: str) -> None:
    for name in ("koala", "jaguar"):
        square = Image.open(PHOTOS / "mammal" / f"{name}.jpg").convert("RGB").resize((SIZE_PX, SIZE_PX))
        data = kinds_of(square)[kind]
        np.testing.assert_array_equal(decode_jpeg(data).numpy(), pillow(data))
        np.testing.assert_array_equal(decode_and_resize(tf.constant(data), SIZE_PX, "stretch").numpy(), pillow(data))
        odd = kinds_of(square.crop((0, 0, 95, 61)))[kind]
        np.testing.assert_array_equal(decode_jpeg(odd).numpy(), pillow(odd))


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Splits]:
    directory = tmp_path_factory.mktemp("stored") / "splits"
    return directory, write_small_splits(directory, sample_photos(3), SIZE_PX)


def stored_pixels(directory: Path, splits: Splits, split: str) -> np.ndarray:
    records = tf.data.TFRecordDataset([str(path) for path in splits.shard_paths(directory, split)])
    return np.stack([pillow(parse_example(record)["image"].numpy()) for record in records])


def test_training_sees_the_stored_pixels(splits: tuple[Path, Splits]) -> None:
    directory, contents = splits
    validation = open_splits(directory)[2]
    seen = np.concatenate([images for images, _ in stored_batches(validation, Batching(8, 1)).as_numpy_iterator()])
    np.testing.assert_array_equal(seen, stored_pixels(directory, contents, "validation"))


def test_the_evaluation_sees_the_stored_pixels(splits: tuple[Path, Splits]) -> None:
    directory, contents = splits
    seen = np.stack([example["image"].numpy() for example in images_of(contents, directory, "test")])
    np.testing.assert_array_equal(seen, stored_pixels(directory, contents, "test"))
