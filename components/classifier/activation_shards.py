"""One file of a cache of activations: arrays of some images, each compressed by itself, so that any can be read alone.

The file::

    magic       8 bytes
    label       cache, section and number as its folder and name give them: length, little-endian int64, and UTF-8
    chunks      zstd and its CRC32C, image after image, of each image array after array
    places      little-endian int64: where each chunk begins, and where the last one ends
    digest      SHA-256 of all before

It is written under another name and renamed when it is whole. The digest finds what a disk or a copy has damaged before
training begins, the checksum of each chunk what happens meanwhile, and the label a whole shard in another's place.
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

_MAGIC = b"ACTIVAT3"
_OLDER_MAGICS = (b"ACTIVAT1", b"ACTIVAT2")
_DIGEST_BYTES = 32
_CHECKSUM_BYTES = 4
_PLACE = np.dtype("<i8")
_LEVEL = 1  # higher ones save a hundredth more


class DamagedShardError(Exception):
    """A shard is damaged or gone, or another than it should be, in a sentence."""


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
    header, digest = _header(path), hashlib.sha256()
    places = [len(header)]
    with published_file(path) as aside, aside.open("wb") as file:

        def put(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        def append(chunk: bytes) -> None:
            put(chunk)
            places.append(places[-1] + len(chunk))

        put(header)
        yield append
        put(np.array(places, _PLACE).tobytes())
        file.write(digest.digest())
        file.flush()
        os.fsync(file.fileno())  # a machine that stops must not leave the name without the bytes


def shard_places(path: Path, chunks: int) -> np.ndarray:
    """Read a whole file and return where its chunks are, int64 ``[chunks + 1]``.

    Args:
        path: Of the file.
        chunks: How many it has to hold.

    Raises:
        DamagedShardError: When it is damaged, of an older form or another shard, or cannot be read, as a folder cannot:
            what is to be in it is computed again.
        FileNotFoundError: When there is none.
    """
    header = _header(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            magic = file.read(len(_MAGIC))
            if magic in _OLDER_MAGICS:
                raise DamagedShardError(f"{path} has the form of an earlier version")
            digest, remaining = hashlib.sha256(magic), size - _DIGEST_BYTES - len(magic)
            while remaining > 0 and (data := file.read(min(remaining, 1 << 20))):
                digest.update(data)
                remaining -= len(data)
            if magic != _MAGIC or remaining or file.read() != digest.digest():
                raise DamagedShardError(f"{path} is damaged")
            file.seek(0)
            if file.read(len(header)) != header:
                raise DamagedShardError(f"{path} is another shard, put in the place of this one")
            end = size - _DIGEST_BYTES - (chunks + 1) * _PLACE.itemsize
            file.seek(max(end, 0))
            places = np.frombuffer(file.read((chunks + 1) * _PLACE.itemsize), _PLACE) if end > 0 else np.zeros(1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedShardError(f"{path} cannot be read ({error.strerror})") from error
    if places[0] != len(header) or places[-1] != end or (np.diff(places) <= 0).any():
        raise DamagedShardError(f"{path} does not hold {chunks} arrays")
    return places


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


def _header(path: Path) -> bytes:
    label = f"{path.parent.name}/{path.name}".encode()
    return _MAGIC + np.array(len(label), _PLACE).tobytes() + label


def _checksum(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(_CHECKSUM_BYTES, "little")
