"""Bring an image of any format, mode, size and orientation to the square RGB JPEG that training reads.

Each image is decoded once. A JPEG is reduced by 1/2, 1/4 or 1/8 inside its inverse DCT where that leaves at least 1.5
times the size needed, which saves most of the decoding and cannot be seen: 40 dB against the full decode at least, 47
at the median of the sample photos. What remains is an antialiased bilinear resize, the same as
``tf.image.resize(antialias=True)``, which the exported model applies to images it is sent.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from components.copies.perceptual_hashes import Pixels, luma_square
from components.formats.stored_pixels import SIDEWAYS, to_rgb, upright_turn

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")

JPEG_QUALITY = 95

# An image reduced while it is decoded stays at least this many times as large as it is shown.
_DRAFT_FACTOR = 1.5


class UndecodableImageError(Exception):
    """The bytes cannot be decoded to pixels. The message says why."""


@dataclass(frozen=True)
class Preparation:
    """How every image is prepared.

    Attributes:
        image_size_px: Height and width of the result.
        resize_policy: One of ``components.formats.splits.RESIZE_POLICIES``.
    """

    image_size_px: int
    resize_policy: str


@dataclass(frozen=True)
class PreparedImage:
    """What one decode gives.

    Attributes:
        jpeg: The square that training reads.
        luma_square: uint8 ``[64, 64]`` of the whole image, whatever the policy shows: see ``components.copies``.
    """

    jpeg: bytes
    luma_square: Pixels


def prepare_image(data: bytes, preparation: Preparation) -> PreparedImage:
    """Return an image as a square RGB JPEG without chroma subsampling: the same bytes for the same input.

    The EXIF orientation is applied, of an animation the first frame is taken, transparency is laid on white, and 16
    bits a channel are scaled to 8.

    Args:
        data: Bytes of a file in one of ``FORMATS``.
        preparation: Size and shape of the result.

    Raises:
        UndecodableImageError: When the bytes cannot be decoded.
    """
    rgb, stored_size, reduction = _decoded(data, preparation)
    encoded = io.BytesIO()
    _squared(rgb, stored_size, reduction, preparation).save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return PreparedImage(encoded.getvalue(), luma_square(np.asarray(rgb.convert("L"))))


def small_picture(data: bytes, side_px: int) -> bytes:
    """Return an image as a small JPEG in its own shape, to show it to a person.

    Args:
        data: Bytes of a file in one of ``FORMATS``.
        side_px: Of the longer side, at most.

    Raises:
        UndecodableImageError: When the bytes cannot be decoded.
    """
    rgb, _, _ = _decoded(data, Preparation(side_px, "pad"))
    rgb.thumbnail((side_px, side_px), Image.Resampling.BILINEAR)
    encoded = io.BytesIO()
    rgb.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def square_image(data: bytes, preparation: Preparation) -> Image.Image:
    """Return an image decoded, upright, RGB and ``image_size_px`` squared.

    Raises:
        UndecodableImageError: When the bytes cannot be decoded.
    """
    return _squared(*_decoded(data, preparation), preparation)


def _decoded(data: bytes, preparation: Preparation) -> tuple[Image.Image, tuple[int, int], int]:
    """Return an image upright and RGB, at no less than the size needed, its full size, and how much it is reduced."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            stored_size = image.size
            _, shown_size = _geometry(stored_size, preparation)
            image.draft(None, (math.ceil(shown_size[0] * _DRAFT_FACTOR), math.ceil(shown_size[1] * _DRAFT_FACTOR)))
            image.load()
            turn = upright_turn(image)
            rgb = to_rgb(image)
    except Exception as error:
        # Pillow's format plugins raise whatever a damaged file leads them to: OSError, SyntaxError, struct.error...
        raise UndecodableImageError(str(error) or type(error).__name__) from error
    reduction = round(max(stored_size) / max(rgb.size))
    if turn is not None:
        rgb = rgb.transpose(turn)
        if turn in SIDEWAYS:
            stored_size = stored_size[::-1]
    return rgb, stored_size, reduction


def _squared(image: Image.Image, size: tuple[int, int], reduction: int, preparation: Preparation) -> Image.Image:
    """Resize what the policy shows of an image onto a black square.

    Args:
        image: Decoded at ``1 / reduction``, rounded up to whole pixels.
        size: Width and height at full size: positions are computed there, so that reducing shifts nothing.
        reduction: 1, 2, 4 or 8.
        preparation: Size and shape of the result.
    """
    box, shown_size = _geometry(size, preparation)
    left, top, right, bottom = (edge / reduction for edge in box)
    # Cut off first what is not shown, or the resize would blend it into the border.
    outer = (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    inner = (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1])
    shown = image if outer == (0, 0, *image.size) else image.crop(outer)
    resized = shown.resize(shown_size, Image.Resampling.BILINEAR, inner)
    size_px = preparation.image_size_px
    if shown_size == (size_px, size_px):
        return resized
    square = Image.new("RGB", (size_px, size_px))
    square.paste(resized, ((size_px - shown_size[0]) // 2, (size_px - shown_size[1]) // 2))
    return square


def _geometry(size: tuple[int, int], preparation: Preparation) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Return which box of an image of this width and height is shown, and its width and height in the result."""
    (width, height), size_px = size, preparation.image_size_px
    if preparation.resize_policy == "crop":
        side = min(size)
        left, top = (width - side) // 2, (height - side) // 2
        return (left, top, left + side, top + side), (size_px, size_px)
    if preparation.resize_policy == "pad":
        shown = (max(1, round(width * size_px / max(size))), max(1, round(height * size_px / max(size))))
        return (0, 0, width, height), shown
    return (0, 0, width, height), (size_px, size_px)
