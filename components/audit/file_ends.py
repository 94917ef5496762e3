"""Whether a file that cannot be decoded ends before its image does: cut short, rather than damaged inside."""

import io
from typing import Literal

from PIL import Image

_STRIP_OFFSETS, _STRIP_BYTES = 273, 279  # TIFF 6.0, section 8
_TILE_OFFSETS, _TILE_BYTES = 324, 325  # TIFF 6.0, section 15


def ends_early(data: bytes, image_format: str) -> bool:
    """Return whether the end that the format demands is missing from a file that was found undecodable.

    Args:
        data: The file; zero bytes after its end, as block devices leave them, are allowed.
        image_format: JPEG, PNG, GIF, BMP, WEBP or TIFF.
    """
    if image_format == "JPEG":
        return not data.rstrip(b"\0").endswith(b"\xff\xd9")  # end of image (ITU T.81, B.1.1.3)
    if image_format == "PNG":
        return b"IEND" not in data[-4096:]
    if image_format == "GIF":
        return not data.rstrip(b"\0").endswith(b";")  # trailer (GIF89a, 27)
    if image_format == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    if image_format == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return _tiff_ends_early(data)


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
