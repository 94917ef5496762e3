"""Accuracy by what an image is like: a model that is right on average may be wrong in the dark."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.evaluate.scores import wilson_interval
from components.formats.evaluation import SLICE_COLUMNS
from components.report.shown_text import number

LEAST_SLICE_IMAGES = 20
"""A slice of fewer images gets no number: it would be one of their chance."""
MOST_PARTS = 4
"""Of a measure; fewer where the parts would be too small, or where many images have the same value."""

_PART_NAMES = {
    1: ("all",),
    2: ("lower", "higher"),
    3: ("lowest", "middle", "highest"),
    4: ("lowest", "lower middle", "upper middle", "highest"),
}


@dataclasses.dataclass(frozen=True)
class Measure:
    """What the test split is sliced by, as the audit measured it in the original images.

    Attributes:
        name: For people.
        unit: Likewise, empty where it has none.
        values: float64 ``[images]``, NaN where nothing was measured.
    """

    name: str
    unit: str
    values: npt.NDArray[np.float64]


def slice_test_split(paths: Sequence[str], right: npt.NDArray[np.bool_], measurements: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of each slice of the test split.

    Args:
        paths: Of the test images.
        right: ``[images]``, whether the model got each right.
        measurements: The audit's, see ``components.formats.findings``; test images it lacks are in no slice.

    Returns:
        ``SLICE_COLUMNS``, the measures one after the other, each from its lowest values to its highest. Accuracy and
        interval are missing in slices of fewer than ``LEAST_SLICE_IMAGES`` images. Empty when nothing was measured.
    """
    measured = measurements.drop_duplicates("path").set_index("path").reindex(pd.Index(paths))
    known = (measured["width_px"].fillna(0) > 0).to_numpy()
    slices = [one for measure in _measures(measured) for one in _parts(measure)]
    gray = measured["grayscale"].astype("boolean").fillna(value=False).to_numpy(bool)
    if known.any():
        slices += [("colour", "colour", known & ~gray), ("colour", "gray", known & gray)]
    rows = [(measure, name, *_scores(right[part])) for measure, name, part in slices if part.any()]
    return pd.DataFrame(rows, columns=list(SLICE_COLUMNS)).astype(dict(SLICE_COLUMNS))


def is_worse(slices: pd.DataFrame, accuracy: float) -> "pd.Series[bool]":
    """Return which slices lie wholly, with their intervals, below the accuracy of all test images."""
    return slices["high"] < accuracy


def _measures(measured: pd.DataFrame) -> list[Measure]:
    def column(name: str) -> npt.NDArray[np.float64]:
        return measured[name].to_numpy(np.float64, na_value=np.nan)

    width, height = column("width_px"), column("height_px")
    there = width > 0
    megapixels = np.where(there, width * height / 1e6, np.nan)
    shape = np.divide(width, height, out=np.full(len(width), np.nan), where=there)
    measures = [
        Measure("brightness", "mean luma, 0 to 255", np.where(there, column("brightness"), np.nan)),
        Measure("contrast", "standard deviation of luma", np.where(there, column("contrast"), np.nan)),
    ]
    if "blur" in measured.columns:
        # The audit's blur is the share of detail that a small blur leaves: of a sharp image it leaves little.
        sharpness = np.where(there, 1.0 - column("blur"), np.nan)
        measures.append(Measure("sharpness", "share of detail that a 3 x 3 blur takes", sharpness))
    measures.append(Measure("resolution", "megapixels", megapixels))
    measures.append(Measure("shape", "width / height", shape))
    return measures


def _parts(measure: Measure) -> list[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Cut a measure at its quantiles into as many parts as are large enough; equal values stay together."""
    known = measure.values[np.isfinite(measure.values)]
    if not len(known):
        return []
    wanted = int(np.clip(len(known) // LEAST_SLICE_IMAGES, 2, MOST_PARTS))
    inner = np.unique(np.quantile(known, np.linspace(0, 1, wanted + 1)[1:-1], method="lower"))
    inner = inner[inner < known.max()]
    edges = [-np.inf, *inner.tolist(), np.inf]
    parts = []
    for name, low, high in zip(_PART_NAMES[len(edges) - 1], edges[:-1], edges[1:], strict=True):
        part = (measure.values > low) & (measure.values <= high)
        values = measure.values[part]
        span = number(float(values.min()))
        if values.min() < values.max():
            span += f" to {number(float(values.max()))}"
        parts.append((f"{measure.name} ({measure.unit})", f"{name}: {span}", part))
    return parts


def _scores(right: npt.NDArray[np.bool_]) -> tuple[int, int, float, float, float]:
    images, correct = len(right), int(right.sum())
    if images < LEAST_SLICE_IMAGES:
        return images, correct, np.nan, np.nan, np.nan
    return images, correct, correct / images, *wilson_interval(correct, images)
