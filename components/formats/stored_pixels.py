"""What the pixels of an image file mean, the same for the step that judges them and the step that prepares them."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

Pixels = npt.NDArray[np.uint8]

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation but 1 (CIPA DC-008, tag 274)."""

SIDEWAYS = tuple(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
"""Turns that exchange width and height."""

# Pillow's turns in a tenth of its time, which counterclockwise are OpenCV's.
_TURNED: dict[Image.Transpose, Callable[[Pixels], Any]] = {
    Image.Transpose.FLIP_LEFT_RIGHT: lambda pixels: cv2.flip(pixels, 1),
    Image.Transpose.FLIP_TOP_BOTTOM: lambda pixels: cv2.flip(pixels, 0),
    Image.Transpose.ROTATE_90: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
    Image.Transpose.ROTATE_180: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    Image.Transpose.ROTATE_270: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    Image.Transpose.TRANSPOSE: cv2.transpose,
    Image.Transpose.TRANSVERSE: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
}


def upright_turn(image: Image.Image) -> Image.Transpose | None:
    """Return what turns a loaded image upright, None when it is.

    Before loading, the answer for TIFF would be wrong: Pillow turns TIFF itself while it loads, and then forgets the
    orientation.
    """
    try:
        return _UPRIGHT.get(int(image.getexif().get(ExifTags.Base.Orientation, 1)))
    except Exception:
        # Damaged metadata, which raises about anything, says nothing about pixels: the image is taken as it lies.
        return None


def turned(pixels: Pixels, turn: Image.Transpose) -> Pixels:
    """Return what Pillow's ``Image.transpose`` does to an image, uint8 ``[height, width, 3]``, of the same pixels."""
    return np.asarray(_TURNED[turn](pixels), np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image of any mode as RGB: transparency laid on white, deep gray scaled to 8 bits."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    # What is under transparent pixels is arbitrary, often black: on white the image is what a viewer shows.
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale gray values to [0, 255], where Pillow would clip them: integers from 16 bits, floats from [0, 1]."""
    values = np.asarray(image).astype(np.float64)
    if image.mode != "F":
        values = values / 257
    elif values.max() <= 1:
        values = values * 255
    return Image.fromarray(np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8))
