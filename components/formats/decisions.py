"""Decisions: the catalog with what the cleaning decided for each image, and why. Nothing is deleted.

The folder:

    decisions/
      catalog.parquet   CATALOG_COLUMNS and then DECISION_COLUMNS; exactly one row per catalog row, same order
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from components.formats.image_archive import read_catalog, write_catalog

DECISION_COLUMNS: Mapping[str, str] = {
    "keep": "bool",
    "reasons": "str",  # checks that decided, comma separated, empty when none did
    "kept_twin": "str",  # path of the copy that was kept in this one's place, missing otherwise
    "duplicate_group": "str",  # copies share it and must stay in one split; missing for an image without copies
}


def write_decisions(decisions: pd.DataFrame, directory: Path) -> None:
    """Write the catalog with its decisions."""
    write_catalog(decisions, directory)


def read_decisions(directory: Path) -> pd.DataFrame:
    """Read the catalog with its decisions."""
    return read_catalog(directory)
