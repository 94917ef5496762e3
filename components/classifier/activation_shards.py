"""One file of a cache of activations: arrays of some images, each compressed by itself, so that any can be read alone.

The file::

    magic       8 bytes
    chunks      zstd and its CRC32C, image after image, of each image array after array
    places      little-endian int64: where each chunk begins, and where the last one ends
    digest      SHA-256 of all before

It is written under another name and renamed when it is whole. The digest finds what a disk or a copy has damaged before
training begins, the checksum of each chunk what happens meanwhile.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa

from components.publishing import published_file

_MAGIC = b"ACTIVAT2"
_DIGEST_BYTES = 32
_CHECKSUM_BYTES = 4
_PLACE = np.dtype("<i8")
_LEVEL = 1  # higher ones save a hundredth more


class DamagedShardError(Exception):
    """A shard that was whole is damaged or gone."""


def compressed(array: np.ndarray) -> bytes:
    """Return the bytes of an array, compressed, and their checksum."""
    data: bytes = pa.Codec("zstd", compression_level=_LEVEL).compress(array.tobytes(), asbytes=True)
    return data + _checksum(data)


@contextlib.contextmanager
def written_shard(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that appends a compressed array to a file, which is published when the block succeeds.

    Args:
        path: Where. Arrays are to come image after image, of each image in order.

    Raises:
        OSError: When the disk is full; nothing is published then.
    """
    places, digest = [len(_MAGIC)], hashlib.sha256()
    with published_file(path) as aside, aside.open("wb") as file:

        def put(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        def append(chunk: bytes) -> None:
            put(chunk)
            places.append(places[-1] + len(chunk))

        put(_MAGIC)
        yield append
        put(np.array(places, _PLACE).tobytes())
        file.write(digest.digest())
        file.flush()
        os.fsync(file.fileno())  # a machine that stops must not leave the name without the bytes


def shard_places(path: Path, chunks: int) -> np.ndarray | None:
    """Read a whole file and return where its chunks are, int64 ``[chunks + 1]``.

    None when it is missing or damaged, or cannot be read, as a folder cannot: what is to be in it is computed again.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
            digest, remaining = hashlib.sha256(_MAGIC), size - _DIGEST_BYTES - len(_MAGIC)
            while remaining > 0 and (data := file.read(min(remaining, 1 << 20))):
                digest.update(data)
                remaining -= len(data)
            if remaining or file.read() != digest.digest():
                return None
            file.seek(size - _DIGEST_BYTES - (chunks + 1) * _PLACE.itemsize)
            return np.frombuffer(file.read((chunks + 1) * _PLACE.itemsize), _PLACE)
    except OSError:
        return None


def read_arrays(
    path: Path, places: np.ndarray, chunks: Sequence[int], shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    """Return some arrays of a file, all of one kind, ``[chunks, *shape]``.

    Args:
        path: Of the file.
        places: Where its chunks are.
        chunks: Numbers of the chunks wanted.
        shape: Of each array.
        dtype: Likewise.

    Raises:
        DamagedShardError: When the file is gone or cannot be read, or is no longer what ``shard_places`` has found.
    """
    arrays = np.empty((len(chunks), *shape), dtype)
    codec = pa.Codec("zstd")
    try:
        with path.open("rb", buffering=0) as file:
            for array, chunk in zip(arrays, chunks, strict=True):
                begin, end = int(places[chunk]), int(places[chunk + 1])
                stored = os.pread(file.fileno(), end - begin, begin)
                data, checksum = stored[:-_CHECKSUM_BYTES], stored[-_CHECKSUM_BYTES:]
                if checksum != _checksum(data):
                    raise DamagedShardError(f"{path} is damaged")
                raw = codec.decompress(data, decompressed_size=array.nbytes)
                array[...] = np.frombuffer(raw, dtype).reshape(shape)
    except OSError as error:
        raise DamagedShardError(f"{path} cannot be read ({error.strerror})") from error
    return arrays


def _checksum(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(_CHECKSUM_BYTES, "little")
