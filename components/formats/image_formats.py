"""The image formats that are read, by Pillow's names for them."""

import functools
import importlib
import importlib.util
from collections.abc import Mapping

from PIL import AvifImagePlugin

EXTENSIONS: Mapping[str, str] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".avifs": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
"""Format by lower-case extension; of each format, its usual extension comes first."""

_ALWAYS_READ = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")


@functools.cache
def read_formats() -> tuple[str, ...]:
    """Return the formats that are read here: AVIF if the installed Pillow has it, HEIF if pillow-heif is installed."""
    formats = list(_ALWAYS_READ)
    if AvifImagePlugin.SUPPORTED:
        # Whoever decodes many images does so in threads of its own.
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        formats.append("AVIF")
    if importlib.util.find_spec("pillow_heif"):
        pillow_heif = importlib.import_module("pillow_heif")
        pillow_heif.options.DECODE_THREADS = 1
        pillow_heif.register_heif_opener()
        formats.append("HEIF")
    return tuple(formats)
