"""Bytes to measurements: everything the audit knows about one image's content, from a single decode."""

from typing import NamedTuple

import cv2
import numpy as np

from components.audit.decoding import DECODED_SIDE_PX, Pixels, UnreadableImageError, decode

GRAYSCALE_DIFFERENCE = 0.6
"""An RGB image whose mean |R - G| + |G - B| is below this has no colour; JPEG's chroma rounding stays below it."""

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
    grayscale: bool
    error: str | None
    luma_p5: float  # 5th percentile of luma: bright images are bright even here
    luma_p95: float  # 95th percentile: dark images are dark even here, night photographs are not
    decoder_warning: str | None  # the image is whole, but its decoder complained


def analyze(data: bytes) -> Measurement:
    """Measure one image. A file that cannot be decoded gives a row that says why; nothing is raised for it."""
    try:
        image = decode(data, DECODED_SIDE_PX)
    except UnreadableImageError as error:
        nan = float("nan")
        return Measurement(None, None, 0, 0, nan, nan, False, str(error), nan, nan, None)
    luma = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY)
    histogram = cv2.calcHist([luma], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    share = histogram / histogram.sum()
    brightness = float(share @ _LEVELS)
    contrast = float(np.sqrt(share @ (_LEVELS - brightness) ** 2))
    p5, p95 = np.searchsorted(share.cumsum(), (0.05, 0.95))
    return Measurement(
        format=image.format,
        mode=image.mode,
        width_px=image.width_px,
        height_px=image.height_px,
        brightness=brightness,
        contrast=contrast,
        grayscale=image.mode in {"1", "L", "LA", "I;16"} or _colour_difference(image.pixels) < GRAYSCALE_DIFFERENCE,
        error=None,
        luma_p5=float(p5),
        luma_p95=float(p95),
        decoder_warning=image.warning or None,
    )


def _colour_difference(pixels: Pixels) -> float:
    """Return the mean of |R - G| + |G - B|, [0, 510]."""
    red, green, blue = cv2.split(pixels)
    return float(cv2.norm(red, green, cv2.NORM_L1) + cv2.norm(green, blue, cv2.NORM_L1)) / red.size
