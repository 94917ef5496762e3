"""Bring an image to the square that a pretrained network takes: one decode, reduced inside it where the format can."""

import io
import math
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.formats.image_formats import read_formats
from components.formats.stored_pixels import in_its_turn, is_large, loaded, reduced_rgb, upright_turn

Pixels = npt.NDArray[np.uint8]

# An image reduced while it is decoded stays at least this many times as large as it is needed.
_DRAFT_FACTOR = 1.5


class UndecodableImageError(Exception):
    """The bytes cannot be decoded to pixels. The message says why."""


def middle_square(data: bytes, side_px: int) -> Pixels:
    """Return the middle square of an image, upright, uint8 ``[side_px, side_px, 3]``.

    The shape of things is kept, as in the images that the networks were trained on. The resize is an antialiased
    bilinear one, as training's.

    Raises:
        UndecodableImageError: When the bytes cannot be decoded.
    """
    image = _upright(data, side_px)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BILINEAR, box=box))


def shown_pixels(data: bytes, long_side_px: int) -> Pixels | None:
    """Return an image in its own shape to show it to a person, uint8 ``[height, width, 3]``; ``None`` when it has none.

    Args:
        data: Bytes of the file.
        long_side_px: Of the longer side, at most.
    """
    try:
        image = _upright(data, long_side_px)
    except UndecodableImageError:
        return None
    image.thumbnail((long_side_px, long_side_px), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _upright(data: bytes, short_side_px: int) -> Image.Image:
    """Decode an image whose shorter side keeps at least 1.5 times so many pixels, where it has them."""
    try:
        with ExitStack() as turn_taking, Image.open(io.BytesIO(data), formats=read_formats()) as image:
            least = math.ceil(short_side_px * _DRAFT_FACTOR)
            if image.format == "JPEG":  # Pillow's draft keeps both sides at least as long as asked for
                image.draft(None, (least, least))
            turn_taking.enter_context(in_its_turn(image.size))
            whole = loaded(image, data)
            turn = upright_turn(image)
            rgb = Image.fromarray(reduced_rgb(whole, max(1, min(whole.size) // least) if is_large(whole.size) else 1))
    except Exception as error:
        # Pillow's format plugins raise whatever a damaged file leads them to: OSError, SyntaxError, struct.error...
        raise UndecodableImageError(str(error) or type(error).__name__) from error
    return rgb if turn is None else rgb.transpose(turn)
