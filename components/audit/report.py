"""The report: one page that says what is in the data, what is wrong with it, and shows it."""

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from components.audit import distributions, naming
from components.audit.checks import CHECKS, Check, Thresholds
from components.audit.decoding import EXTENSIONS
from components.audit.thumbnails import Thumbnails
from components.formats.findings import SEVERITIES
from components.formats.image_archive import ArchiveReader
from components.report.page import write_page

GALLERY_IMAGES = 12
GROUPS_SHOWN = 6
GROUP_IMAGES = 5
TABLE_ROWS = 500
FOLDERS_SHOWN = 40
SIZES_LISTED = 12
NAME_CHARACTERS = 96
MESSAGE_CHARACTERS = 320

# What turns the direction of the text around it, so that exe.gpj reads jpg.exe (Unicode standard annex 9).
_DIRECTION_MARKS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_GROUP_CHECKS = {
    "exact_duplicate",
    "identical_pixels",
    "near_duplicate",
    "conflicting_label",
    "near_conflicting_label",
}


def write_report(
    destination: Path,
    table: pd.DataFrame,
    findings: pd.DataFrame,
    thresholds: Thresholds,
    *,
    reader: ArchiveReader,
    skipped: pd.DataFrame,
    sample_images: int,
    seed: int,
) -> None:
    """Write the page, below 5 MB whatever the data set.

    Args:
        destination: HTML file to write.
        table: The catalog with its measurements, one row per image.
        findings: What ``run_checks`` found in it.
        thresholds: What the checks compared with.
        reader: Open reader of the archive, for thumbnails.
        skipped: Files of the source that are not in the archive, ``SKIPPED_COLUMNS``.
        sample_images: How many random images to show.
        seed: Of the random images.
    """
    thumbnails = Thumbnails(reader, table)
    measured = table.set_index("path")
    write_page(
        destination,
        Path(__file__).parent,
        "report.html",
        verdict=verdict(table, findings),
        charts=_charts(table, findings, thresholds),
        classes_drawn=distributions.CLASSES_SHOWN,
        classes_left_out=max(0, table["label"].nunique() - distributions.CLASSES_SHOWN),
        sizes=_unique_sizes(table),
        folders=_folders(table, findings),
        folders_left_out=max(0, table["label"].nunique() - FOLDERS_SHOWN),
        extensions=_extensions(table),
        skipped=_skip_reasons(skipped),
        checks=[_check_section(one, findings, measured, thumbnails, thresholds) for one in CHECKS],
        sample=_sample(table, thumbnails, sample_images, seed),
        seed=seed,
        rows=[_table_row(row) for row in _records(findings.head(TABLE_ROWS))],
        rows_left_out=max(0, len(findings) - TABLE_ROWS),
        findings=len(findings),
    )


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
        sentence = f"{_images(errors)} of {images:,} must not be trained on"
        sentence += f", and a person or a cleaning policy should decide about {doubtful:,} more." if doubtful else "."
    elif doubtful:
        tone = "warn"
        sentence = (
            f"No image is unusable; a person or a cleaning policy should decide about {doubtful:,} of {images:,}."
        )
    else:
        tone, sentence = (
            "good",
            f"Nothing speaks against training on {'this image' if images == 1 else f'all {images:,} images'}.",
        )
    if errors or doubtful:
        sentence += (
            f" {_images(clean)} ({clean / images:.0%}) {'has' if clean == 1 else 'have'} neither error nor warning."
        )
    about_classes = findings[~findings["path"].isin(table["path"]) & (findings["severity"] == "warning")][
        "path"
    ].nunique()
    if about_classes:
        sentence += f" {about_classes:,} {'class needs' if about_classes == 1 else 'classes need'} attention."
    classes = int(table["label"].nunique())
    return {"tone": tone, "sentence": sentence, "images": images, "classes": classes, "clean": clean} | counts


def shown(name: str, limit: int = NAME_CHARACTERS) -> str:
    """Return a name as it can safely be looked at: control and direction marks made visible, the middle cut if long."""
    visible = "".join(_visible(character) for character in name)
    if len(visible) <= limit:
        return visible
    tail = limit // 2
    return f"{visible[: limit - tail - 1]}…{visible[-tail:]}"


def _visible(character: str) -> str:
    if character in _DIRECTION_MARKS or unicodedata.category(character) in {"Cc", "Cs"}:
        return f"⟨{ord(character):04X}⟩"
    return character


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


def _images(count: int) -> str:
    return f"{count:,} {'image' if count == 1 else 'images'}"


def _charts(table: pd.DataFrame, findings: pd.DataFrame, thresholds: Thresholds) -> Mapping[str, Markup]:
    charts = {"classes": distributions.class_chart(_classes(table, findings))}
    readable = table[table["error"].isna()]
    if readable.empty:
        return charts
    odd = findings[findings["check"].isin(["tiny", "size_outlier", "aspect_outlier"])]
    is_odd = readable["path"].isin(odd["path"])
    stored = readable["mode"].isin(["1", "L", "LA", "I;16"])
    gray = readable["grayscale"]
    colours = {
        "colour": (~gray).sum(),
        "gray, one channel": (gray & stored).sum(),
        "gray, stored as colour": (gray & ~stored).sum(),
    }
    return charts | {
        "dimensions": distributions.dimensions_chart(readable, is_odd, thresholds),
        "aspect": distributions.aspect_chart(readable, thresholds),
        "brightness": distributions.brightness_chart(readable, thresholds),
        "contrast": distributions.contrast_chart(readable, thresholds),
        "colours": distributions.counts_chart(pd.Series(colours), "Colour"),
        "formats": distributions.counts_chart(
            (readable["format"] + " " + readable["mode"]).value_counts(sort=True).head(6), "Formats and modes"
        ),
    }


def _classes(table: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    errors = findings.loc[findings["severity"] == "error", "path"]
    unusable = table["path"].isin(errors).groupby(table["label"]).sum()
    images = table.groupby("label").size()
    classes = pd.DataFrame({"usable": images - unusable, "unusable": unusable, "images": images})
    classes = classes.sort_values("images", ascending=False, kind="stable")
    return classes.set_axis([shown(label, 32) for label in classes.index])


def _unique_sizes(table: pd.DataFrame) -> dict[str, Any]:
    readable = table[table["error"].isna()]
    counts = readable.groupby(["width_px", "height_px"]).size().sort_values(ascending=False, kind="stable")
    rows = _records(counts.head(SIZES_LISTED).rename("images").reset_index())
    for row in rows:
        row |= {"aspect": f"{row['width_px'] / row['height_px']:.2f}", "share": row["images"] / len(readable)}
    return {"rows": rows, "distinct": len(counts), "left_out": max(0, len(counts) - SIZES_LISTED)}


def _folders(table: pd.DataFrame, findings: pd.DataFrame) -> list[dict[str, Any]]:
    labels = table["label"]
    folders = table["path"].str.rpartition("/")[0]
    frame = pd.DataFrame({"label": labels, "folder": folders, "extension": naming.extensions(table["filename"])})
    frame["readable"] = table["error"].isna()
    frame["bytes"] = table["size_bytes"]
    for severity in SEVERITIES:
        paths = findings.loc[findings["severity"] == severity, "path"]
        frame[severity] = table["path"].isin(paths)
    summed = frame.groupby("label")[["readable", "bytes", *SEVERITIES]].sum()
    summed["images"] = frame.groupby("label").size()
    summed["folders"] = frame.groupby("label")["folder"].nunique()
    summed["extensions"] = frame.groupby("label")["extension"].agg(lambda written: ", ".join(sorted(set(written))[:6]))
    summed = summed.sort_values("images", ascending=False, kind="stable").head(FOLDERS_SHOWN)
    return [
        row | {"name": shown(row["label"]), "extensions": shown(row["extensions"]), "megabytes": row["bytes"] / 1e6}
        for row in _records(summed.reset_index())
    ]


def _extensions(table: pd.DataFrame) -> list[dict[str, Any]]:
    written = naming.extensions(table["filename"])
    counts = pd.DataFrame({"extension": written, "format": table["format"].fillna("unreadable")}).value_counts()
    rows = (
        counts.rename("images")
        .reset_index()
        .sort_values(["images", "extension", "format"], ascending=[False, True, True])
    )
    return [
        row
        | {
            "extension": shown(row["extension"] or "none"),
            "fits": EXTENSIONS.get(row["extension"].lower()) == row["format"],
        }
        for row in _records(rows.head(12))
    ]


def _skip_reasons(skipped: pd.DataFrame) -> list[dict[str, Any]]:
    rows = (
        skipped.groupby("reason")["path"]
        .agg(["size", "min"])
        .reset_index()
        .sort_values(["size", "reason"], ascending=[False, True])
    )
    return [
        {"reason": shown(row["reason"], MESSAGE_CHARACTERS), "files": row["size"], "example": shown(row["min"])}
        for row in _records(rows.head(20))
    ]


def _check_section(
    one: Check, findings: pd.DataFrame, measured: pd.DataFrame, thumbnails: Thumbnails, thresholds: Thresholds
) -> dict[str, Any]:
    found = findings[findings["check"] == one.name]
    section: dict[str, Any] = {
        "name": one.name,
        "severity": one.severity,
        "title": one.title,
        "rule": one.rule.format(**vars(thresholds)),
        "measures": one.measures,
        "count": len(found),
        "groups": [],
        "items": [],
    }
    if one.name in _GROUP_CHECKS:
        groups = found.groupby("group", sort=True)
        section["groups"] = [_group(str(md5), members, thumbnails) for md5, members in list(groups)[:GROUPS_SHOWN]]
        section["left_out"] = max(0, groups.ngroups - GROUPS_SHOWN)
    else:
        section["items"] = [_item(row, measured, thumbnails) for row in _records(found.head(GALLERY_IMAGES))]
        section["left_out"] = max(0, len(found) - GALLERY_IMAGES)
    return section


def _group(md5: str, members: pd.DataFrame, thumbnails: Thumbnails) -> dict[str, Any]:
    paths = members["path"].tolist()
    images = [{"path": shown(path), "thumbnail": thumbnails.of(path)} for path in paths[:GROUP_IMAGES]]
    message = shown(members["message"].iloc[0], MESSAGE_CHARACTERS)
    return {"md5": md5, "message": message, "images": images, "left_out": max(0, len(paths) - GROUP_IMAGES)}


def _item(finding: Mapping[str, Any], measured: pd.DataFrame, thumbnails: Thumbnails) -> dict[str, Any]:
    path = finding["path"]
    is_image = path in measured.index
    return {
        "path": shown(path),
        "is_image": is_image,
        "thumbnail": thumbnails.of(path) if is_image else "",
        "measured": _number(finding["measured"]),
        "threshold": _number(finding["threshold"]),
        "message": shown(finding["message"], MESSAGE_CHARACTERS),
    }


def _sample(table: pd.DataFrame, thumbnails: Thumbnails, images: int, seed: int) -> list[dict[str, Any]]:
    readable = table[table["error"].isna()]
    picked = np.random.default_rng(seed).choice(len(readable), min(images, len(readable)), replace=False)
    return [
        {
            "path": shown(row["path"]),
            "label": shown(row["label"], 40),
            "thumbnail": thumbnails.of(row["path"]),
            "shape": f"{row['width_px']} x {row['height_px']} {row['mode']}",
            "brightness": f"{row['brightness']:.0f}",
            "contrast": f"{row['contrast']:.0f}",
        }
        for row in _records(readable.iloc[np.sort(picked)])
    ]


def _table_row(finding: Mapping[str, Any]) -> dict[str, str]:
    related = finding["related_path"]
    return {
        "severity": finding["severity"],
        "rank": str(SEVERITIES.index(finding["severity"])),
        "check": finding["check"],
        "path": shown(finding["path"]),
        "measured": _number(finding["measured"]),
        "threshold": _number(finding["threshold"]),
        "message": shown(finding["message"], MESSAGE_CHARACTERS),
        "related": "" if pd.isna(related) else shown(related),
    }


def _number(value: float) -> str:
    """Return a value with as many digits as a person wants to see; empty when there is none."""
    if pd.isna(value):
        return ""
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
