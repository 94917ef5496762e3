"""What the report says, as numbers: the same facts that its page shows, as strict JSON."""

from typing import Any

import pandas as pd

from components.audit.checks import CHECKS, Thresholds
from components.audit.name_structure import name_structure
from components.formats.check_names import SHOWS_NOTHING
from components.formats.findings import SEVERITIES
from components.report.shown_text import counted

CLASSES_LISTED = 1000
SIZES_LISTED = 12
REASONS_LISTED = 20

COPY_CHECKS = ("exact_duplicate", "identical_pixels", "near_duplicate")
"""Of a group of these, cleaning keeps one by default."""

_MEASURED = ("brightness", "contrast", "blur", "entropy", "width_px", "height_px", "size_bytes")
_QUANTILES = {"least": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "most": 1.0}


def dataset_facts(
    table: pd.DataFrame, findings: pd.DataFrame, skipped: pd.DataFrame, thresholds: Thresholds
) -> dict[str, Any]:
    """Return the facts about a data set, strict JSON, at most a few hundred kilobytes.

    Args:
        table: The catalog with its measurements, one row per image.
        findings: What ``run_checks`` found in it.
        skipped: Files of the source that are not in the archive, ``SKIPPED_COLUMNS``.
        thresholds: What the checks compared with.
    """
    readable = table[table["error"].isna()]
    classes = _classes(table, findings)
    return {
        "verdict": verdict(table, findings),
        "default_cleaning": default_cleaning(table, findings),
        "checks": _checks(findings),
        "classes": classes[:CLASSES_LISTED],
        "classes_left_out": max(0, len(classes) - CLASSES_LISTED),
        "sizes": _sizes(readable),
        "measured": {name: _quantiles(readable[name]) for name in _MEASURED} if len(readable) else {},
        "contents": _contents(readable),
        "names": name_structure(table),
        "skipped": _skipped(skipped),
        "thresholds": dict(vars(thresholds)),
    }


def verdict(table: pd.DataFrame, findings: pd.DataFrame) -> dict[str, Any]:
    """Return what the data set amounts to: a tone, a sentence, and counts of images by their worst finding."""
    of_images = findings[findings["path"].isin(table["path"])]
    with_errors = set(of_images.loc[of_images["severity"] == "error", "path"])
    with_warnings = set(of_images.loc[of_images["severity"] == "warning", "path"]) - with_errors
    images, errors, doubtful = len(table), len(with_errors), len(with_warnings)
    clean = images - errors - doubtful
    counts = {severity: int((findings["severity"] == severity).sum()) for severity in SEVERITIES}
    if errors:
        tone = "bad"
        sentence = f"{counted(errors, 'image')} of {images:,} must not be trained on"
        sentence += f", and a person or a cleaning policy should decide about {doubtful:,} more." if doubtful else "."
    elif doubtful:
        tone = "warn"
        sentence = (
            f"No image is unusable; a person or a cleaning policy should decide about {doubtful:,} of {images:,}."
        )
    else:
        tone = "good"
        whom = "this image" if images == 1 else f"all {images:,} images"
        sentence = f"Nothing speaks against training on {whom}."
    if errors or doubtful:
        verb = "has" if clean == 1 else "have"
        sentence += f" {counted(clean, 'image')} ({_share(clean, images)}) {verb} neither error nor warning."
    of_classes = findings[~findings["path"].isin(table["path"]) & (findings["severity"] == "warning")]
    about_classes = of_classes["path"].nunique()
    if about_classes:
        sentence += f" {counted(about_classes, 'class needs', 'classes need')} attention."
    unread = int((findings["check"] == "unread_file").sum())
    if unread:
        tone = "bad"
        sentence += f" {counted(unread, 'file')} of the source could not be read and had to be left out."
    return {
        "tone": tone,
        "sentence": sentence,
        "images": images,
        "classes": int(table["label"].nunique()),
        "clean": clean,
        "with_errors": errors,
        "with_warnings_only": doubtful,
    } | counts


def default_cleaning(table: pd.DataFrame, findings: pd.DataFrame) -> dict[str, int]:
    """Return how many images the default cleaning policy keeps, and how many it drops for which kind of reason.

    An image counts where the first reason applies: errors, then that it shows nothing, then that a copy is kept.
    """
    of_images = findings[findings["path"].isin(table["path"])]
    errors = set(of_images.loc[of_images["severity"] == "error", "path"])
    nothing = set(of_images.loc[of_images["check"].isin(SHOWS_NOTHING), "path"]) - errors
    copies = of_images[of_images["check"].isin(COPY_CHECKS) & ~of_images["path"].isin(errors | nothing)]
    spare = copies["path"].nunique() - _groups(copies)
    kept = len(table) - len(errors) - len(nothing) - spare
    return {"kept": kept, "with_errors": len(errors), "shows_nothing": len(nothing), "spare_copies": spare}


def _groups(copies: pd.DataFrame) -> int:
    """Return how many sets of copies there are when groups that share an image are one."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    # A path and a group never have the same name here.
    for path, group in zip("path " + copies["path"], "group " + copies["group"].astype("str"), strict=True):
        parent[root(path)] = root(group)
    return len({root(name) for name in list(parent)})


def _checks(findings: pd.DataFrame) -> list[dict[str, Any]]:
    counts = findings.groupby("check")["path"].agg(["size", "nunique"])
    findings_of, affected = counts["size"].to_dict(), counts["nunique"].to_dict()
    return [
        {
            "name": one.name,
            "severity": one.severity,
            "title": one.title,
            "findings": int(findings_of.get(one.name, 0)),
            "affected": int(affected.get(one.name, 0)),
        }
        for one in CHECKS
    ]


def _classes(table: pd.DataFrame, findings: pd.DataFrame) -> list[dict[str, Any]]:
    frame = pd.DataFrame({"label": table["label"], "folder": table["path"].str.rpartition("/")[0]})
    frame["readable"] = table["error"].isna()
    frame["bytes"] = table["size_bytes"]
    for severity in SEVERITIES:
        paths = findings.loc[findings["severity"] == severity, "path"]
        frame[f"with_{severity}"] = table["path"].isin(paths)
    labels = frame.groupby("label")
    summed = labels[["readable", "bytes", *(f"with_{severity}" for severity in SEVERITIES)]].sum()
    summed = summed.assign(images=labels.size(), folders=labels["folder"].nunique())
    summed = summed.reset_index().sort_values(["images", "label"], ascending=[False, True])
    return [
        {str(name): value if name == "label" else int(value) for name, value in row.items()}
        for row in summed.to_dict("records")
    ]


def _sizes(readable: pd.DataFrame) -> dict[str, Any]:
    counts = readable.groupby(["width_px", "height_px"]).size().rename("images").reset_index()
    counts = counts.sort_values(["images", "width_px", "height_px"], ascending=[False, True, True])
    rows = [
        {"width_px": int(width), "height_px": int(height), "images": int(images)}
        for width, height, images in counts.head(SIZES_LISTED).itertuples(index=False)
    ]
    return {"rows": rows, "distinct": len(counts), "left_out": max(0, len(counts) - SIZES_LISTED)}


def _quantiles(values: pd.Series) -> dict[str, float]:
    found = values.astype("float64").quantile(list(_QUANTILES.values())).fillna(0.0)
    return {name: round(float(value), 4) for name, value in zip(_QUANTILES, found, strict=True)}


def _contents(readable: pd.DataFrame) -> dict[str, Any]:
    kinds = (readable["format"] + " " + readable["mode"]).value_counts().sort_index(kind="stable")
    kinds = kinds.sort_values(ascending=False, kind="stable")
    stored_gray = readable["mode"].isin(["1", "L", "LA", "I;16"])
    gray = readable["grayscale"]
    return {
        "formats": {str(kind): int(count) for kind, count in kinds.items()},
        "colour": int((~gray).sum()),
        "gray_one_channel": int((gray & stored_gray).sum()),
        "gray_stored_as_colour": int((gray & ~stored_gray).sum()),
    }


def _skipped(skipped: pd.DataFrame) -> list[dict[str, Any]]:
    rows = skipped.groupby("reason")["path"].agg(["size", "min"]).reset_index()
    rows = rows.sort_values(["size", "reason"], ascending=[False, True]).head(REASONS_LISTED)
    return [
        {"reason": reason, "files": int(files), "example": example}
        for reason, files, example in rows.itertuples(index=False)
    ]


def _share(part: int, whole: int) -> str:
    """Return a percentage that says 100 % only of all and 0 % only of none."""
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "less than 1%"
    return "over 99%" if 99 < percent < 100 else f"{percent:.0f}%"
