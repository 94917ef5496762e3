"""The measurements of all images, as arrays of some bytes an image instead of Python objects of hundreds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.audit.measured_chunk import ROW, MeasuredChunk
from components.copies.fingerprints import Fingerprints
from components.formats.findings import MEASUREMENT_COLUMNS

FURTHER_COLUMNS: Mapping[str, str] = {
    "luma_p5": "float64",
    "luma_p95": "float64",
    "decoder_warning": "str",
    "cause": "str",
    "exif_rotated": "bool",
    "animated": "bool",
    "alpha": "bool",
    "sixteen_bit": "bool",
    "blur": "float64",
    "entropy": "float64",
    "colour": "float64",
    "pixels": "uint64",
}
"""Columns of measurements after those of ``components.formats.findings``."""


class MeasuredImages:
    """Measurements and fingerprints in catalog order.

    Args:
        images: How many there will be.
    """

    def __init__(self, images: int) -> None:
        self._rows = np.zeros(images, ROW)
        self._texts: dict[str, dict[int, str]] = {"error": {}, "cause": {}, "decoder_warning": {}}
        self.fingerprints = Fingerprints.on_disk(images)

    def add(self, first: int, chunk: MeasuredChunk) -> None:
        """Take in a chunk whose first image has the row ``first`` in the catalog."""
        rows = slice(first, first + len(chunk.rows))
        self._rows[rows] = chunk.rows
        self.fingerprints[rows] = chunk.fingerprints
        self.fingerprints.leave_memory()
        for position, texts in chunk.texts.items():
            for name, text in texts.items():
                self._texts[name][first + position] = text

    def table(self, catalog: pd.DataFrame, grayscale_difference: float) -> pd.DataFrame:
        """Return ``MEASUREMENT_COLUMNS`` and ``FURTHER_COLUMNS``, one row per row of the catalog.

        Args:
            catalog: Of the images.
            grayscale_difference: An image with less ``colour`` is grayscale.
        """
        gray = self._rows["colour"] < grayscale_difference
        columns: dict[str, Any] = {"path": catalog["path"], "label": catalog["label"], "grayscale": gray}
        error = self._text("error")
        for name, dtype in [*MEASUREMENT_COLUMNS.items(), *FURTHER_COLUMNS.items()]:
            if name in columns:
                continue
            if name in self._texts:
                columns[name] = error if name == "error" else self._text(name)
            elif dtype == "str":
                columns[name] = _decoded(self._rows[name])
            else:
                columns[name] = self._rows[name].astype(dtype)
        unread = error.notna().to_numpy()
        for name in ("luma_p5", "luma_p95"):
            columns[name][unread] = np.nan
        order = [*MEASUREMENT_COLUMNS, *FURTHER_COLUMNS]
        return pd.DataFrame({name: columns[name] for name in order}, index=catalog.index)

    def _text(self, name: str) -> pd.Series:
        texts = np.full(len(self._rows), None, dtype=object)
        for row, text in self._texts[name].items():
            texts[row] = text
        return pd.Series(texts, dtype="str")


def _decoded(values: npt.NDArray[np.bytes_]) -> pd.Series:
    """Return few distinct short texts as a column, missing where empty; each distinct one is decoded once."""
    distinct, codes = np.unique(values, return_inverse=True)
    texts = np.array([text.decode() or None for text in distinct.tolist()], dtype=object)
    return pd.Series(texts[codes], dtype="str")
