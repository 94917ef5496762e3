"""Catalogs and findings written by hand, for tests that need no image."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from components.clean.cleaning_policy import CleaningPolicy
from components.clean.keep_decisions import Decided, decide
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
            "crc32": 0,
            "source_uri": path,
            "source_generation": 0,
        }
        for path, digest in digests.items()
    ]
    return pd.DataFrame(rows, columns=list(CATALOG_COLUMNS)).astype(dict(CATALOG_COLUMNS))


def distinct_catalog(*paths: str) -> pd.DataFrame:
    """Return a catalog of images that all differ."""
    return catalog_of({path: f"digest of {path}" for path in paths})


def measurements_of(catalog: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """Return measurements of 100 x 80 px JPEGs; a column by name overrides what is measured, in catalog order."""
    measured = catalog[["path", "label"]].assign(
        format="JPEG", mode="RGB", width_px=100, height_px=80, brightness=128.0, contrast=50.0, grayscale=False,
        error=None,
    )  # fmt: skip
    return measured.assign(**columns)[list(MEASUREMENT_COLUMNS)].astype(dict(MEASUREMENT_COLUMNS))


def decided(catalog: pd.DataFrame, findings: pd.DataFrame, policy: CleaningPolicy, **measured: Any) -> Decided:
    """Return what is decided about images of the same size, unless ``measured`` says otherwise."""
    return decide(catalog, findings, measurements_of(catalog, **measured), policy)


def findings_of(found: Iterable[tuple[str | None, ...]]) -> pd.DataFrame:
    """Return findings from ``(path, check)``, ``(path, check, group)`` or ``(path, check, group, related_path)``."""
    rows: list[dict[str, Any]] = [
        {
            "path": path,
            "check": check,
            "severity": "warning",
            "message": f"{check} in words",
            "group": pair[0] if pair else None,
            "related_path": pair[1] if len(pair) > 1 else None,
        }
        for path, check, *pair in found
    ]
    return pd.DataFrame(rows, columns=list(FINDING_COLUMNS)).astype(dict(FINDING_COLUMNS))


def write_both(directory: Path, catalog: pd.DataFrame, findings: pd.DataFrame) -> tuple[Path, Path]:
    """Write an archive without parts and its findings, and return both folders."""
    archive, found = directory / "archive", directory / "findings"
    archive.mkdir()
    found.mkdir()
    write_catalog(catalog, archive)
    write_findings(findings, measurements_of(catalog), found)
    return archive, found
