"""What several checks ask of an image. A boolean per row of the table; false for an unreadable image."""

import pandas as pd

from components.audit.checks.registry import Thresholds


def is_dark(table: pd.DataFrame, thresholds: Thresholds) -> pd.Series:
    """The 95th percentile of luma is below ``dark_brightness``."""
    return table["luma_p95"] < thresholds.dark_brightness


def is_bright(table: pd.DataFrame, thresholds: Thresholds) -> pd.Series:
    """The 5th percentile of luma is above ``bright_brightness``."""
    return table["luma_p5"] > thresholds.bright_brightness


def is_flat(table: pd.DataFrame, thresholds: Thresholds) -> pd.Series:
    """Luma hardly varies, at a level that is neither dark nor bright."""
    flat = table["contrast"] < thresholds.low_contrast
    return flat & ~is_dark(table, thresholds) & ~is_bright(table, thresholds)


def is_tiny(table: pd.DataFrame, thresholds: Thresholds) -> pd.Series:
    """The shorter side is below ``tiny_side_px``."""
    return table["error"].isna() & (table[["width_px", "height_px"]].min(axis=1) < thresholds.tiny_side_px)


def shows_something(table: pd.DataFrame, thresholds: Thresholds) -> pd.Series:
    """Readable, and neither dark, bright, flat nor tiny: only then do blur and information mean anything."""
    nothing = is_dark(table, thresholds) | is_bright(table, thresholds) | is_flat(table, thresholds)
    return table["error"].isna() & ~nothing & ~is_tiny(table, thresholds)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of images that could be decoded."""
    return table[table["error"].isna()]
