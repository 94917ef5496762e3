"""The report: one page that says what is in the data, what is wrong with it, and shows it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from components.audit import distributions
from components.audit.checks import CHECKS, Thresholds
from components.audit.decoding import decode_what_is_there
from components.audit.galleries import check_sections, random_sample
from components.formats.findings import SEVERITIES
from components.formats.image_archive import ArchiveReader
from components.report.page import write_page
from components.report.shown_text import MESSAGE_CHARACTERS, number, shown
from components.report.thumbnails import Thumbnails

TABLE_ROWS = 1000
TABLE_CHARACTERS = 600_000
CLASS_ROWS = 250
CLASS_CHOICES = 250

_OF_FILES_LEFT_OUT = {one.name for one in CHECKS if one.about == "skipped"}
_MEASURED = {
    "width_px": "width, px",
    "height_px": "height, px",
    "size_bytes": "file, kB",
    "brightness": "brightness, mean luma",
    "contrast": "contrast, deviation of luma",
    "blur": "blur, share of detail left",
    "entropy": "information, bits",
}


def write_report(
    destination: Path,
    table: pd.DataFrame,
    findings: pd.DataFrame,
    thresholds: Thresholds,
    facts: Mapping[str, Any],
    *,
    reader: ArchiveReader,
    sample_images: int,
    seed: int,
) -> None:
    """Write the page, below 5 MB whatever the data set.

    Args:
        destination: HTML file to write.
        table: The catalog with its measurements, one row per image.
        findings: What ``run_checks`` found in it.
        thresholds: What the checks compared with.
        facts: ``dataset_facts`` of all this.
        reader: Open reader of the archive, for thumbnails.
        sample_images: How many random images to show.
        seed: Of the random images.
    """
    thumbnails = Thumbnails(reader, table, decode_what_is_there)
    measured = table.set_index("path")
    thumbnails.begin_section(3)  # a third for the sample, the rest for what was found
    sample = random_sample(table, thumbnails, sample_images, seed)
    sections = check_sections(findings, measured, thumbnails, thresholds)
    rows = _table_rows(findings, measured["label"])
    classes = facts["classes"]
    write_page(
        destination,
        Path(__file__).parent,
        "report.html",
        verdict=facts["verdict"],
        cleaning=_cleaning_sentence(facts["default_cleaning"], facts["verdict"]["images"]),
        charts=_charts(table, findings, thresholds, facts),
        sizes=_sizes(facts),
        measured=_measured(facts["measured"]),
        classes=[_class_row(row) for row in classes[:CLASS_ROWS]],
        classes_left_out=facts["verdict"]["classes"] - len(classes[:CLASS_ROWS]),
        names=_names(facts["names"]),
        skipped=_skipped(facts["skipped"]),
        checks_by_severity=sections,
        sample=sample,
        seed=seed,
        rows=rows,
        row_choices=_choices(rows, findings),
        findings=len(findings),
    )


def _cleaning_sentence(cleaning: Mapping[str, int], images: int) -> str:
    """Say what the default cleaning policy would do; it is the policy of a run that decides."""
    reasons = {
        "with an error": cleaning["with_errors"],
        "too dark, bright, blank or tiny to show anything": cleaning["shows_nothing"],
        "spare copies of another": cleaning["spare_copies"],
    }
    dropped = images - cleaning["kept"]
    if not dropped:
        return "With its default policy, cleaning keeps every image."
    parts = [f"{count:,} {reason}" for reason, count in reasons.items() if count]
    return (
        f"With its default policy, cleaning keeps {cleaning['kept']:,} of {images:,} images and leaves out "
        f"{dropped:,}: {', '.join(parts)}. Nothing is deleted."
    )


def _charts(
    table: pd.DataFrame, findings: pd.DataFrame, thresholds: Thresholds, facts: Mapping[str, Any]
) -> Mapping[str, Markup]:
    charts = {"classes": distributions.class_chart(_class_counts(table, findings))}
    readable = table[table["error"].isna()]
    if readable.empty:
        return charts
    odd = findings[findings["check"].isin(["tiny", "size_outlier", "aspect_outlier"])]
    contents = facts["contents"]
    colours = {
        "colour": contents["colour"],
        "gray, one channel": contents["gray_one_channel"],
        "gray, stored as colour": contents["gray_stored_as_colour"],
    }
    formats = pd.Series(contents["formats"])
    return charts | {
        "dimensions": distributions.dimensions_chart(readable, readable["path"].isin(odd["path"]), thresholds),
        "aspect": distributions.aspect_chart(readable, thresholds),
        "brightness": distributions.brightness_chart(readable, thresholds),
        "contrast": distributions.contrast_chart(readable, thresholds),
        "sharpness": distributions.sharpness_chart(readable, thresholds),
        "information": distributions.information_chart(readable, thresholds),
        "colours": distributions.counts_chart(pd.Series(colours), "Colour"),
        "formats": distributions.counts_chart(formats.head(6), "Formats and pixel modes"),
    }


def _class_counts(table: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    errors = findings.loc[findings["severity"] == "error", "path"]
    unusable = table["path"].isin(errors).groupby(table["label"]).sum()
    images = table.groupby("label").size()
    classes = pd.DataFrame({"usable": images - unusable, "unusable": unusable, "images": images})
    classes = classes.sort_values("images", ascending=False, kind="stable")
    return classes.set_axis([shown(label, 32) for label in classes.index])


def _sizes(facts: Mapping[str, Any]) -> dict[str, Any]:
    readable = sum(facts["contents"]["formats"].values())
    rows = [
        row | {"aspect": f"{row['width_px'] / row['height_px']:.2f}", "share": _share(row["images"] / readable)}
        for row in facts["sizes"]["rows"]
    ]
    return {**facts["sizes"], "rows": rows}


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def _measured(quantiles: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    scale = {"size_bytes": 1000}
    return [
        {"name": name, "values": [number(value / scale.get(key, 1)) for value in quantiles[key].values()]}
        for key, name in _MEASURED.items()
        if key in quantiles
    ]


def _class_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "name": shown(row["label"]), "megabytes": row["bytes"] / 1e6}


def _names(names: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **names,
        "extensions": [row | {"extension": shown(row["extension"] or "none", 24)} for row in names["extensions"]],
        "patterns": [
            row | {"pattern": shown(row["pattern"], 32), "example": shown(row["example"], 48)}
            for row in names["patterns"]
        ],
        "series": [
            row | {"folder": shown(row["folder"] or ".", 48), "name": shown(row["name"], 32), "gaps": _gaps(row)}
            for row in names["series"]
        ],
    }


def _gaps(series: Mapping[str, Any]) -> str:
    if not series["missing"]:
        return "none"
    if series["missing"] > series["images"]:
        return f"{series['missing']:,}: not numbered one by one"
    spans = [f"{first}" if first == last else f"{first} to {last}" for first, last in series["gaps"]]
    named = sum(last - first + 1 for first, last in series["gaps"])
    return ", ".join(spans) + (f" and {series['missing'] - named:,} more" if named < series["missing"] else "")


def _skipped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        row | {"reason": shown(row["reason"], MESSAGE_CHARACTERS), "example": shown(row["example"])} for row in rows
    ]


def _table_rows(findings: pd.DataFrame, labels: pd.Series) -> list[dict[str, str]]:
    """Return rows of the table of findings, of every check some, as many as the page has room for."""
    turn = findings.groupby("check").cumcount()
    chosen = findings.assign(label=findings["path"].map(labels)).iloc[turn.argsort(kind="stable")].head(TABLE_ROWS)
    rows: dict[int, dict[str, str]] = {}
    room = TABLE_CHARACTERS
    for place, finding in zip(chosen.index, chosen.to_dict("records"), strict=True):
        row = _table_row({str(name): value for name, value in finding.items()})
        room -= sum(len(escape(value).encode()) for value in row.values()) + 200  # and the tags around them
        if room < 0:
            break
        rows[int(place)] = row
    return [rows[place] for place in sorted(rows)]


def _table_row(finding: Mapping[str, Any]) -> dict[str, str]:
    related, label = finding["related_path"], finding["label"]
    # A finding about a class is about the class of its own name.
    label = finding["path"] if pd.isna(label) and finding["check"] not in _OF_FILES_LEFT_OUT else label
    return {
        "severity": finding["severity"],
        "rank": str(SEVERITIES.index(finding["severity"])),
        "check": finding["check"],
        "label": "" if pd.isna(label) else shown(label, 40),
        "path": shown(finding["path"]),
        "measured": number(finding["measured"]),
        "threshold": number(finding["threshold"]),
        "message": shown(finding["message"], MESSAGE_CHARACTERS),
        "related": "" if pd.isna(related) else shown(related),
    }


def _choices(rows: list[dict[str, str]], findings: pd.DataFrame) -> dict[str, list[tuple[str, str]]]:
    """Return what the table can be narrowed to, by column: the value in the table and the words for it."""
    totals = findings["check"].value_counts()
    of_checks = dict.fromkeys(row["check"] for row in rows)
    severities = {row["rank"]: row["severity"] for row in rows}
    labels = sorted({row["label"] for row in rows if row["label"]})
    return {
        "severities": sorted(severities.items()),
        "checks": [(name, f"{name} ({totals[name]:,})") for name in of_checks],
        "classes": [(name, name) for name in labels[:CLASS_CHOICES]],
    }
