"""Write records into TFRecord shards of about equal size, named when their number is known."""

import errno
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf

from components.formats.splits import Shard

# A TFRecord frames each record with its length and two checksums.
_FRAME_BYTES = 16


def write_shards(records: Iterable[bytes], directory: Path, split: str, shard_size_bytes: int) -> list[Shard]:
    """Write records in order; a shard is closed once it holds ``shard_size_bytes``.

    The records are taken one at a time, so memory does not grow with the data.

    Args:
        records: Serialized examples, at least one.
        directory: Where the shards go.
        split: First part of their names: ``train`` gives ``train-00000-of-00002.tfrecord``.
        shard_size_bytes: Least size of every shard but the last.

    Raises:
        OSError: When the disk is full.
    """
    written: list[tuple[Path, int]] = []
    waiting = iter(records)
    while (first := next(waiting, None)) is not None:
        path = directory / f"{split}-{len(written):05d}.partial"
        try:
            written.append((path, _write_shard(path, itertools.chain([first], waiting), shard_size_bytes)))
        except tf.errors.ResourceExhaustedError as error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    return [_named(path, images, split, index, len(written)) for index, (path, images) in enumerate(written)]


def _write_shard(path: Path, records: Iterator[bytes], shard_size_bytes: int) -> int:
    """Write records until the shard is full or none is left, and return how many it holds."""
    images = size_bytes = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
            images += 1
            size_bytes += len(record) + _FRAME_BYTES
            if size_bytes >= shard_size_bytes:
                break
    return images


def _named(partial: Path, images: int, split: str, index: int, shards: int) -> Shard:
    path = partial.rename(partial.with_name(f"{split}-{index:05d}-of-{shards:05d}.tfrecord"))
    with path.open("rb") as file:
        return Shard(file=path.name, images=images, sha256=hashlib.file_digest(file, "sha256").hexdigest())
