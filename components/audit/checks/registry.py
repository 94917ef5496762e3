"""What a check is, how a function becomes one, and how it writes its findings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd


@dataclass(frozen=True)
class Thresholds:
    """What the checks compare with; the component's parameters of the same names."""

    dark_brightness: float
    bright_brightness: float
    low_contrast: float
    size_outlier_iqr: float
    aspect_outlier: float
    tiny_side_px: int
    blur_ratio: float
    low_entropy_bits: float
    near_duplicate_distance: int
    near_duplicate_correlation: float
    near_duplicate_difference: float
    near_empty_class_images: int
    class_imbalance_ratio: float
    grayscale_difference: float
    naming_pattern_share: float


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: Stable: cleaning rules and dashboards refer to it.
        severity: One of ``SEVERITIES``.
        title: For a heading.
        rule: When it fires, with its formula; may name thresholds as ``{dark_brightness:g}``.
        find: Returns its findings.
        measures: What its measured value is, in a few words; empty where it has none.
        about: Which table it sees: ``images``, or ``skipped``, the files that ingest left out.
    """

    name: str
    severity: str
    title: str
    rule: str
    find: Callable[[pd.DataFrame, Thresholds], pd.DataFrame]
    measures: str
    about: Literal["images", "skipped"]


REGISTERED: list[Check] = []
"""Every check whose module was imported."""

_Find = Callable[[pd.DataFrame, Thresholds], pd.DataFrame]


def check(
    name: str, severity: str, title: str, rule: str, measures: str = "", about: Literal["images", "skipped"] = "images"
) -> Callable[[_Find], _Find]:
    """Register a function as a check."""

    def register(find: _Find) -> _Find:
        REGISTERED.append(Check(name, severity, title, rule, find, measures, about))
        return find

    return register


def another(paths: pd.Series, keys: list[pd.Series]) -> pd.Series:
    """Return for each member of a group its first member, and for the first one the second; rows lie in group order."""
    groups = paths.groupby(keys)
    return groups.transform("first").where(groups.cumcount() > 0, groups.shift(-1))


def image_findings(
    found: pd.DataFrame,
    messages: list[str],
    *,
    measured: pd.Series | float = float("nan"),
    threshold: pd.Series | float = float("nan"),
    related: pd.Series | None = None,
    group: pd.Series | None = None,
) -> pd.DataFrame:
    """Return a finding per row of ``found``, with a message each and what else there is to say."""
    findings = pd.DataFrame({"path": found["path"], "message": pd.Series(messages, index=found.index, dtype="str")})
    return findings.assign(measured=measured, threshold=threshold, related_path=related, group=group)


def class_findings(
    by_class: pd.Series,
    messages: list[str],
    *,
    measured: pd.Series | float = float("nan"),
    threshold: float = float("nan"),
    related: pd.Series | None = None,
) -> pd.DataFrame:
    """Return a finding per class; ``by_class`` is indexed by class folder."""
    folders = pd.DataFrame({"path": by_class.index.astype("str")}, index=by_class.index)
    if related is not None:
        related = related.set_axis(by_class.index)
    return image_findings(folders, messages, measured=measured, threshold=threshold, related=related)
