"""What the pixels of an image file mean, the same for the step that judges them and the step that prepares them."""

import contextlib
import io
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, JpegImagePlugin

Pixels = npt.NDArray[np.uint8]

LARGE_PIXELS = 16_000_000
"""Images with more pixels are decoded one at a time, and turned into RGB a strip at a time."""

_STRIP_PIXELS = 2_000_000
_ONE_LARGE_IMAGE = threading.Lock()

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

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that start one (ITU T.81, table B.1)
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)

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


def jpeg_header(jpeg: bytes) -> bytes:
    """Return what of a JPEG comes before its scan, all of it where a marker is not where it should be (ITU T.81, B.1).

    What is looked for there is found sooner than in the whole file.
    """
    place = 2
    while jpeg[place : place + 1] == b"\xff":
        marker = jpeg[place + 1 : place + 2]
        if marker == b"\xda":
            return jpeg[:place]
        place += 1 if marker == b"\xff" else 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return jpeg


def is_held_whole(jpeg: bytes, components: int) -> bool:
    """Return whether a decoder holds the coefficients of all of a JPEG, at whatever size it is decoded.

    Of a progressive one it does, and of any whose first scan has not all components (ITU T.81, B.2.3): 2 bytes for each
    value that is stored. Otherwise some rows do.

    Args:
        jpeg: The file.
        components: How many the image has, 3 for colour.
    """
    header = jpeg_header(jpeg)
    in_first_scan = jpeg[len(header) + 4 : len(header) + 5]
    return in_first_scan < bytes((components,)) or _frame(header) not in _SEQUENTIAL


def _frame(header: bytes) -> int | None:
    """Return the marker that starts the frame in what ``jpeg_header`` returned."""
    place = 2
    while header[place : place + 1] == b"\xff" and place + 3 < len(header):
        marker = header[place + 1]
        if marker in _FRAMES:
            return marker
        place += 1 if marker == 0xFF else 2 + int.from_bytes(header[place + 2 : place + 4], "big")
    return None


def opened(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """Open an image by Pillow, a JPEG of any size: of it, only what is asked for need be in memory.

    Raises:
        Image.DecompressionBombError: When an image of another format has too many pixels for Pillow.
        Exception: Whatever Pillow's plugins raise for a damaged file.
    """
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # the latter where warnings are errors
        if not data.startswith(b"\xff\xd8"):
            raise
        return JpegImagePlugin.JpegImageFile(io.BytesIO(data))


def may_be_turned(jpeg: bytes) -> bool:
    """Return whether the file has anything that could say how it is turned: opening it to see takes longer."""
    header = jpeg_header(jpeg)
    return b"Exif\0\0" in header or b"tiff:Orientation" in header


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


def is_large(size: tuple[int, int]) -> bool:
    """Return whether an image of this width and height is decoded with care for memory."""
    return size[0] * size[1] > LARGE_PIXELS


def in_its_turn(size: tuple[int, int]) -> contextlib.AbstractContextManager[object]:
    """Return what to decode an image of this width and height in, so that a process holds one large one at a time."""
    return _ONE_LARGE_IMAGE if is_large(size) else contextlib.nullcontext()


def loaded(image: Image.Image, data: bytes) -> Image.Image:
    """Load an opened image, its first frame, and return it.

    Args:
        image: Opened by Pillow.
        data: Its file. A large WebP is decoded from it by OpenCV: Pillow takes 16 bytes a pixel, four copies, for any.

    Raises:
        Exception: Whatever Pillow's plugins raise for a damaged file.
    """
    if image.format != "WEBP" or not is_large(image.size) or getattr(image, "is_animated", False):
        image.load()
        return image
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape[:2] != (image.height, image.width):
        raise OSError("its pixels cannot be decoded")
    conversion = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return Image.fromarray(cv2.cvtColor(pixels, conversion, pixels))


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image of any mode as RGB: transparency laid on white, deep gray scaled to 8 bits."""
    return _as_rgb(image, _gray_scale(image))


def reduced_rgb(image: Image.Image, factor: int) -> Pixels:
    """Return a loaded image of any mode as RGB with sides divided by a whole factor, rounded up.

    Each pixel is the mean of up to ``factor`` squared ones after ``to_rgb``, which of a large image is made a strip at
    a time: at full size, the steps in between take up to 24 bytes a pixel.

    Returns:
        uint8 ``[ceil(height / factor), ceil(width / factor), 3]``.
    """
    scale = _gray_scale(image)
    if not is_large(image.size):
        rgb = _as_rgb(image, scale)
        return np.asarray(rgb.reduce(factor) if factor > 1 else rgb)
    result = np.empty((-(-image.height // factor), -(-image.width // factor), 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // (image.width * factor))
    for top in range(0, len(result), rows):
        box = (0, top * factor, image.width, min((top + rows) * factor, image.height))
        result[top : top + rows] = np.asarray(_as_rgb(image.crop(box), scale).reduce(factor))
    return result


def _as_rgb(image: Image.Image, scale: float) -> Image.Image:
    if _is_deep_gray(image):
        return _eight_bits(image, scale).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    # What is under transparent pixels is arbitrary, often black: on white the image is what a viewer shows.
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _is_deep_gray(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _gray_scale(image: Image.Image) -> float:
    """Return what brings deep gray values to [0, 255], where Pillow would clip them: floats may be from [0, 1]."""
    if image.mode != "F":
        return 1 / 257
    return 255 if _greatest(image) <= 1 else 1


def _greatest(image: Image.Image) -> float:
    """Return the greatest value of a float image, leaving out what is no number."""
    rows = max(1, _STRIP_PIXELS // image.width)
    strips = ((0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows))
    greatest = [np.fmax.reduce(np.asarray(image.crop(strip)), axis=None) for strip in strips]
    return float(np.fmax.reduce(greatest))


def _eight_bits(image: Image.Image, scale: float) -> Image.Image:
    values = np.asarray(image).astype(np.float64) * scale
    return Image.fromarray(np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8))
