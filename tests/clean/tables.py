"""Catalogs and findings written by hand, for tests that need no image."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from components.formats.findings import FINDING_COLUMNS, MEASUREMENT_COLUMNS, write_findings
from components.formats.image_archive import CATALOG_COLUMNS, write_catalog


def catalog_of(digests: dict[str, str]) -> pd.DataFrame:
    """Return a catalog of images ``class/file`` with the given digest by path."""
    rows = [
        {
            "path": path,
            "filename": path.rsplit("/", 1)[-1],
            "label": path.split("/", 1)[0],
            "recorded_label": None,
            "part": "part-00000.tar",
            "offset": 512,
            "size_bytes": 1,
            "md5": digest,
            "source_uri": path,
            "source_generation": 0,
        }
        for path, digest in digests.items()
    ]
    return pd.DataFrame(rows, columns=list(CATALOG_COLUMNS)).astype(dict(CATALOG_COLUMNS))


def distinct_catalog(*paths: str) -> pd.DataFrame:
    """Return a catalog of images that all differ."""
    return catalog_of({path: f"digest of {path}" for path in paths})


def findings_of(found: Iterable[tuple[str | None, ...]]) -> pd.DataFrame:
    """Return findings from ``(path, check)`` or ``(path, check, group)``."""
    rows: list[dict[str, Any]] = [
        {
            "path": path,
            "check": check,
            "severity": "warning",
            "message": f"{check} in words",
            "group": group[0] if group else None,
        }
        for path, check, *group in found
    ]
    return pd.DataFrame(rows, columns=list(FINDING_COLUMNS)).astype(dict(FINDING_COLUMNS))


def write_both(directory: Path, catalog: pd.DataFrame, findings: pd.DataFrame) -> tuple[Path, Path]:
    """Write an archive without parts and its findings, and return both folders."""
    archive, found = directory / "archive", directory / "findings"
    archive.mkdir()
    found.mkdir()
    write_catalog(catalog, archive)
    measurements = pd.DataFrame({"path": catalog["path"]}).reindex(columns=list(MEASUREMENT_COLUMNS))
    write_findings(findings, measurements, found)
    return archive, found
