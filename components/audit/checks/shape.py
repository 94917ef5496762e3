"""How many pixels an image has, and in which shape."""

import numpy as np
import pandas as pd

from components.audit.checks.conditions import is_tiny
from components.audit.checks.registry import Thresholds, check, image_findings

OUTLIER_SAMPLE = 20
"""Quartiles of fewer images say nothing about outliers."""

SIZE_OUTLIER_FACTOR = 2.0
"""A size outlier differs by at least this factor from the median; where sizes hardly vary, any size would be one."""


@check("tiny", "warning", "Tiny images", "The shorter side is below {tiny_side_px} px.", measures="shorter side, px:")
def tiny(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """The shorter side is below ``tiny_side_px``."""
    found = table[is_tiny(table, thresholds)]
    messages = [
        f"Tiny: {width} x {height} px, and the shorter side should have at least {thresholds.tiny_side_px} px."
        for width, height in zip(found["width_px"], found["height_px"], strict=True)
    ]
    sides = found[["width_px", "height_px"]].min(axis=1)
    return image_findings(found, messages, measured=sides, threshold=thresholds.tiny_side_px)


@check(
    "size_outlier",
    "warning",
    "Unusual resolutions",
    "log sqrt(width x height) is more than {size_outlier_iqr:g} interquartile ranges beyond the quartiles, "
    "and a factor 2 from the median.",
    measures="side of a square, px:",
)
def size_outlier(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Tukey's fences on the log of sqrt(width x height), with a factor of at least 2 from the median."""
    limits = size_limits_px(table, thresholds)
    sides = side_px(table)
    below, above = sides < limits[0], sides > limits[1]
    outside = (below | above) & ~is_tiny(table, thresholds)
    found = table[outside]
    crossed = pd.Series(np.where(below[outside], *limits), index=found.index)
    messages = [
        f"Unusual resolution: {width} x {height} px has the area of a square of {side:.0f} px; "
        f"usual here are {limits[0]:.0f} to {limits[1]:.0f} px."
        for width, height, side in zip(found["width_px"], found["height_px"], sides[outside], strict=True)
    ]
    return image_findings(found, messages, measured=sides[outside], threshold=crossed)


@check(
    "aspect_outlier",
    "warning",
    "Unusual shapes",
    "The longer side is more than {aspect_outlier:g} times the shorter.",
    measures="longer to shorter side",
)
def aspect_outlier(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """The longer side over the shorter is above ``aspect_outlier``."""
    aspect = aspect_ratio(table)
    found = table[aspect > thresholds.aspect_outlier]
    messages = [
        f"Unusual shape: {width} x {height} px is {ratio:.1f} to 1, above {thresholds.aspect_outlier:g} to 1."
        for width, height, ratio in zip(found["width_px"], found["height_px"], aspect[found.index], strict=True)
    ]
    return image_findings(found, messages, measured=aspect[found.index], threshold=thresholds.aspect_outlier)


def side_px(table: pd.DataFrame) -> pd.Series:
    """Return the side of the square with each image's area, px; NaN when unreadable."""
    area = table["width_px"].astype("float64") * table["height_px"]
    return area.where(area > 0) ** 0.5


def aspect_ratio(table: pd.DataFrame) -> pd.Series:
    """Return the longer side over the shorter, at least 1; NaN when unreadable."""
    sides = table[["width_px", "height_px"]].astype("float64")
    return sides.max(axis=1) / sides.min(axis=1).where(table["width_px"] > 0)


def size_limits_px(table: pd.DataFrame, thresholds: Thresholds) -> tuple[float, float]:
    """Return between which sides, px, a size is usual; zero and infinity when there are too few images to tell."""
    logs = np.log(side_px(table).dropna())
    if len(logs) < OUTLIER_SAMPLE:
        return 0.0, float("inf")
    q1, median, q3 = logs.quantile([0.25, 0.5, 0.75])
    reach = thresholds.size_outlier_iqr * (q3 - q1)
    least = np.log(SIZE_OUTLIER_FACTOR)
    return float(np.exp(min(q1 - reach, median - least))), float(np.exp(max(q3 + reach, median + least)))
