"""Shards hold the records in order, at about the size asked for, under names that say how many there are."""

import errno
import hashlib
from pathlib import Path

import pytest
import tensorflow as tf

from components.split.shards import write_shards


def records_in(path: Path) -> list[bytes]:
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


@pytest.mark.parametrize(
    ("shard_size_bytes", "images"),
    [
        pytest.param(10_000, [7], id="all in one"),
        pytest.param(300, [3, 3, 1], id="three"),
        pytest.param(1, [1] * 7, id="a record larger than a shard"),
        pytest.param(7 * 116, [7], id="exactly full"),
    ],
)
def test_records_are_written_in_order(tmp_path: Path, shard_size_bytes: int, images: list[int]) -> None:
    records = [bytes([index]) * 100 for index in range(7)]
    shards = write_shards(iter(records), tmp_path, "train", shard_size_bytes)
    assert [shard.images for shard in shards] == images
    assert [shard.file for shard in shards] == [
        f"train-{index:05d}-of-{len(images):05d}.tfrecord" for index in range(len(images))
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [shard.file for shard in shards]
    assert [record for shard in shards for record in records_in(tmp_path / shard.file)] == records
    for shard in shards:
        assert shard.sha256 == hashlib.sha256((tmp_path / shard.file).read_bytes()).hexdigest()


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "train-00000.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as raised:
        write_shards([bytes(100_000)] * 20, tmp_path, "train", 10**9)
    assert raised.value.errno == errno.ENOSPC
