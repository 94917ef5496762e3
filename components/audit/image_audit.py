"""The audit: one parallel pass over the archive, then checks over the table of measurements."""

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from components.audit.checks import CHECKS, Thresholds, run_checks
from components.audit.dataset_facts import dataset_facts
from components.audit.measuring_pass import measure_archive
from components.audit.near_copies import near_copies
from components.audit.report import write_report
from components.audit.same_pixels import with_same_pixels
from components.failures import UserError
from components.formats.findings import FACTS_FILE, SEVERITIES, write_findings
from components.formats.image_archive import ArchiveReader, read_catalog, read_skipped
from components.memory import give_back_memory
from components.ordered_work import processors
from components.publishing import published_directory, require_publishable, working_path, write_json

_RANGES: Mapping[str, tuple[float, float]] = {
    "dark_brightness": (0, 255),
    "bright_brightness": (0, 255),
    "low_contrast": (0, 127.5),
    "aspect_outlier": (1, math.inf),
    "tiny_side_px": (0, math.inf),
    "blur_ratio": (0, 1),
    "low_entropy_bits": (0, 8),
    "near_duplicate_distance": (0, 11),
    "near_duplicate_correlation": (-1, 1),
    "near_duplicate_difference": (0, math.inf),
    "near_empty_class_images": (0, math.inf),
    "class_imbalance_ratio": (1, math.inf),
    "grayscale_difference": (0, 510),
    "naming_pattern_share": (0.5, 1),
    "sample_images": (0, 200),
    "seed": (0, 2**31 - 1),
}
"""Least and largest value of settings."""


def audit_archive(
    archive: Path,
    findings: Path,
    report: Path,
    thresholds: Thresholds,
    *,
    sample_images: int,
    workers: int,
    seed: int,
) -> dict[str, int | float]:
    """Audit an archive: write findings and measurements, write the report, return the metrics.

    While it runs, measured images are kept in a file beside ``findings``. It is left where an audit is stopped, and an
    audit with the same ``findings`` goes on from it, with the same result.

    Args:
        archive: Folder of ``components.formats.image_archive``.
        findings: Folder to write, ``components.formats.findings``.
        report: HTML file to write.
        thresholds: What the checks compare with.
        sample_images: How many random images the report shows.
        workers: Threads; 0 for one per processor.
        seed: Of the random images.

    Returns:
        Counts of images, classes and findings, finite numbers by name.

    Raises:
        UserError: When the archive holds no images, a setting makes no sense, or an output cannot be written.
    """
    require_publishable(folders=[findings], files=[report])
    check_settings(thresholds, sample_images, workers, seed)
    catalog = read_catalog(archive)
    if catalog.empty:
        raise UserError("the archive holds no images to audit; check the source that was ingested")
    kept = working_path(findings, "chunks")
    measured = measure_archive(archive, catalog, workers or processors(), kept)
    measurements = measured.table(catalog, thresholds.grayscale_difference)
    near = near_copies(catalog, measurements, measured.fingerprints, thresholds)
    measurements = with_same_pixels(
        archive, catalog, measurements, near["near_group"], measured.fingerprints.thumbnails, workers or processors()
    )
    table = measured_table(catalog, measurements, near)
    del measured  # hundreds of bytes an image that nothing needs from here on
    give_back_memory()
    skipped = read_skipped(archive)
    found = run_checks(table, skipped, thresholds)
    metrics = summarize(table, found)
    facts = dataset_facts(table, found, skipped, thresholds)
    give_back_memory()
    with ArchiveReader(archive) as reader:
        write_report(
            report,
            table,
            found,
            thresholds,
            facts,
            reader=reader,
            sample_images=sample_images,
            seed=seed,
        )
    give_back_memory()
    with published_directory(findings) as directory:
        write_findings(found, measurements, directory)
        write_json(directory / FACTS_FILE, facts)
    kept.unlink()
    _print_summary(metrics)
    return metrics


def measured_table(catalog: pd.DataFrame, measurements: pd.DataFrame, near: pd.DataFrame) -> pd.DataFrame:
    """Return the table that checks see: the catalog, its measurements, and which images are near duplicates."""
    return pd.concat([catalog, measurements.drop(columns=["path", "label"]), near], axis=1)


def summarize(table: pd.DataFrame, findings: pd.DataFrame) -> dict[str, int | float]:
    """Return the metrics: finite numbers by name, small enough for the UI."""
    unusable = set(findings.loc[findings["severity"] == "error", "path"])
    usable = len(table) - int(table["path"].isin(unusable).sum())
    metrics: dict[str, int | float] = {
        "images": len(table),
        "classes": int(table["label"].nunique()),
        "usable_images": usable,
        "usable_share": round(usable / len(table), 4),
        "findings": len(findings),
    }
    for severity in SEVERITIES:
        metrics[f"severity_{severity}"] = int((findings["severity"] == severity).sum())
    for one in CHECKS:
        metrics[f"check_{one.name}"] = int((findings["check"] == one.name).sum())
    return metrics


def check_settings(thresholds: Thresholds, sample_images: int, workers: int, seed: int) -> None:
    """Check settings before any work is done.

    Raises:
        UserError: When a setting is out of range.
    """
    dark, bright = thresholds.dark_brightness, thresholds.bright_brightness
    if not 0 <= dark < bright:
        raise UserError(f"dark_brightness must be at least 0 and below bright_brightness, {bright:g}; it is {dark:g}")
    if not 0 < thresholds.size_outlier_iqr < math.inf:
        raise UserError(f"size_outlier_iqr must be above 0 and finite; it is {thresholds.size_outlier_iqr:g}")
    if workers < 0:
        raise UserError(f"workers must be at least 0, which means one per processor; it is {workers}")
    values = {**vars(thresholds), "sample_images": sample_images, "seed": seed}
    for name, (least, most) in _RANGES.items():
        if not least <= values[name] <= most or values[name] == math.inf:
            allowed = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:,.10g}".replace(",", "")
            raise UserError(f"{name} must be {allowed}; it is {values[name]:g}")


def _print_summary(metrics: dict[str, int | float]) -> None:
    severities = ", ".join(f"{metrics[f'severity_{severity}']:,} {severity}" for severity in SEVERITIES)
    images = f"{metrics['images']:,} {'image' if metrics['images'] == 1 else 'images'}"
    classes = f"{metrics['classes']:,} {'class' if metrics['classes'] == 1 else 'classes'}"
    print(f"audit: {images}, {classes}, findings: {severities}", flush=True)
    for one in CHECKS:
        if metrics[f"check_{one.name}"]:
            print(f"audit:   {one.severity:7}  {one.name:22} {metrics[f'check_{one.name}']:,}", flush=True)
