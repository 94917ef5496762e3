"""Bytes to measurements: everything the audit knows about one image's content, from a single decode."""

import hashlib
import math
import zlib
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from components.audit.decoding import DECODED_SIDE_PX, DecodedImage, UnreadableImageError, decode, decode_whole
from components.copies.detail_comparison import colour_places, colour_square
from components.copies.fingerprints import Sketch
from components.copies.perceptual_hashes import luma_square
from components.formats.stored_pixels import SIDEWAYS, Pixels

_GRAY_MODES = frozenset({"1", "L", "LA", "I;16"})
_HASHED_ROWS = 8  # every so many rows: a CRC takes a third of the time of a SHA-256
_LEVELS = np.arange(256, dtype=np.float64)


class Measurement(NamedTuple):
    """One image's row, without its name. The first columns are those of ``components.formats.findings``.

    Luma is Rec. 601: Y = 0.299 R + 0.587 G + 0.114 B, [0, 255], on the reduced image.
    """

    format: str | None
    mode: str | None
    width_px: int
    height_px: int
    brightness: float
    contrast: float
    error: str | None
    luma_p5: float  # 5th percentile of luma: bright images are bright even here
    luma_p95: float  # 95th percentile: dark images are dark even here, night photographs are not
    decoder_warning: str | None  # the image is whole, but its decoder complained
    cause: str | None  # name of the check that reports the error
    exif_rotated: bool
    animated: bool
    alpha: bool
    sixteen_bit: bool
    blur: float  # how little detail a slight blur takes away, [0, 1] in practice; see ``_blur``
    entropy: float  # of the histogram of luma, [0, 8] bits
    colour: float  # mean |R - G| + |G - B|, [0, 510]; 0 in modes without colour
    pixels: int  # 64 bits of a digest of the upright size and the upright reduced pixels


def unreadable(cause: str, error: str) -> Measurement:
    """Return the row of a file that has no pixels: what is wrong with it, and nothing else."""
    nan = float("nan")
    return Measurement(
        None, None, 0, 0, nan, nan, error, nan, nan, None, cause, False, False, False, False, nan, nan, nan, 0
    )


def analyze(data: bytes) -> Measurement:
    """Measure one image. A file that cannot be decoded gives a row that says why; nothing is raised for it."""
    return measure(data)[0]


def measure(data: bytes) -> tuple[Measurement, Sketch | None]:
    """Measure one image, and return what its fingerprint is made of, ``None`` for a file that cannot be decoded."""
    try:
        image = decode(data, DECODED_SIDE_PX)
    except UnreadableImageError as error:
        return unreadable(error.cause, str(error)), None
    luma = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY)
    histogram = cv2.calcHist([luma], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    share = histogram / histogram.sum()
    brightness = float(share @ _LEVELS)
    contrast = float(np.sqrt(share @ (_LEVELS - brightness) ** 2))
    p5, p95 = np.searchsorted(share.cumsum(), (0.05, 0.95))
    seen = share[share > 0]
    small = _at_common_size(luma)
    places = colour_places(image.pixels)
    measurement = Measurement(
        format=image.format,
        mode=image.mode,
        width_px=image.width_px,
        height_px=image.height_px,
        brightness=brightness,
        contrast=contrast,
        error=None,
        luma_p5=float(p5),
        luma_p95=float(p95),
        decoder_warning=image.warning or None,
        cause=None,
        exif_rotated=image.exif_rotated,
        animated=image.animated,
        alpha=image.alpha,
        sixteen_bit=image.sixteen_bit,
        blur=_blur(small),
        entropy=abs(float(seen @ np.log2(seen))),
        colour=0.0 if image.mode in _GRAY_MODES else _colour_difference(places),
        pixels=_pixel_digest(image),
    )
    return measurement, Sketch(luma_square(small), colour_square(places))


def whole_pixels_of(data: bytes) -> Measurement:
    """Return a row of nothing but a digest of the upright size and pixels, these at full size."""
    try:
        pixels = _pixel_digest(decode_whole(data))
    except UnreadableImageError as error:
        return unreadable(error.cause, str(error))
    return unreadable("", "")._replace(pixels=pixels)


def _at_common_size(luma: Pixels) -> Pixels:
    """Return luma with a long side of at most ``DECODED_SIDE_PX``, so that blur means the same whatever the size.

    Whole factors are averaged, which costs a fraction of averaging over fractional ones; bilinear steps do the rest.
    """
    height, width = luma.shape
    long_side = max(height, width)
    if long_side <= DECODED_SIDE_PX:
        return luma
    factor = long_side // DECODED_SIDE_PX
    if factor > 1:
        size = (math.ceil(width / factor), math.ceil(height / factor))
        luma = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    scale = DECODED_SIDE_PX / max(luma.shape)
    size = (max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[0] * scale)))
    return cv2.resize(luma, size, interpolation=cv2.INTER_LINEAR)


def _blur(luma: Pixels) -> float:
    """Return the deviation of the Laplacian of the image blurred by a 3 x 3 box over that of the image itself.

    Detail that a slight blur does not diminish was not there: the idea of Crete et al. 2007, "The blur effect", on the
    Laplacian (Pech-Pacheco et al. 2000), whose deviation alone would call any soft or pale picture blurry.
    """
    detail = _variance(cv2.Laplacian(luma, cv2.CV_16S))
    left = _variance(cv2.Laplacian(cv2.blur(luma, (3, 3)), cv2.CV_16S))
    return math.sqrt(left / detail) if detail > 0 else 1.0


def _variance(values: npt.NDArray[np.int16]) -> float:
    """Return the variance of whole numbers, from their exact sums: a fifth of the time of ``cv2.meanStdDev``."""
    return cv2.norm(values, cv2.NORM_L2SQR) / values.size - (cv2.sumElems(values)[0] / values.size) ** 2


def _pixel_digest(image: DecodedImage) -> int:
    """Return a CRC-32 of every pixel below 32 bits of a SHA-256 of the size and some rows, which tell images apart."""
    pixels, width, height = image.pixels, image.width_px, image.height_px
    if image.turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(image.turn))
        if image.turn in SIDEWAYS:
            width, height = height, width
    digest = hashlib.sha256(f"{width} {height} {pixels.shape} ".encode())
    digest.update(np.ascontiguousarray(pixels[::_HASHED_ROWS]).data)
    return int.from_bytes(digest.digest()[:4], "little") << 32 | zlib.crc32(np.ascontiguousarray(pixels).data)


def _colour_difference(places: Pixels) -> float:
    """Return the mean of |R - G| + |G - B|, [0, 510]."""
    red, green, blue = cv2.split(places)
    return float(cv2.norm(red, green, cv2.NORM_L1) + cv2.norm(green, blue, cv2.NORM_L1)) / red.size
