"""Decisions, reasons and changes come back as they were written."""

from pathlib import Path

import pandas as pd

from components.formats.decisions import (
    CHANGE_COLUMNS,
    DECISION_COLUMNS,
    DETAIL_COLUMNS,
    REASON_COLUMNS,
    read_changes,
    read_decisions,
    read_reasons,
    write_changes,
    write_decisions,
    write_reasons,
)


def empty(columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


def test_tables_come_back_as_they_were_written(tmp_path: Path) -> None:
    decisions = pd.DataFrame({"path": ["a/1.jpg", "a/2.jpg"], "keep": [True, False], "reasons": ["", "dark"]})
    decisions = decisions.assign(
        kept_twin=None, duplicate_group=None, action=["keep", "drop"], check=pd.Series([None, "dark"], dtype="str"),
        measured=[float("nan"), 3.5], threshold=[float("nan"), 40], fixes="",
    ).astype({"path": "str", **DECISION_COLUMNS, **DETAIL_COLUMNS})  # fmt: skip
    write_decisions(decisions, tmp_path)
    pd.testing.assert_frame_equal(read_decisions(tmp_path), decisions)


def test_reasons_and_changes_keep_their_columns_and_types_when_empty(tmp_path: Path) -> None:
    reasons, changes = empty(dict(REASON_COLUMNS)), empty(dict(CHANGE_COLUMNS))
    write_reasons(reasons.assign(more=1), tmp_path)
    write_changes(changes, tmp_path)
    pd.testing.assert_frame_equal(read_reasons(tmp_path), reasons)
    pd.testing.assert_frame_equal(read_changes(tmp_path), changes)
