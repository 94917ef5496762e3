"""The checks: each a small function from the measured catalog to findings, with a stable name and a severity.

A check sees one table, one row per image: the archive's catalog (``CATALOG_COLUMNS``) with the measurements beside it
(``measured_table``); or, where it says so, the table of files that were left out. It returns a row per finding with
the columns of ``FINDING_COLUMNS`` that apply; ``run_checks`` adds its name and severity, and the order. To add a
check, write a function under ``@check`` in the module of its kind, and its name to ``check_names``.

One cause, one finding: an unreadable image has no pixel findings; a dark or bright image is not also reported as
low in contrast, information, sharpness or colour, which a black frame always is; a tiny image is not also a size
outlier.
"""

import pandas as pd

from components.audit.checks import classes, copies, encoding, integrity, light, names, shape
from components.audit.checks.registry import REGISTERED, Check, Thresholds
from components.formats.check_names import CHECK_MEANINGS
from components.formats.findings import FINDING_COLUMNS, sorted_findings

__all__ = ["CHECKS", "Check", "Thresholds", "run_checks"]

_KINDS = (classes, copies, encoding, integrity, light, names, shape)  # imported for the checks they register

CHECKS = tuple(sorted(REGISTERED, key=lambda one: list(CHECK_MEANINGS).index(one.name)))
"""Every check, in the order of the report."""


def run_checks(table: pd.DataFrame, skipped: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Run every check and return the findings, ``FINDING_COLUMNS``, sorted by severity, check and path.

    Args:
        table: The catalog with its measurements, one row per image.
        skipped: Files of the source that are not in the archive, ``SKIPPED_COLUMNS``.
        thresholds: What the checks compare with.
    """
    tables = {"images": table, "skipped": skipped}
    found = [
        one.find(tables[one.about], thresholds)
        .assign(check=one.name, severity=one.severity)
        .reindex(columns=list(FINDING_COLUMNS))
        for one in CHECKS
    ]
    return sorted_findings(pd.concat([frame.astype(dict(FINDING_COLUMNS)) for frame in found], ignore_index=True))
