"""Small pictures for the report, within a budget, so that the page stays small whatever the data set."""

import cv2
import pandas as pd
import simplejpeg

from components.audit.decoding import Pixels, decode_what_is_there
from components.formats.image_archive import ArchiveReader
from components.report.page import data_uri

SIDE_PX = 160
JPEG_QUALITY = 70
BUDGET_CHARACTERS = 3_500_000


class Thumbnails:
    """Makes thumbnails of catalog rows as ``data:`` URIs until the budget is spent.

    Only images the report shows are read this second time: keeping a thumbnail of each from the first pass would not
    fit in memory for a million images, and which ones are shown is known only after the checks.

    Args:
        reader: Open reader of the archive.
        catalog: Unique paths and where their bytes are.
    """

    def __init__(self, reader: ArchiveReader, catalog: pd.DataFrame) -> None:
        self._reader = reader
        columns = [catalog[name].tolist() for name in ("part", "offset", "size_bytes")]
        self._places = dict(zip(catalog["path"], zip(*columns, strict=True), strict=True))
        self._made: dict[str, str] = {}
        self._left = BUDGET_CHARACTERS

    def of(self, path: str) -> str:
        """Return the thumbnail of an image; empty when nothing can be shown or the budget is spent."""
        if path not in self._made:
            self._made[path] = self._make(path)
        uri = self._made[path] if len(self._made[path]) <= self._left else ""
        self._left -= len(uri)
        return uri

    def _make(self, path: str) -> str:
        pixels = decode_what_is_there(self._reader.read(*self._places[path]), SIDE_PX)
        return "" if pixels is None else data_uri(_encoded(pixels), "image/jpeg")


def _encoded(pixels: Pixels) -> bytes:
    height, width = pixels.shape[:2]
    scale = SIDE_PX / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return bytes(simplejpeg.encode_jpeg(pixels.copy(), quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="420"))
