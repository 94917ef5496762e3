"""Small pictures for the report, within a budget, so that the page stays small whatever the data set."""

from collections.abc import Callable

import cv2
import pandas as pd
import simplejpeg

from components.formats.image_archive import ArchiveReader
from components.formats.stored_pixels import Pixels
from components.report.page import data_uri

SIDE_PX = 160
JPEG_QUALITY = 68
BUDGET_CHARACTERS = 2_500_000


class Thumbnails:
    """Makes thumbnails of catalog rows as ``data:`` URIs until the budget is spent.

    Only images the report shows are read this second time: keeping a thumbnail of each from the first pass would not
    fit in memory for a million images, and which ones are shown is known only after the checks.

    Args:
        reader: Open reader of the archive.
        catalog: Unique paths and where their bytes are.
        decode: Returns the upright pixels of an image, ``[height, width, 3]``, with a long side of at least so many
            pixels where the image has them; ``None`` when it cannot be shown.
    """

    def __init__(
        self, reader: ArchiveReader, catalog: pd.DataFrame, decode: Callable[[bytes, int], Pixels | None]
    ) -> None:
        self._reader = reader
        self._decode = decode
        columns = [catalog[name].tolist() for name in ("part", "offset", "size_bytes")]
        self._places = dict(zip(catalog["path"], zip(*columns, strict=True), strict=True))
        self._pixels: dict[str, Pixels | None] = {}
        self._made: dict[str, str] = {}
        self._left = self._left_in_section = BUDGET_CHARACTERS

    def begin_section(self, sections_left: int) -> None:
        """Give the pictures that follow an even share of what is left, so that no section starves a later one.

        Args:
            sections_left: How many sections are still to come, this one included; at least 1.
        """
        self._left_in_section = self._left // sections_left

    def of(self, path: str) -> str:
        """Return the thumbnail of an image; empty when nothing can be shown or the section's budget is spent."""
        if self._left_in_section <= 0:
            return ""
        if path not in self._made:
            pixels = self.pixels(path)
            self._made[path] = "" if pixels is None else data_uri(_encoded(pixels), "image/jpeg")
        uri = self._made[path] if len(self._made[path]) <= self._left_in_section else ""
        self._left -= len(uri)
        self._left_in_section -= len(uri)
        return uri

    def pixels(self, path: str) -> Pixels | None:
        """Return the upright reduced pixels of an image, ``[height, width, 3]``; ``None`` when it cannot be shown."""
        if path not in self._pixels:
            pixels = self._decode(self._reader.read(*self._places[path]), SIDE_PX)
            self._pixels[path] = None if pixels is None else _reduced(pixels)
        return self._pixels[path]


def _reduced(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = SIDE_PX / max(height, width)
    if scale >= 1:
        return pixels.copy()
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(pixels.dtype, copy=False)


def _encoded(pixels: Pixels) -> bytes:
    return bytes(simplejpeg.encode_jpeg(pixels.copy(), quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="420"))
