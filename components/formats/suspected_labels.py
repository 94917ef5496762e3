"""Labels of training images that an evaluation takes for wrong, as the cleaning of a later run reads them.

The folder that the evaluate step calls ``suspected``:

    suspected/
      suspected_labels.parquet  SUSPECTED_COLUMNS, the least credible first
      suspected_labels.txt      the same for a person, as a list that ``deny_list`` takes
      findings.parquet          these and the audit's, beside its measurements.parquet and summary.json: whole findings
                                (``components.formats.findings``) of the archive that was evaluated
"""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from components.formats.findings import FINDING_COLUMNS

SUSPECTED_LABELS_FILE = "suspected_labels.parquet"
SUSPECTED_LIST_FILE = "suspected_labels.txt"

LABEL_ERROR = "label_error"
"""The check of these findings; the embedding audit's has the same name and the same action in a cleaning policy."""

SUSPECTED_COLUMNS: Mapping[str, str] = {
    **FINDING_COLUMNS,
    "md5": "str",  # of the image's original bytes: what is found holds for these alone
}


def write_suspected_labels(suspected: pd.DataFrame, directory: Path) -> None:
    """Write the table with exactly the documented columns, in order."""
    table = suspected[list(SUSPECTED_COLUMNS)].astype(dict(SUSPECTED_COLUMNS))
    table.to_parquet(directory / SUSPECTED_LABELS_FILE, index=False)


def read_suspected_labels(file: Path | BinaryIO) -> pd.DataFrame:
    """Read the table from its folder, or from its opened file.

    Raises:
        ValueError: When it is no such table.
        OSError: When it cannot be read.
    """
    source = file / SUSPECTED_LABELS_FILE if isinstance(file, Path) else file
    return pd.read_parquet(source, columns=list(SUSPECTED_COLUMNS))
