"""Findings: what the audit has against images, one row each. Reports, cleaning rules and metrics all read this table.

The folder:

    findings/
      findings.parquet      FINDING_COLUMNS; an image can have many rows or none
      measurements.parquet  MEASUREMENT_COLUMNS; exactly one row per catalog row, in catalog order
      summary.json          what the report's page says, as numbers
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

FINDINGS_FILE = "findings.parquet"
MEASUREMENTS_FILE = "measurements.parquet"
FACTS_FILE = "summary.json"

SEVERITIES = ("error", "warning", "info")
"""error: must not be trained on. warning: a person should look. info: worth knowing."""

FINDING_COLUMNS: Mapping[str, str] = {
    "path": "str",  # image, or class folder for findings about a whole class
    "check": "str",  # stable name of the check, for example exact_duplicate
    "severity": "str",  # one of SEVERITIES
    "measured": "float64",  # the value that was compared, NaN where the check is not numeric
    "threshold": "float64",  # the limit it was compared with, NaN likewise
    "message": "str",  # one sentence for a person
    "related_path": "str",  # the other image of a pair, missing otherwise
    "group": "str",  # same value for all members of a group of copies, missing otherwise
}

MEASUREMENT_COLUMNS: Mapping[str, str] = {
    "path": "str",
    "label": "str",
    "format": "str",  # sniffed from the content: JPEG, PNG, ...; missing when unreadable
    "mode": "str",  # Pillow's mode of the stored image: RGB, L, CMYK, ...
    "width_px": "int64",  # 0 when unreadable
    "height_px": "int64",
    "brightness": "float64",  # mean luma, [0, 255]
    "contrast": "float64",  # standard deviation of luma, [0, 127.5]
    "grayscale": "bool",  # no colour, whatever the mode
    "error": "str",  # why the image could not be decoded, missing when it could
}


def sorted_findings(findings: pd.DataFrame) -> pd.DataFrame:
    """Return findings by severity, check and path, numbered from 0."""
    rank = findings["severity"].map({severity: rank for rank, severity in enumerate(SEVERITIES)})
    order = findings.assign(rank=rank).sort_values(["rank", "check", "path", "related_path"], kind="stable").index
    return findings.loc[order].reset_index(drop=True)


def write_findings(findings: pd.DataFrame, measurements: pd.DataFrame, directory: Path) -> None:
    """Write both tables with exactly the documented columns first and in order."""
    findings[list(FINDING_COLUMNS)].to_parquet(directory / FINDINGS_FILE, index=False)
    measurements.to_parquet(directory / MEASUREMENTS_FILE, index=False)


def read_findings(directory: Path) -> pd.DataFrame:
    """Read the findings table."""
    return pd.read_parquet(directory / FINDINGS_FILE)


def read_measurements(directory: Path) -> pd.DataFrame:
    """Read the measurements table."""
    return pd.read_parquet(directory / MEASUREMENTS_FILE)


def read_facts(directory: Path) -> dict[str, Any]:
    """Read the numbers of the report's page."""
    facts: dict[str, Any] = json.loads((directory / FACTS_FILE).read_text(encoding="utf-8"))
    return facts
