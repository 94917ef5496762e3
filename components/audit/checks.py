"""The checks: each a small function from the measured catalog to findings, with a stable name and a severity.

A check sees one table, one row per image: the archive's catalog (``CATALOG_COLUMNS``) with the measurements beside it
(``Measurement``). It returns a row per finding with the columns of ``FINDING_COLUMNS`` that apply; ``run_checks`` adds
its name and severity, and the order. To add a check, write a function under ``@check``.

One cause, one finding: an unreadable image has no pixel findings; a dark or bright image is not also reported as
low in contrast or gray, which a black frame always is; a tiny image is not also a size outlier.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.audit import naming
from components.audit.decoding import EXTENSIONS
from components.formats.findings import FINDING_COLUMNS, SEVERITIES

OUTLIER_SAMPLE = 20
"""Quartiles of fewer images say nothing about outliers."""

SIZE_OUTLIER_FACTOR = 2.0
"""A size outlier differs by at least this factor from the median; where sizes hardly vary, any size would be one."""

IMBALANCE_RATIO = 10.0
"""The largest class may be this many times a class."""

NEAR_EMPTY_IMAGES = 10
"""A class with fewer readable images leaves less than one for validation and test at 80/10/10."""


@dataclass(frozen=True)
class Thresholds:
    """What the checks compare with; the component's parameters of the same names."""

    dark_brightness: float
    bright_brightness: float
    low_contrast: float
    size_outlier_iqr: float
    aspect_outlier: float
    tiny_side_px: int


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
    """

    name: str
    severity: str
    title: str
    rule: str
    find: Callable[[pd.DataFrame, Thresholds], pd.DataFrame]
    measures: str


CHECKS: list[Check] = []
"""Every check, in the order of the report."""

_Find = Callable[[pd.DataFrame, Thresholds], pd.DataFrame]


def check(name: str, severity: str, title: str, rule: str, measures: str = "") -> Callable[[_Find], _Find]:
    """Register a function as a check."""

    def register(find: _Find) -> _Find:
        CHECKS.append(Check(name, severity, title, rule, find, measures))
        return find

    return register


def run_checks(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Run every check and return the findings, ``FINDING_COLUMNS``, sorted by severity, check and path."""
    found = [
        one.find(table, thresholds).assign(check=one.name, severity=one.severity).reindex(columns=list(FINDING_COLUMNS))
        for one in CHECKS
    ]
    findings = pd.concat([frame.astype(dict(FINDING_COLUMNS)) for frame in found], ignore_index=True)
    rank = findings["severity"].map({severity: rank for rank, severity in enumerate(SEVERITIES)})
    order = findings.assign(rank=rank).sort_values(["rank", "check", "path", "related_path"], kind="stable").index
    return findings.loc[order].reset_index(drop=True)


@check(
    "unreadable",
    "error",
    "Unreadable files",
    "The file is empty, cut short, damaged, no image, or declares an absurd size.",
)
def unreadable(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Files that a strict decoder cannot decode whole: libjpeg-turbo stopping at its first warning, or Pillow."""
    found = table[table["error"].notna()]
    return _findings(found, [f"Cannot be read: {error}." for error in found["error"]])


@check("conflicting_label", "error", "Same image, different labels", "The same bytes (MD5) lie in two class folders.")
def conflicting_label(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Every member of a group of identical files that spans class folders; all share ``group``, their MD5."""
    found = _readable(table).sort_values(["md5", "path"])
    found = found[found.groupby("md5")["label"].transform("nunique") > 1]
    groups = found.groupby("md5")
    in_first_label = found["label"] == groups["label"].transform("first")
    first_elsewhere = found[~in_first_label].groupby("md5")["path"].first()
    related = groups["path"].transform("first").where(~in_first_label, found["md5"].map(first_elsewhere))
    labels = groups["label"].transform(lambda names: ", ".join(f"'{name}'" for name in sorted(set(names))))
    messages = [f"The same bytes are filed under {names}; at most one can be right." for names in labels]
    return _findings(found, messages, related=related, group=found["md5"])


@check(
    "label_mismatch",
    "error",
    "Label file disagrees",
    "The source's own label file names another class than the folder.",
)
def label_mismatch(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Images whose recorded label differs from their class folder, exactly."""
    found = table[table["recorded_label"].notna() & (table["recorded_label"] != table["label"])]
    messages = [
        f"The label file says '{recorded}', the class folder says '{label}'."
        for recorded, label in zip(found["recorded_label"], found["label"], strict=True)
    ]
    return _findings(found, messages)


@check(
    "exact_duplicate",
    "warning",
    "Exact duplicates",
    "The same bytes (MD5) occur more than once in a class.",
    measures="copies",
)
def exact_duplicate(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Every member of a group of identical files within a class; all share ``group``, their MD5."""
    found = _readable(table)
    found = found[found.duplicated(["label", "md5"], keep=False)].sort_values(["label", "md5", "path"])
    keys = [found["label"], found["md5"]]
    copies = found.groupby(keys)["path"].transform("size")
    messages = [f"{count} files in this class have the same bytes." for count in copies]
    return _findings(
        found, messages, measured=copies, threshold=1, related=_another(found["path"], keys), group=found["md5"]
    )


@check(
    "dark",
    "warning",
    "Extremely dark",
    "95 % of the pixels have luma below {dark_brightness:g}; a night photograph with lit detail does not.",
    measures="95th percentile of luma",
)
def dark(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """The 95th percentile of luma is below ``dark_brightness`` (after cleanvision, which uses the 99th)."""
    found = table[_is_dark(table, thresholds)]
    messages = [
        f"Extremely dark: 95 % of its pixels have luma up to {p95:.0f} of 255, below {thresholds.dark_brightness:g}."
        for p95 in found["luma_p95"]
    ]
    return _findings(found, messages, measured=found["luma_p95"], threshold=thresholds.dark_brightness)


@check(
    "bright",
    "warning",
    "Extremely bright",
    "95 % of the pixels have luma above {bright_brightness:g}, so even shadows are bright.",
    measures="5th percentile of luma",
)
def bright(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """The 5th percentile of luma is above ``bright_brightness`` (as in cleanvision)."""
    found = table[_is_bright(table, thresholds)]
    messages = [
        f"Extremely bright: 95 % of its pixels have luma from {p5:.0f} of 255, above {thresholds.bright_brightness:g}."
        for p5 in found["luma_p5"]
    ]
    return _findings(found, messages, measured=found["luma_p5"], threshold=thresholds.bright_brightness)


@check(
    "low_contrast",
    "warning",
    "Blank or nearly so",
    "The standard deviation of luma is below {low_contrast:g}, and the image is neither dark, bright nor tiny.",
    measures="deviation of luma",
)
def low_contrast(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """RMS contrast, the standard deviation of luma, is below ``low_contrast``."""
    found = table[_is_flat(table, thresholds) & ~_is_tiny(table, thresholds)]
    messages = [
        f"Blank or nearly so: its luma deviates by {contrast:.1f} from {mean:.0f}, below {thresholds.low_contrast:g}."
        for contrast, mean in zip(found["contrast"], found["brightness"], strict=True)
    ]
    return _findings(found, messages, measured=found["contrast"], threshold=thresholds.low_contrast)


@check("tiny", "warning", "Tiny images", "The shorter side is below {tiny_side_px} px.", measures="shorter side, px:")
def tiny(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """The shorter side is below ``tiny_side_px``."""
    found = table[_is_tiny(table, thresholds)]
    messages = [
        f"Tiny: {width} x {height} px, and the shorter side should have at least {thresholds.tiny_side_px} px."
        for width, height in zip(found["width_px"], found["height_px"], strict=True)
    ]
    sides = found[["width_px", "height_px"]].min(axis=1)
    return _findings(found, messages, measured=sides, threshold=thresholds.tiny_side_px)


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
    outside = (below | above) & ~_is_tiny(table, thresholds)
    found = table[outside]
    crossed = pd.Series(np.where(below[outside], *limits), index=found.index)
    messages = [
        f"Unusual resolution: {width} x {height} px has the area of a square of {side:.0f} px; "
        f"usual here are {limits[0]:.0f} to {limits[1]:.0f} px."
        for width, height, side in zip(found["width_px"], found["height_px"], sides[outside], strict=True)
    ]
    return _findings(found, messages, measured=sides[outside], threshold=crossed)


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
    return _findings(found, messages, measured=aspect[found.index], threshold=thresholds.aspect_outlier)


@check("wrong_extension", "warning", "Wrong extension", "The content is of another format than the extension says.")
def wrong_extension(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """The format that the content announces differs from the extension's."""
    readable = _readable(table)
    extension = naming.extensions(readable["filename"])
    wrong = extension.str.lower().map(EXTENSIONS).astype("str") != readable["format"]
    found = readable[wrong]
    messages = [
        f"The content is {image_format}, the extension is '{written}'."
        for image_format, written in zip(found["format"], extension[wrong], strict=True)
    ]
    return _findings(found, messages)


@check(
    "decoder_warning",
    "warning",
    "Decoder warnings",
    "The image decodes whole, but its decoder reports stray bytes: padding, or a damaged stripe.",
)
def decoder_warning(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """JPEG files with extraneous bytes between their segments: mostly harmless, sometimes a damaged scan."""
    found = table[table["decoder_warning"].notna()]
    return _findings(found, [f"It decodes, with a warning: {warning}." for warning in found["decoder_warning"]])


@check(
    "near_empty_class",
    "warning",
    "Nearly empty classes",
    f"A class has fewer than {NEAR_EMPTY_IMAGES} readable images.",
    measures="readable images",
)
def near_empty_class(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Classes with fewer readable images than ``NEAR_EMPTY_IMAGES``; the finding's path is the class folder."""
    images = _readable_images(table)
    found = images[images < NEAR_EMPTY_IMAGES]
    messages = [
        f"The class has {count} readable {'image' if count == 1 else 'images'}, below {NEAR_EMPTY_IMAGES}."
        for count in found
    ]
    return _class_findings(found, messages, measured=found, threshold=NEAR_EMPTY_IMAGES)


@check(
    "class_imbalance",
    "warning",
    "Class imbalance",
    f"The largest class has more than {IMBALANCE_RATIO:g} times the readable images of a class.",
    measures="ratio to the largest class",
)
def class_imbalance(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Classes that the largest outnumbers by more than ``IMBALANCE_RATIO``; nearly empty ones are reported as that."""
    images = _readable_images(table)
    images = images[images >= NEAR_EMPTY_IMAGES]
    ratio = images.max() / images
    found = ratio[ratio > IMBALANCE_RATIO]
    messages = [
        f"The class has {images[label]:,} readable images; the largest has {images.max():,}, "
        f"{value:.1f} times as many, above {IMBALANCE_RATIO:g}."
        for label, value in found.items()
    ]
    return _class_findings(found, messages, measured=found, threshold=IMBALANCE_RATIO)


@check(
    "similar_class_names",
    "warning",
    "Class names that look alike",
    "Two class folders differ only in case, spaces or punctuation.",
)
def similar_class_names(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Class folders whose letters and digits are equal when case is ignored: one class by mistake split in two."""
    labels = pd.Series(sorted(table["label"].unique()), dtype="str")
    folded = labels.str.casefold().str.replace(r"[\W_]+", "", regex=True)
    found = labels[folded.duplicated(keep=False) & (folded != "")]
    keys = folded[found.index]
    found = found.loc[keys.sort_values(kind="stable").index]
    related = _another(found, [keys])
    messages = [f"The class folder is named almost like '{other}'; are they one class?" for other in related]
    return _class_findings(pd.Series(found.array, index=found.array), messages, related=related)


@check(
    "duplicate_filename",
    "info",
    "Same name in different folders",
    "A file name occurs in more than one folder.",
    measures="folders",
)
def duplicate_filename(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Equal file names in different folders: they collide when folders are flattened, and may be mislaid copies."""
    found = table[table.duplicated("filename", keep=False)].sort_values(["filename", "path"])
    folders = found.groupby("filename")["path"].transform("size")
    messages = [f"{count} folders hold a file of this name." for count in folders]
    related = _another(found["path"], [found["filename"]])
    return _findings(found, messages, measured=folders, threshold=1, related=related)


@check(
    "naming_inconsistency",
    "info",
    "Irregular names",
    "A name holds white space, non-ASCII or shell characters, spells its extension unlike the rest, "
    "or breaks a pattern that 90 % of its folder follows.",
)
def naming_inconsistency(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Irregular names of files and of class folders, and class folders that mix extensions; see ``naming``."""
    folders = table["path"].str.rpartition("/")[0].astype("str")
    problems = naming.naming_problems(table["filename"], folders)
    found = table[problems != ""]
    of_files = _findings(found, [f"Irregular name: {problem}." for problem in problems[found.index]])
    problems = _class_folder_problems(table)
    of_classes = _class_findings(problems, [f"Class folder: {problem}." for problem in problems])
    return pd.concat([of_files, of_classes])


@check("nested_folder", "info", "Nested folders", "The image lies in a folder inside its class folder.")
def nested_folder(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """The image's own folder is not the one that gives its label."""
    folders = table["path"].str.rpartition("/")[0]
    found = table[folders.str.rpartition("/")[2] != table["label"]]
    messages = [
        f"It lies in '{folder}', deeper than its class folder '{label}'."
        for folder, label in zip(folders[found.index], found["label"], strict=True)
    ]
    return _findings(found, messages)


@check(
    "grayscale",
    "info",
    "Grayscale among colour",
    "No colour (mean |R - G| + |G - B| below 0.6 of 255), in a set where most images have colour.",
)
def grayscale(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Images without colour where they are the minority; blank, dark and bright ones are reported as that."""
    readable = _readable(table)
    if readable["grayscale"].mean() > 0.5:
        return _findings(table[:0], [])
    explained = _is_dark(readable, thresholds) | _is_bright(readable, thresholds) | _is_flat(readable, thresholds)
    found = readable[readable["grayscale"] & ~explained]
    share = readable["grayscale"].mean()
    messages = [f"It has no colour ({mode}); {1 - share:.0%} of the images have." for mode in found["mode"]]
    return _findings(found, messages)


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


def _is_dark(table: pd.DataFrame, thresholds: Thresholds) -> pd.Series:
    return table["luma_p95"] < thresholds.dark_brightness


def _is_bright(table: pd.DataFrame, thresholds: Thresholds) -> pd.Series:
    return table["luma_p5"] > thresholds.bright_brightness


def _is_flat(table: pd.DataFrame, thresholds: Thresholds) -> pd.Series:
    flat = table["contrast"] < thresholds.low_contrast
    return flat & ~_is_dark(table, thresholds) & ~_is_bright(table, thresholds)


def _is_tiny(table: pd.DataFrame, thresholds: Thresholds) -> pd.Series:
    return table["error"].isna() & (table[["width_px", "height_px"]].min(axis=1) < thresholds.tiny_side_px)


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["error"].isna()]


def _readable_images(table: pd.DataFrame) -> pd.Series:
    """Return readable images per class folder, a class with none included, sorted by name."""
    return table["error"].isna().groupby(table["label"]).sum().sort_index()


def _class_folder_problems(table: pd.DataFrame) -> pd.Series:
    labels = pd.Series(sorted(table["label"].unique()), dtype="str")
    names = naming.odd_names(labels).set_axis(labels)
    extension = naming.extensions(table["filename"]).str.lower()
    families = extension.map(EXTENSIONS).fillna(extension)
    counts = families.groupby([table["label"], families]).size().rename("files").reset_index(level=1)
    mixed = counts[counts.groupby(level=0)["files"].transform("size") > 1].sort_values(
        "files", ascending=False, kind="stable"
    )
    mixtures = (mixed["files"].astype("str") + " " + mixed.iloc[:, 0].astype("str")).groupby(level=0).agg(", ".join)
    mixtures = "its files have extensions of different formats (" + mixtures + ")"
    both = [names[names != ""], mixtures]
    return pd.concat(both).groupby(level=0).agg("; ".join).sort_index()


def _another(paths: pd.Series, keys: list[pd.Series]) -> pd.Series:
    """Return for each member of a group its first member, and for the first one the second; rows lie in group order."""
    groups = paths.groupby(keys)
    return groups.transform("first").where(groups.cumcount() > 0, groups.shift(-1))


def _findings(
    found: pd.DataFrame,
    messages: list[str],
    *,
    measured: pd.Series | float = float("nan"),
    threshold: pd.Series | float = float("nan"),
    related: pd.Series | None = None,
    group: pd.Series | None = None,
) -> pd.DataFrame:
    findings = pd.DataFrame({"path": found["path"], "message": pd.Series(messages, index=found.index, dtype="str")})
    return findings.assign(measured=measured, threshold=threshold, related_path=related, group=group)


def _class_findings(
    by_class: pd.Series,
    messages: list[str],
    *,
    measured: pd.Series | float = float("nan"),
    threshold: float = float("nan"),
    related: pd.Series | None = None,
) -> pd.DataFrame:
    folders = pd.DataFrame({"path": by_class.index.astype("str")}, index=by_class.index)
    if related is not None:
        related = related.set_axis(by_class.index)
    return _findings(folders, messages, measured=measured, threshold=threshold, related=related)
