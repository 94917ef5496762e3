"""Images that the tests draw."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def photo(seed: int = 0, width: int = 96, height: int = 72, image_format: str = "JPEG", mode: str = "RGB") -> bytes:
    """Return coloured noise over a gradient: no two seeds alike, neither dark, bright, flat nor gray."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(30, 200, width)[None, :, None] * np.array([1.0, 0.7, 0.4])
    pixels = np.clip(ramp + generator.normal(0, 25, (height, width, 3)), 0, 255).astype(np.uint8)
    return encoded(Image.fromarray(pixels).convert(mode), image_format)


def flat(level: int, width: int = 96, height: int = 72) -> bytes:
    return encoded(Image.new("RGB", (width, height), (level, level, level)), "PNG")


def encoded(image: Image.Image, image_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


def declared_png(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and holds no pixels."""
    signature = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return signature + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
