"""A record is byte by byte what TensorFlow writes, and comes back as it was written, through a file."""

from pathlib import Path

import pytest
import tensorflow as tf

from components.formats.tfrecords import framed, parse_example, serialize_example

RECORD = serialize_example(b"\xff\xd8\x00 not decoded", 3, "löwe", "löwe/狐 1.jpg", "0" * 32)


def by_tensorflow(image: bytes, label: int, class_name: str, path: str, md5: str) -> bytes:
    def of_bytes(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        "image": of_bytes(image),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "class_name": of_bytes(class_name.encode()),
        "path": of_bytes(path.encode()),
        "md5": of_bytes(md5.encode()),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


@pytest.mark.parametrize("label", [0, 1, 127, 128, 300, 16_384, 2**40])
@pytest.mark.parametrize("image_bytes", [0, 1, 100, 128, 20_000, 2_100_000])
def test_an_example_is_what_tensorflow_writes(label: int, image_bytes: int) -> None:
    image = bytes(range(256)) * (image_bytes // 256) + bytes(image_bytes % 256)
    values = (image, label, "löwe" * (label % 50), "löwe/狐 1.jpg", "0" * 32)
    assert serialize_example(*values) == by_tensorflow(*values)


def test_a_file_of_frames_is_what_tensorflow_writes(tmp_path: Path) -> None:
    records = [b"", b"\x00", RECORD, bytes(range(256)) * 500]
    with tf.io.TFRecordWriter(str(tmp_path / "its.tfrecord")) as writer:
        for record in records:
            writer.write(record)
    ours = b"".join(map(framed, records))
    assert ours == (tmp_path / "its.tfrecord").read_bytes()


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "one.tfrecord"
    path.write_bytes(framed(RECORD))
    (parsed,) = tf.data.TFRecordDataset(str(path)).map(parse_example)
    assert {name: value.numpy() for name, value in parsed.items()} == {
        "image": b"\xff\xd8\x00 not decoded",
        "label": 3,
        "class_name": "löwe".encode(),
        "path": "löwe/狐 1.jpg".encode(),
        "md5": b"0" * 32,
    }


@pytest.mark.parametrize("position", [3, 9, 40, -1], ids=["length", "its checksum", "record", "checksum"])
def test_whoever_reads_notices_a_changed_byte(tmp_path: Path, position: int) -> None:
    damaged = bytearray(framed(RECORD))
    damaged[position] ^= 1
    path = tmp_path / "one.tfrecord"
    path.write_bytes(bytes(damaged))
    with pytest.raises(tf.errors.DataLossError, match="corrupted record"):
        list(tf.data.TFRecordDataset(str(path)))


def test_every_feature_is_a_scalar_of_its_type() -> None:
    parsed = parse_example(tf.constant(RECORD))
    assert set(parsed) == {"image", "label", "class_name", "path", "md5"}
    assert all(value.shape.rank == 0 for value in parsed.values())
    assert {name for name, value in parsed.items() if value.dtype == tf.int64} == {"label"}


def test_a_record_that_lacks_a_feature_is_refused() -> None:
    label = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    incomplete = tf.train.Example(features=tf.train.Features(feature={"label": label})).SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError, match="Feature: class_name"):
        parse_example(tf.constant(incomplete))
