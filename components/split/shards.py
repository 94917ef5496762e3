"""Write records into TFRecord shards of about equal size, named when their number is known."""

import hashlib
from collections.abc import Iterable
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
    """
    written: list[tuple[Path, int]] = []
    writer: tf.io.TFRecordWriter | None = None
    images = size_bytes = 0
    for record in records:
        if writer is None:
            path = directory / f"{split}-{len(written):05d}.partial"
            writer, images, size_bytes = tf.io.TFRecordWriter(str(path)), 0, 0
        writer.write(record)
        images += 1
        size_bytes += len(record) + _FRAME_BYTES
        if size_bytes >= shard_size_bytes:
            writer.close()
            writer = None
            written.append((path, images))
    if writer is not None:
        writer.close()
        written.append((path, images))
    return [_named(path, images, split, index, len(written)) for index, (path, images) in enumerate(written)]


def _named(partial: Path, images: int, split: str, index: int, shards: int) -> Shard:
    path = partial.rename(partial.with_name(f"{split}-{index:05d}-of-{shards:05d}.tfrecord"))
    with path.open("rb") as file:
        return Shard(file=path.name, images=images, sha256=hashlib.file_digest(file, "sha256").hexdigest())
