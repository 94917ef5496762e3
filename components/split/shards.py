"""Write records into TFRecord shards of about equal size, named when their number is known."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.formats.splits import Shard
from components.formats.tfrecords import framed


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
    written: list[tuple[Path, int, str]] = []
    waiting = iter(records)
    while (first := next(waiting, None)) is not None:
        path = directory / f"{split}-{len(written):05d}.partial"
        written.append((path, *_write_shard(path, itertools.chain([first], waiting), shard_size_bytes)))
    shards = []
    for index, (partial, images, sha256) in enumerate(written):
        path = partial.rename(directory / f"{split}-{index:05d}-of-{len(written):05d}.tfrecord")
        shards.append(Shard(file=path.name, images=images, sha256=sha256))
    return shards


def _write_shard(path: Path, records: Iterator[bytes], shard_size_bytes: int) -> tuple[int, str]:
    """Write records until the shard is full or none is left, and return how many it holds and its SHA-256."""
    images = size_bytes = 0
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for record in records:
            frame = framed(record)
            file.write(frame)
            digest.update(frame)
            images += 1
            size_bytes += len(frame)
            if size_bytes >= shard_size_bytes:
                break
    return images, digest.hexdigest()
