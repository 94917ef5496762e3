"""Whether a file that cannot be decoded ends before its image does: cut short, rather than damaged inside."""

import io
from collections.abc import Callable, Mapping
from typing import Literal

from PIL import Image

from components.audit import iso_media

_STRIP_OFFSETS, _STRIP_BYTES = 273, 279  # TIFF 6.0, section 8
_TILE_OFFSETS, _TILE_BYTES = 324, 325  # TIFF 6.0, section 15


def ends_early(data: bytes, image_format: str) -> bool:
    """Return whether the end that the format demands is missing from a file that was found undecodable.

    Args:
        data: The file; zero bytes after its end, as block devices leave them, are allowed.
        image_format: One of ``read_formats``.
    """
    return _ENDS_EARLY[image_format](data)


def _tiff_ends_early(data: bytes) -> bool:
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    if int.from_bytes(data[4:8], order) + 2 > len(data):  # where the first directory is
        return True
    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            tags = getattr(image, "tag_v2", {})
            offsets = tags.get(_STRIP_OFFSETS) or tags.get(_TILE_OFFSETS) or ()
            sizes = tags.get(_STRIP_BYTES) or tags.get(_TILE_BYTES) or ()
            return any(offset + size > len(data) for offset, size in zip(offsets, sizes, strict=False))
    except Exception:
        # What a damaged directory leads Pillow to raise is no sign of a missing end.
        return False


_ENDS_EARLY: Mapping[str, Callable[[bytes], bool]] = {
    "JPEG": lambda data: not data.rstrip(b"\0").endswith(b"\xff\xd9"),  # end of image (ITU T.81, B.1.1.3)
    "PNG": lambda data: b"IEND" not in data[-4096:],
    "GIF": lambda data: not data.rstrip(b"\0").endswith(b";"),  # trailer (GIF89a, 27)
    "BMP": lambda data: len(data) < int.from_bytes(data[2:6], "little"),
    "WEBP": lambda data: len(data) < 8 + int.from_bytes(data[4:8], "little"),
    "TIFF": _tiff_ends_early,
    "AVIF": iso_media.ends_early,
    "HEIF": iso_media.ends_early,
}
