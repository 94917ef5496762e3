"""Decisions: the catalog with what the cleaning decided for each image, and why. Nothing is deleted.

The folder:

    decisions/
      catalog.parquet   CATALOG_COLUMNS, DECISION_COLUMNS, DETAIL_COLUMNS; exactly one row per catalog row, same order
      reasons.parquet   REASON_COLUMNS; one row per image and check, or list, that has something to say about it
      changes.parquet   CHANGE_COLUMNS; what differs from an earlier cleaning, when one was compared with
      policy.json       what was decided by: the action of each check, and the entries of both lists
      dropped.txt       every dropped image with its reasons, as a file that allow_list takes
"""

import glob
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from components.formats.image_archive import read_catalog, write_catalog

REASONS_FILE = "reasons.parquet"
CHANGES_FILE = "changes.parquet"
POLICY_FILE = "policy.json"
DROPPED_FILE = "dropped.txt"

DECISION_COLUMNS: Mapping[str, str] = {
    "keep": "bool",
    "reasons": "str",  # checks that decided, comma separated, empty when none did
    "kept_twin": "str",  # path of the copy that was kept in this one's place, missing otherwise
    "duplicate_group": "str",  # copies share it and must stay in one split; missing for an image without copies
}
"""What later steps read."""

IMAGE_ACTIONS = ("keep", "fix", "drop", "quarantine")
"""keep: as it is. fix: kept, and mended while split prepares it. drop: not trained on. quarantine: not trained on until
a person says which label is right. Each image has exactly one."""

DETAIL_COLUMNS: Mapping[str, str] = {
    "action": "str",  # one of IMAGE_ACTIONS
    "check": "str",  # the first of the checks that decided, missing when none did
    "measured": "float64",  # what that check compared, NaN where it is not numeric
    "threshold": "float64",  # with what, NaN likewise
    "fixes": "str",  # checks whose remedy is applied to the image, comma separated, empty when none is
}
"""What a person reads."""

REASON_EFFECTS = ("drop", "quarantine", "fix", "warn", "keep", "overruled", "kept_copy", "none")
"""What one reason did. drop, quarantine, fix: see IMAGE_ACTIONS. warn: kept, and a person should look. keep: on the
allow-list. overruled: would have dropped an image that the allow-list keeps. kept_copy: the copy that stays of its
group. none: nothing, because the policy says keep, or because the image is dropped anyway."""

REASON_COLUMNS: Mapping[str, str] = {
    "path": "str",
    "check": "str",  # or allow_list, deny_list
    "policy": "str",  # what the policy says about the check: drop, fix, warn or keep
    "effect": "str",  # one of REASON_EFFECTS
    "measured": "float64",
    "threshold": "float64",
    "kept_twin": "str",  # as in DECISION_COLUMNS, on the rows of the checks that look for copies
    "remedy": "str",  # what a fix does, missing for other rows
}

CHANGES = ("newly_dropped", "newly_kept", "new", "gone")

CHANGE_COLUMNS: Mapping[str, str] = {
    "path": "str",
    "label": "str",
    "change": "str",  # one of CHANGES
    "keep": "bool",  # what is decided now; for images that are gone, what was
    "reasons_before": "str",  # as in DECISION_COLUMNS, empty when there were none
    "reasons_now": "str",
    "other_bytes": "bool",  # the image's bytes are others than they were
}


def write_decisions(decisions: pd.DataFrame, directory: Path) -> None:
    """Write the catalog with its decisions."""
    write_catalog(decisions, directory)


def read_decisions(directory: Path) -> pd.DataFrame:
    """Read the catalog with its decisions."""
    return read_catalog(directory)


def write_reasons(reasons: pd.DataFrame, directory: Path) -> None:
    """Write one row per image and reason."""
    reasons[list(REASON_COLUMNS)].to_parquet(directory / REASONS_FILE, index=False)


def read_reasons(directory: Path) -> pd.DataFrame:
    """Read one row per image and reason."""
    return pd.read_parquet(directory / REASONS_FILE)


def write_changes(changes: pd.DataFrame, directory: Path) -> None:
    """Write what differs from an earlier cleaning."""
    changes[list(CHANGE_COLUMNS)].to_parquet(directory / CHANGES_FILE, index=False)


def read_changes(directory: Path) -> pd.DataFrame:
    """Read what differs from an earlier cleaning."""
    return pd.read_parquet(directory / CHANGES_FILE)


def write_policy(policy: Mapping[str, Any], directory: Path) -> None:
    """Write what was decided by."""
    text = json.dumps(policy, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (directory / POLICY_FILE).write_text(text, encoding="utf-8")


def entry_for(path: str) -> str:
    """Return the entry of a list, or the line of a file of entries, that names this image and, as a rule, no other."""
    if path[:1] not in ("#", "@") and not set(path) & set("\r\n"):
        return path
    first = f"[{path[0]}]" if path[:1] in ("#", "@") else glob.escape(path[:1])
    return first + glob.escape(path[1:]).replace("\n", "?").replace("\r", "?")
