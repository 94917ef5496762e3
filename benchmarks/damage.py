"""Damage to the bytes of image files, and files that are no images at all."""

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from benchmarks.rendering import AVIF, saved

TRUNCATED: Mapping[str, int] = {".jpg": 24, ".png": 6, ".gif": 4, ".bmp": 3, ".webp": 4, ".tif": 3} | (
    {".avif": 3} if AVIF else {}
)
"""How many files of each format are cut short, in a data set of the usual size."""

CORRUPT: Mapping[str, int] = {".jpg": 20, ".png": 6}
"""How many get random bytes in the middle: only these formats let a decoder notice."""

RANDOM_BYTES = (200, 3000)
"""How many random bytes they get, the latter excluded."""

CORRUPT_IN_OTHER_WAYS = 48
"""How many more JPEG files are damaged, by each of ``CORRUPTIONS`` in turn, and in each of ``DAMAGED_BYTES``."""

DAMAGED_BYTES = ((16, 300), (300, 3001))
"""Little and much damage."""


def truncated(data: bytes, generator: np.random.Generator) -> tuple[bytes, str]:
    """Return the beginning of a file, at least its first third, and how much is missing."""
    if generator.random() < 0.25:
        missing = min(int(generator.integers(16, 400)), len(data) // 2)
        return data[:-missing], f"without its last {missing} bytes"
    share = generator.uniform(0.35, 0.97)
    return data[: int(len(data) * share)], f"cut after {share:.0%}"


CORRUPTIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "random bytes": lambda noise: noise,
    "zeros": lambda noise: bytes(len(noise)),
    "bytes missing": lambda noise: noise[:0],
}
"""What takes the place of as many bytes, by what it is called; made from random bytes."""


def corrupted(
    data: bytes, extension: str, kind: str, lengths: tuple[int, int], generator: np.random.Generator
) -> tuple[bytes, str]:
    """Damage a stretch in the middle of the compressed pixels, and say how.

    Args:
        data: The file.
        extension: One of ``CORRUPT``.
        kind: One of ``CORRUPTIONS``.
        lengths: Bytes to damage, at least and below.
        generator: Draws how much, where and what.
    """
    first = data.rindex(b"\xff\xda") + 16 if extension == ".jpg" else data.index(b"IDAT") + 16
    length = min(int(generator.integers(*lengths)), (len(data) - first) // 3)
    start = first + int(generator.uniform(0.1, 0.6) * (len(data) - first))
    noise = generator.integers(0, 256, length, dtype=np.uint8).tobytes()
    return data[:start] + CORRUPTIONS[kind](noise) + data[start + length :], f"{kind}: {length}"


def _random(generator: np.random.Generator) -> bytes:
    return b"\x07" + generator.integers(0, 256, 9000, dtype=np.uint8).tobytes()


NOT_IMAGES: Mapping[str, Callable[[np.random.Generator], bytes]] = {
    "text": lambda generator: f"Remember picture {generator.integers(1000)}.\n".encode() * 20,
    "a web page": lambda generator: b"<!DOCTYPE html><html><title>404</title>%d</html>" % generator.integers(10**6),
    "JSON": lambda generator: json.dumps({"error": int(generator.integers(10**6))}).encode(),
    "PDF": lambda generator: b"%%PDF-1.7\n%d\n" % generator.integers(10**6) * 40,
    "random bytes": _random,
    "zero bytes only": lambda generator: bytes(int(generator.integers(100, 9000))),
}
"""Makers of content that is no image, by what it is."""


def bombs() -> dict[str, bytes]:
    """Return small files that declare more pixels than any machine should decode, by extension."""
    of_avif = {".avif": _avif_that_declares(60_000, 60_000)} if AVIF else {}
    return of_avif | {
        ".png": png_that_declares(60_000, 60_000),
        ".jpg": _jpeg_that_declares(65_500, 65_500),
        ".bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 1078, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0)
        + bytes(1024),
        ".gif": b"GIF89a"
        + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0)
        + b"\x02\x02\x4c\x01\x00;",
    }


def png_that_declares(width: int, height: int) -> bytes:
    """Return a PNG with a single byte of image data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, chunk) for kind, chunk in content)


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _avif_that_declares(width: int, height: int) -> bytes:
    data = bytearray(saved(Image.new("RGB", (64, 64), (90, 120, 30)), "AVIF"))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, width, height)
    return bytes(data)


def _jpeg_that_declares(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 120, 30)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)
