"""Bring an image of any format, mode, size and orientation to the square RGB JPEG that training reads.

Each image is decoded once. A JPEG is reduced by 1/2, 1/4 or 1/8 inside its inverse DCT where that leaves at least 1.5
times the size needed, which saves decoding and cannot be seen: against the full decode 40 dB at the worst and 46 at the
median of the sample photos. What remains is an antialiased bilinear resize, the same as
``tf.image.resize(antialias=True)``, which the exported model applies to images it is sent: the two differ by a
seventh of a gray level on average, and by half to one where the DCT has reduced.
"""

import io
import math
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from components.copies.fingerprints import Sketch, sketch_of
from components.formats.image_formats import read_formats
from components.formats.stored_pixels import (
    SIDEWAYS,
    in_its_turn,
    is_held_whole,
    is_large,
    loaded,
    may_be_turned,
    opened,
    reduced_rgb,
    turned,
    upright_turn,
)
from components.split.antialiased_resize import RgbPixels, resized

_JPEG_PARAMETERS = (
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)

# Where so many pixels become one, colour need not be interpolated before: 54 dB at the median, 45 at the worst.
_PLAIN_COLOUR_FACTOR = 2.0

# An image reduced while it is decoded stays at least this many times as large as it is shown.
_DRAFT_FACTOR = 1.5

_KEPT_BYTES = 8_000_000
_OF_THREAD = threading.local()

# Its first corner is marked: when that comes last in a turned image, what came last comes first.
_CORNER = Image.frombytes("L", (2, 2), b"\1\0\0\0")


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
        sketch: Of the whole image, whatever the policy shows: see ``components.copies``.
        aspect: Width / height of the whole image, upright.
    """

    jpeg: bytes
    sketch: Sketch
    aspect: float


def prepare_image(data: bytes, preparation: Preparation) -> PreparedImage:
    """Return an image as a square RGB JPEG without chroma subsampling: the same bytes for the same input.

    The EXIF orientation is applied, of an animation the first frame is taken, transparency is laid on white, and 16
    bits a channel are scaled to 8.

    Args:
        data: Bytes of a file in one of ``read_formats()``.
        preparation: Size and shape of the result.

    Raises:
        UndecodableImageError: When the bytes cannot be decoded.
    """
    decoded = _decoded(data, preparation)
    square = _squared(decoded, preparation)
    # The whole image, without its proportions: where that is what was made already, it is smaller.
    whole = square if preparation.resize_policy == "stretch" else decoded.pixels
    return PreparedImage(_encoded(square), sketch_of(whole), decoded.size[0] / decoded.size[1])


def small_picture(data: bytes, side_px: int) -> bytes:
    """Return an image as a small JPEG in its own shape, to show it to a person.

    Args:
        data: Bytes of a file in one of ``read_formats()``.
        side_px: Of the longer side, at most.

    Raises:
        UndecodableImageError: When the bytes cannot be decoded.
    """
    rgb = Image.fromarray(_decoded(data, Preparation(side_px, "pad")).pixels)
    rgb.thumbnail((side_px, side_px), Image.Resampling.BILINEAR)
    encoded = io.BytesIO()
    rgb.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def square_image(data: bytes, preparation: Preparation) -> RgbPixels:
    """Return an image decoded, upright and squared, uint8 ``[image_size_px, image_size_px, 3]``.

    Raises:
        UndecodableImageError: When the bytes cannot be decoded.
    """
    return _squared(_decoded(data, preparation), preparation)


@dataclass(frozen=True)
class _Decoded:
    """An image upright and RGB, at no less than the size needed.

    Attributes:
        pixels: uint8 ``[height, width, 3]``, decoded at ``1 / reduction``, rounded up to whole pixels.
        size: Width and height at full size: positions are computed there, so that reducing shifts nothing.
        reduction: Any whole number; of a JPEG 1, 2, 4 or 8.
        origin: Where in ``pixels`` the image begins, less than a pixel from their corner, to the right and down.
    """

    pixels: RgbPixels
    size: tuple[int, int]
    reduction: int
    origin: tuple[float, float] = (0.0, 0.0)


def _decoded(data: bytes, preparation: Preparation) -> _Decoded:
    plain = _plain_jpeg(data, preparation)
    if plain is not None:
        return plain
    try:
        with ExitStack() as turn_taking, opened(data, read_formats()) as image:
            size = image.size
            needed = _needed(size, preparation)
            # Any but most JPEG files are held whole in memory while they are decoded.
            held = size if image.format != "JPEG" or is_held_whole(data, len(image.getbands())) else (0, 0)
            turn_taking.enter_context(in_its_turn(held))
            pixels = (
                _decoded_jpeg(data, size, needed) if image.format == "JPEG" and image.mode in ("RGB", "L") else None
            )
            if pixels is None:
                pixels, reduction = _decoded_by_pillow(data, image, needed)
            else:
                reduction = round(max(size) / max(pixels.shape[:2]))
            turn = upright_turn(image)
    except Exception as error:
        # Pillow's format plugins raise whatever a damaged file leads them to: OSError, SyntaxError, struct.error...
        raise UndecodableImageError(str(error) or type(error).__name__) from error
    # The last row and column of a reduced image may stand for less than a whole pixel. Turned, they may come first.
    missing = (pixels.shape[1] - size[0] / reduction, pixels.shape[0] - size[1] / reduction)
    if turn is None:
        return _Decoded(pixels, size, reduction)
    if turn in SIDEWAYS:
        size, missing = size[::-1], missing[::-1]
    last = _CORNER.transpose(turn).getbbox()
    cut = (last[0] * missing[0], last[1] * missing[1]) if last else (0, 0)
    return _Decoded(turned(pixels, turn), size, reduction, cut)


def _plain_jpeg(data: bytes, preparation: Preparation) -> _Decoded | None:
    """Decode the most frequent kind of image, an upright JPEG, without opening it to ask what it is."""
    if not data.startswith(b"\xff\xd8\xff") or may_be_turned(data):
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colour not in ("YCbCr", "Gray") or is_large((width, height)):
        return None
    pixels = _decoded_jpeg(data, (width, height), _needed((width, height), preparation))
    if pixels is None:
        return None
    return _Decoded(pixels, (width, height), round(max(width, height) / max(pixels.shape[:2])))


def _needed(size: tuple[int, int], preparation: Preparation) -> list[int]:
    """Return the width and height to decode an image of this width and height at, at least."""
    return [math.ceil(side * _DRAFT_FACTOR) for side in _geometry(size, preparation)[1]]


def _decoded_by_pillow(data: bytes, image: Image.Image, needed: Sequence[int]) -> tuple[RgbPixels, int]:
    """Return pixels as they lie in the file, and how many times smaller than in it."""
    size = image.size
    if image.format == "JPEG":
        image.draft(None, (needed[0], needed[1]))
    whole = loaded(image, data)
    fits = max(1, min(whole.width // needed[0], whole.height // needed[1])) if is_large(whole.size) else 1
    return reduced_rgb(whole, fits), round(max(size) / max(whole.size)) * fits


def _decoded_jpeg(data: bytes, size: tuple[int, int], needed: Sequence[int]) -> RgbPixels | None:
    """Decode a JPEG in colour or gray by libjpeg-turbo itself, which saves a quarter of Pillow's time.

    Args:
        data: Of the file.
        size: Its width and height.
        needed: Width and height to decode at, at least.

    Returns:
        None for whatever is odd about a file: Pillow then judges. The pixels last until this thread decodes again.
    """
    width, height = size
    fits = min(width / needed[0], height / needed[1])
    reduction = next(factor for factor in (8, 4, 2, 1) if factor <= max(fits, 1))
    # The accurate transform, which the exported model takes too: the same pixels, where nothing is reduced.
    ways = {"fastdct": False, "fastupsample": reduction == 1 and fits * _DRAFT_FACTOR >= _PLAIN_COLOUR_FACTOR}
    # With exact sides, or the decoder may choose 3/8 or 5/8, which are slower than 1/2.
    least = {"min_width": math.ceil(width / reduction), "min_height": math.ceil(height / reduction)}
    reduced = 3 * least["min_width"] * least["min_height"]
    try:
        pixels: RgbPixels = simplejpeg.decode_jpeg(data, "RGB", **least, **ways, buffer=_decoding_memory(reduced))
    except ValueError:
        return None
    return pixels


def _decoding_memory(values: int) -> npt.NDArray[np.uint8] | None:
    """Return memory for so many values that this thread decodes into again and again, ``None`` for many.

    Fresh memory for every image costs a tenth of decoding: the system clears it, a page at a time.
    """
    if values > _KEPT_BYTES:
        return None
    if not hasattr(_OF_THREAD, "memory"):
        _OF_THREAD.memory = np.empty(_KEPT_BYTES, np.uint8)
    return _OF_THREAD.memory


def _encoded(square: RgbPixels) -> bytes:
    """Return a JPEG, byte by byte the one that Pillow writes, in less time."""
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(square, cv2.COLOR_RGB2BGR), _JPEG_PARAMETERS)[1])


def _squared(decoded: _Decoded, preparation: Preparation) -> RgbPixels:
    """Resize what the policy shows of an image onto a black square."""
    box, shown_size = _geometry(decoded.size, preparation)
    left, right = (edge / decoded.reduction + decoded.origin[0] for edge in (box[0], box[2]))
    top, bottom = (edge / decoded.reduction + decoded.origin[1] for edge in (box[1], box[3]))
    shown = resized(decoded.pixels, (left, top, right, bottom), shown_size)
    size_px = preparation.image_size_px
    if shown_size == (size_px, size_px):
        return shown
    square = np.zeros((size_px, size_px, 3), np.uint8)
    left_px, top_px = (size_px - shown_size[0]) // 2, (size_px - shown_size[1]) // 2
    square[top_px : top_px + shown_size[1], left_px : left_px + shown_size[0]] = shown
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
