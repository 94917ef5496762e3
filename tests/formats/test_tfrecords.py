"""A record comes back as it was written, through a file."""

from pathlib import Path

import pytest
import tensorflow as tf

from components.formats.tfrecords import FEATURES, parse_example, serialize_example

RECORD = serialize_example(b"\xff\xd8\x00 not decoded", 3, "löwe", "löwe/狐 1.jpg", "0" * 32)


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = str(tmp_path / "one.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(RECORD)
    (parsed,) = tf.data.TFRecordDataset(path).map(parse_example)
    assert {name: value.numpy() for name, value in parsed.items()} == {
        "image": b"\xff\xd8\x00 not decoded",
        "label": 3,
        "class_name": "löwe".encode(),
        "path": "löwe/狐 1.jpg".encode(),
        "md5": b"0" * 32,
    }


def test_every_feature_is_a_scalar_of_its_type() -> None:
    parsed = parse_example(tf.constant(RECORD))
    assert set(parsed) == set(FEATURES)
    assert all(value.shape.rank == 0 for value in parsed.values())
    assert {name for name, value in parsed.items() if value.dtype == tf.int64} == {"label"}


def test_the_same_image_gives_the_same_bytes() -> None:
    assert serialize_example(b"\xff\xd8\x00 not decoded", 3, "löwe", "löwe/狐 1.jpg", "0" * 32) == RECORD


def test_a_record_that_lacks_a_feature_is_refused() -> None:
    label = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    incomplete = tf.train.Example(features=tf.train.Features(feature={"label": label})).SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match="Feature: class_name"):
        parse_example(tf.constant(incomplete))
