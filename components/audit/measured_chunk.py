"""The measurements of a chunk of images as compact arrays, and as bytes: on their way between processes and on disk."""

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from components.audit.measurements import Measurement
from components.copies.fingerprints import FINGERPRINT_BYTES, Fingerprints, fingerprints_from

ROW = np.dtype(
    [
        ("format", "S8"),
        ("mode", "S8"),
        ("width_px", "<i4"),
        ("height_px", "<i4"),
        ("brightness", "<f8"),
        ("contrast", "<f8"),
        ("luma_p5", "<f4"),
        ("luma_p95", "<f4"),
        ("blur", "<f4"),
        ("entropy", "<f4"),
        ("exif_rotated", "?"),
        ("animated", "?"),
        ("alpha", "?"),
        ("sixteen_bit", "?"),
        ("colour", "<f4"),
        ("pixels", "<u8"),
    ]
)
"""What is kept of an image in memory, 71 bytes; texts, which few images have, are apart."""

_TEXTS = ("error", "cause", "decoder_warning")
_HEADER = struct.Struct("<4sI16sIII")  # magic, number of the chunk, its key, bytes of texts, images, CRC-32 of it all
_MAGIC = b"MCH2"
KEY_BYTES = 16


@dataclass(frozen=True)
class MeasuredChunk:
    """What was measured of consecutive images of the catalog.

    Attributes:
        number: Of the chunk, from 0.
        key: Says what was measured and how, ``chunk_key``: equal keys, equal measurements.
        rows: ``ROW`` of each image.
        fingerprints: Of each image.
        texts: ``error``, ``cause`` and ``decoder_warning``, by position in the chunk, of images that have them.
    """

    number: int
    key: bytes
    rows: npt.NDArray[Any]
    fingerprints: Fingerprints
    texts: Mapping[int, Mapping[str, str]]

    @classmethod
    def of(cls, number: int, key: bytes, measured: list[Measurement], fingerprints: Fingerprints) -> Self:
        """Return a chunk of measurements."""
        names = ROW.names or ()
        rows = np.zeros(len(measured), ROW)
        texts: dict[int, dict[str, str]] = {}
        for position, one in enumerate(measured):
            values = one._asdict()
            rows[position] = tuple(_plain(values[name]) for name in names)
            if one.error or one.decoder_warning:
                texts[position] = {name: values[name] for name in _TEXTS if values[name]}
        return cls(number, key, rows, fingerprints, texts)

    def packed(self) -> bytes:
        """Return the chunk as bytes, with a checksum; the same chunk gives the same bytes."""
        texts = json.dumps({str(position): text for position, text in self.texts.items()}).encode()
        content = texts + self.rows.tobytes() + self.fingerprints.tobytes()
        head = _HEADER.pack(_MAGIC, self.number, self.key, len(texts), len(self.rows), 0)
        checksum = zlib.crc32(content, zlib.crc32(head))
        return _HEADER.pack(_MAGIC, self.number, self.key, len(texts), len(self.rows), checksum) + content


def unpacked(data: memoryview | bytes) -> tuple[MeasuredChunk, int] | None:
    """Return the chunk that ``data`` begins with and how many bytes it takes; ``None`` when it is not all there yet.

    Raises:
        ValueError: When the bytes are no chunk, or damaged.
    """
    if len(data) < _HEADER.size:
        return None
    magic, number, key, text_bytes, images, checksum = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("these bytes are no measured chunk")
    rows_start = _HEADER.size + text_bytes
    fingerprints_start = rows_start + images * ROW.itemsize
    end = fingerprints_start + images * FINGERPRINT_BYTES
    if len(data) < end:
        return None
    content = bytes(data[_HEADER.size : end])
    head = _HEADER.pack(magic, number, key, text_bytes, images, 0)
    if zlib.crc32(content, zlib.crc32(head)) != checksum:
        raise ValueError("a measured chunk is damaged")
    texts = {int(position): text for position, text in json.loads(content[:text_bytes]).items()}
    rows = np.frombuffer(content, ROW, images, text_bytes)
    fingerprints = fingerprints_from(memoryview(content)[fingerprints_start - _HEADER.size :], images)
    return MeasuredChunk(number, key, rows, fingerprints, texts), end


def chunk_key(identity: bytes, digests: Iterable[str]) -> bytes:
    """Return what tells measurements apart: how they are made, and the digests of the files they are made of."""
    key = hashlib.blake2b(identity, digest_size=KEY_BYTES)
    for digest in digests:
        key.update(f"{digest} ".encode())
    return key.digest()


def _plain(value: Any) -> Any:
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else value
