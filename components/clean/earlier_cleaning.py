"""What a cleaning decides differently from an earlier one: which images, and why."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components import storage
from components.failures import UserError
from components.formats.decisions import CHANGE_COLUMNS, CHANGES, POLICY_FILE
from components.formats.image_archive import CATALOG_FILE

_COLUMNS = ["path", "label", "md5", "keep", "reasons"]


@dataclass(frozen=True)
class EarlierCleaning:
    """An earlier cleaning, as far as it is compared with.

    Attributes:
        uri: Where its decisions lie.
        images: ``path``, ``label``, ``md5``, ``keep`` and ``reasons`` of every image it decided about.
        actions: The action of each check it was made by; empty when it kept no record.
    """

    uri: str
    images: pd.DataFrame
    actions: Mapping[str, str]


def read_earlier_cleaning(uri: str) -> EarlierCleaning:
    """Read the decisions of an earlier cleaning.

    Args:
        uri: Their folder: a local path or a gs:// URI.

    Raises:
        UserError: When there are no decisions at ``uri``.
        TransientError: When Cloud Storage does not answer.
    """
    catalog = storage.join(uri, CATALOG_FILE)
    if storage.stat_file(catalog) is None:
        raise UserError(
            f"previous_decisions has no {catalog}: give the folder or gs:// URI of the decisions of an earlier run"
        )
    try:
        images = pd.read_parquet(io.BytesIO(storage.read_bytes(catalog)), columns=_COLUMNS)
    except (OSError, ValueError) as error:
        raise UserError(f"{catalog} holds no decisions: give the folder of decisions, not of an archive") from error
    policy = storage.read_versioned(storage.join(uri, POLICY_FILE))
    return EarlierCleaning(uri, images, json.loads(policy[0])["cleaning_policy"] if policy else {})


def changes_since(earlier: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Return the images that are decided about differently, or that only one of both cleanings knows.

    Args:
        earlier: ``path``, ``label``, ``md5``, ``keep`` and ``reasons`` of the earlier cleaning.
        now: The same of this one.

    Returns:
        ``CHANGE_COLUMNS``, by the order of ``CHANGES`` and then by path.
    """
    both = now[_COLUMNS].merge(earlier[_COLUMNS], on="path", how="outer", suffixes=("", "_before"), indicator=True)
    kept, before = both["keep"].eq(True), both["keep_before"].eq(True)
    known = both["_merge"] == "both"
    conditions = [known & before & ~kept, known & ~before & kept, both["_merge"] == "left_only"]
    both["change"] = np.select([*conditions, both["_merge"] == "right_only"], CHANGES, "")
    gone = both["change"] == "gone"
    changed = both.assign(
        label=both["label"].where(~gone, both["label_before"]),
        keep=np.where(gone, before, kept),
        reasons_before=both["reasons_before"].fillna(""),
        reasons_now=both["reasons"].fillna(""),
        other_bytes=known & (both["md5"] != both["md5_before"]),
    )[both["change"] != ""]
    rank = changed["change"].map({change: number for number, change in enumerate(CHANGES)})
    changed = changed.assign(rank=rank).sort_values(["rank", "path"], ignore_index=True)
    return changed[list(CHANGE_COLUMNS)].astype(dict(CHANGE_COLUMNS))


def changed_actions(earlier: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the action before and now of each check about which the policies differ; nothing without a record."""
    if not earlier:
        return {}
    checks = sorted(set(earlier) | set(now))
    pairs = {check: (earlier.get(check, "warn"), now.get(check, "warn")) for check in checks}
    return {check: pair for check, pair in pairs.items() if pair[0] != pair[1]}


def counts_of(changes: pd.DataFrame) -> dict[str, int]:
    """Return how many images changed in each way, none left out."""
    counts = changes["change"].value_counts()
    return {change: int(counts.get(change, 0)) for change in CHANGES}
