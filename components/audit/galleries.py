"""Pictures of what was found: a gallery per check, copies side by side, and a random sample."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pandas as pd

from components.audit.checks import CHECKS, Check, Thresholds
from components.copies.perceptual_hashes import ORIENTATIONS, Pixels, luma_square, oriented, thumbnails_of
from components.formats.findings import SEVERITIES
from components.report.shown_text import MESSAGE_CHARACTERS, number, shown
from components.report.thumbnails import Thumbnails

GALLERY_IMAGES = 12
GROUPS_SHOWN = 6
GROUP_IMAGES = 5

GROUP_CHECKS = frozenset(
    {"exact_duplicate", "identical_pixels", "near_duplicate", "conflicting_label", "near_conflicting_label"}
)
_NEAR = frozenset({"near_duplicate", "near_conflicting_label"})

_ORIENTATION_NAMES = (
    "",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180°",
    "mirrored along a diagonal",
    "turned by 90°",
    "turned by 90°",
    "mirrored along a diagonal",
)
_CLEARER = 0.1
"""A picture is said to be turned when it correlates better that way, by this much: many are nearly symmetric."""


def check_sections(
    findings: pd.DataFrame, measured: pd.DataFrame, thumbnails: Thumbnails, thresholds: Thresholds
) -> list[dict[str, Any]]:
    """Return what the page shows of each check, errors first, also of those that found nothing.

    Args:
        findings: All of them, in the order of ``run_checks``.
        measured: The catalog with its measurements, indexed by path.
        thumbnails: The pictures; the sections share their budget.
        thresholds: For the sentence that says when a check fires.
    """
    by_check = dict(list(findings.groupby("check", sort=False)))
    sections_left = len(by_check)
    sections = []
    for one in sorted(CHECKS, key=lambda one: SEVERITIES.index(one.severity)):
        found = by_check.get(one.name, findings[:0])
        if len(found):
            thumbnails.begin_section(sections_left)
            sections_left -= 1
        sections.append(_section(one, found, measured, thumbnails, thresholds))
    return sections


def random_sample(table: pd.DataFrame, thumbnails: Thumbnails, images: int, seed: int) -> list[dict[str, Any]]:
    """Return random readable images with what was measured in them, in the order of the catalog."""
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
        for row in readable.iloc[np.sort(picked)].to_dict("records")
    ]


def orientation_name(first: Pixels, second: Pixels) -> str:
    """Say how an image is turned or mirrored beside another of the same picture; empty when it is not.

    Args:
        first: uint8 ``[height, width, 3]``.
        second: Likewise, of any size.
    """
    squares = np.stack([luma_square(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)) for pixels in (first, second)])
    one, other = thumbnails_of(squares).astype(np.float64)
    turned = np.stack([oriented(one, turn).ravel() for turn in range(ORIENTATIONS)])
    products = (turned - turned.mean(axis=1, keepdims=True)) @ (other - other.mean()).ravel()
    correlations = products / max(one.size * one.std() * other.std(), 1e-9)
    best = int(correlations.argmax())
    return _ORIENTATION_NAMES[best] if correlations[best] > correlations[0] + _CLEARER else ""


def _section(
    one: Check, found: pd.DataFrame, measured: pd.DataFrame, thumbnails: Thumbnails, thresholds: Thresholds
) -> dict[str, Any]:
    section: dict[str, Any] = {
        "name": one.name,
        "severity": one.severity,
        "title": one.title,
        "rule": one.rule.format(**vars(thresholds)),
        "measures": one.measures.rstrip(":"),
        "count": len(found),
        "groups": [],
        "items": [],
        "left_out": 0,
    }
    if one.name in GROUP_CHECKS:
        groups = found.groupby("group", sort=True)
        names = sorted(found["group"].unique())[:GROUPS_SHOWN]
        section["groups"] = [_group(one, groups.get_group(name), measured, thumbnails) for name in names]
        section["left_out"] = max(0, groups.ngroups - GROUPS_SHOWN)
    else:
        section["items"] = [_item(row, measured, thumbnails) for row in found.head(GALLERY_IMAGES).to_dict("records")]
        section["left_out"] = max(0, len(found) - GALLERY_IMAGES)
    section["width"] = _width(section)
    return section


def _width(section: Mapping[str, Any]) -> str:
    """Return how many pictures wide a section is, which lets small ones stand side by side; empty for all the page."""
    if len(section["groups"]) == 1 and not section["left_out"]:
        pictures = max(2, len(section["groups"][0]["images"]))
    else:
        pictures = len(section["items"]) if all(item["is_image"] for item in section["items"]) else 0
    return {1: "one", 2: "two", 3: "three"}.get(pictures, "")


def _group(one: Check, members: pd.DataFrame, measured: pd.DataFrame, thumbnails: Thumbnails) -> dict[str, Any]:
    """Return a group of copies, first the one that the others are compared with."""
    references = members["related_path"].value_counts()
    compared = members.assign(references=members["path"].map(references).fillna(0))
    compared = compared.sort_values(["references", "path"], ascending=[False, True], kind="stable")
    rows = _spread_over_classes(compared, measured).to_dict("records")
    first = str(rows[0]["path"])
    images = []
    for row in rows[:GROUP_IMAGES]:
        path = str(row["path"])
        known = measured.loc[path]
        image = {
            "path": shown(path),
            "label": shown(str(known["label"]), 40),
            "thumbnail": thumbnails.of(path),
            "shape": f"{known['width_px']} x {known['height_px']} px, {known['size_bytes'] / 1000:,.1f} kB",
            "likeness": "",
        }
        if one.name in _NEAR and path != first:
            image["likeness"] = _likeness(row, first, path, thumbnails)
        images.append(image)
    classes = measured.loc[members["path"], "label"]
    return {
        "copies": len(members),
        "classes": [shown(name, 40) for name in sorted(classes.unique())[:GROUP_IMAGES]],
        "group": shown(str(rows[0]["group"]), 24),
        "images": images,
        "left_out": max(0, len(rows) - GROUP_IMAGES),
    }


def _spread_over_classes(members: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Bring one image of each class to the front, so that a conflict shows both its sides."""
    labels = members["path"].map(measured["label"])
    return members.assign(turn=labels.groupby(labels).cumcount()).sort_values("turn", kind="stable")


def _likeness(row: Mapping[Any, Any], first: str, path: str, thumbnails: Thumbnails) -> str:
    said = []
    if row["related_path"] == first:
        said.append(f"correlation {row['measured']:.3f} with the first")
    one, other = thumbnails.pixels(first), thumbnails.pixels(path)
    if one is not None and other is not None and (turned := orientation_name(one, other)):
        said.append(turned)
    return ", ".join(said)


def _item(finding: Mapping[Any, Any], measured: pd.DataFrame, thumbnails: Thumbnails) -> dict[str, Any]:
    path = str(finding["path"])
    is_image = path in measured.index
    return {
        "path": shown(path),
        "is_image": is_image,
        "thumbnail": thumbnails.of(path) if is_image else "",
        "measured": number(finding["measured"]),
        "threshold": number(finding["threshold"]),
        "message": shown(str(finding["message"]), MESSAGE_CHARACTERS),
    }
