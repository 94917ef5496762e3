"""Test images as small pictures in the page, plain and with what an answer rests on."""

import io

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image

from components.report.page import data_uri

SIDE_PX = 168

_QUALITY = 78
# Heat covers a picture, at its hottest, by so much.
_MOST_COVER = 0.62


def decoded(image: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels of a JPEG, ``[height, width, 3]``."""
    with Image.open(io.BytesIO(image), formats=["JPEG"]) as picture:
        return np.asarray(picture.convert("RGB"))


def thumbnail(pixels: npt.NDArray[np.uint8]) -> str:
    """Return an image as a small JPEG in a ``data:`` URI."""
    return _encoded(_small(pixels))


def heat_thumbnail(pixels: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> str:
    """Return an image as a small JPEG in a ``data:`` URI, coloured where heat is, its rest in gray.

    Args:
        pixels: ``[height, width, 3]``.
        heat: ``[rows, columns]`` of any size, [0, 1].
    """
    small = _small(pixels)
    stretched = Image.fromarray(heat.astype(np.float32), mode="F").resize(small.size, Image.Resampling.BICUBIC)
    smooth = np.clip(np.asarray(stretched, np.float32), 0.0, 1.0)
    colour = mpl.colormaps["plasma"](smooth)[..., :3] * 255
    gray = np.asarray(small.convert("L").convert("RGB"), np.float32)
    cover = (_MOST_COVER * smooth)[..., None]
    return _encoded(Image.fromarray((gray * (1 - cover) + colour * cover).astype(np.uint8)))


def _small(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE_PX, SIDE_PX))
    return picture


def _encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return data_uri(buffer.getvalue(), "image/jpeg")
