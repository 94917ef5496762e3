"""The page about the embedding audit: whose label is doubted, who shows the same as whom, and who belongs nowhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from components.audit_embeddings.embedding_settings import EmbeddingSettings
from components.audit_embeddings.image_squares import shown_pixels
from components.audit_embeddings.outcome import Outcome
from components.audit_embeddings.outliers import LEAST_CLASS_IMAGES, NEIGHBOURS
from components.formats.image_archive import ArchiveReader
from components.label_errors.confident_learning import FOLDS, LEAST_CLASS_GROUPS
from components.report.page import write_page
from components.report.shown_text import MESSAGE_CHARACTERS, number, shown
from components.report.thumbnails import Thumbnails

IMAGES_SHOWN = 36
GROUPS_SHOWN = 18
GROUP_IMAGES = 6
TABLE_ROWS = 500
CLASS_ROWS = 250
UNDECODABLE_SHOWN = 20

_SECTIONS = 3


def write_report(
    destination: Path,
    catalog: pd.DataFrame,
    findings: pd.DataFrame,
    outcome: Outcome,
    settings: EmbeddingSettings,
    reader: ArchiveReader,
) -> None:
    """Write the page, below 5 MB whatever the data set.

    Args:
        destination: HTML file to write.
        catalog: Of the archive.
        findings: Those of the embedding audit alone.
        outcome: What it came to.
        settings: How it looked.
        reader: Open reader of the archive, for thumbnails.
    """
    thumbnails = Thumbnails(reader, catalog, shown_pixels)
    by_check = dict(list(findings.groupby("check")))
    nothing = findings[:0]
    of_images = dict(zip(catalog["path"], catalog["label"], strict=True))
    looked_at = outcome.looked_at
    suggested = dict(
        zip(looked_at["path"], zip(looked_at["suggested"], looked_at["confidence"], strict=True), strict=True)
    )
    thumbnails.begin_section(_SECTIONS)
    wrong = by_check.get("label_error", nothing).sort_values("measured", kind="stable")
    label_errors = [
        _item(row, of_images, thumbnails)
        | {
            "suggested": shown(suggested[row["path"]][0], 40),
            "sure": f"{suggested[row['path']][1]:.2f}",
        }
        for row in _rows(wrong.head(IMAGES_SHOWN))
    ]
    thumbnails.begin_section(_SECTIONS - 1)
    groups = _groups(by_check.get("semantic_duplicate", nothing), of_images, thumbnails)
    thumbnails.begin_section(_SECTIONS - 2)
    outliers = by_check.get("embedding_outlier", nothing)
    excess = (outliers["measured"] / outliers["threshold"]).sort_values(ascending=False, kind="stable")
    classes = outcome.classes()
    write_page(
        destination,
        Path(__file__).parent,
        "report.html",
        outcome=outcome,
        settings=settings,
        backbone=shown(settings.backbone, 40),
        weights=shown(settings.weights),
        folds=FOLDS,
        least_groups=LEAST_CLASS_GROUPS,
        least_images=LEAST_CLASS_IMAGES,
        neighbours=NEIGHBOURS,
        tone="warn" if len(findings) else "good",
        label_errors=label_errors,
        groups=groups[:GROUPS_SHOWN],
        group_count=_group_count(by_check.get("semantic_duplicate", nothing)),
        outliers=[_item(row, of_images, thumbnails) for row in _rows(outliers.loc[excess.index[:IMAGES_SHOWN]])],
        classes=[row | {"label": shown(row["label"], 40)} for row in classes[:CLASS_ROWS]],
        classes_left_out=max(0, len(classes) - CLASS_ROWS),
        class_pairs=[
            {name: shown(value, 40) if isinstance(value, str) else value for name, value in row.items()}
            for row in outcome.class_pairs()
        ],
        undecodable=[
            (shown(path), shown(why, MESSAGE_CHARACTERS))
            for path, why in list(outcome.undecodable.items())[:UNDECODABLE_SHOWN]
        ],
        rows=[_table_row(row, of_images) for row in _rows(findings.head(TABLE_ROWS))],
        findings=len(findings),
    )


def _rows(findings: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in findings.to_dict("records")]


def _item(finding: Mapping[str, Any], labels: Mapping[str, str], thumbnails: Thumbnails) -> dict[str, str]:
    return {
        "path": shown(finding["path"]),
        "label": shown(labels[finding["path"]], 40),
        "thumbnail": thumbnails.of(finding["path"]),
        "measured": number(finding["measured"]),
        "threshold": number(finding["threshold"]),
    }


def _groups(found: pd.DataFrame, labels: Mapping[str, str], thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Return groups to show, those under several labels first, and then the most alike."""
    if found.empty:
        return []
    of_groups = found.assign(label=found["path"].map(labels)).groupby("group")
    order = pd.DataFrame({"labels": of_groups["label"].nunique(), "measured": of_groups["measured"].max()})
    order = order.sort_values(["labels", "measured"], ascending=False, kind="stable").head(GROUPS_SHOWN)
    return [_group(of_groups.get_group(name), labels, thumbnails) for name in order.index]


def _group(members: pd.DataFrame, labels: Mapping[str, str], thumbnails: Thumbnails) -> dict[str, Any]:
    # The head first: it is the one that the others refer to.
    references = members["path"].map(members["related_path"].value_counts()).fillna(0)
    members = members.assign(references=references).sort_values("references", ascending=False, kind="stable")
    return {
        "images": [_item(row, labels, thumbnails) for row in _rows(members.head(GROUP_IMAGES))],
        "size": len(members),
        "labels": [shown(label, 40) for label in sorted(members["path"].map(labels).unique())[:GROUP_IMAGES]],
        "left_out": max(0, len(members) - GROUP_IMAGES),
    }


def _group_count(found: pd.DataFrame) -> int:
    return int(found["group"].nunique())


def _table_row(finding: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, str]:
    related = finding["related_path"]
    return {
        "check": finding["check"],
        "label": shown(labels[finding["path"]], 40),
        "path": shown(finding["path"]),
        "measured": number(finding["measured"]),
        "threshold": number(finding["threshold"]),
        "message": shown(finding["message"], MESSAGE_CHARACTERS),
        "related": "" if pd.isna(related) else shown(related),
    }
