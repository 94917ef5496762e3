"""The audit: one parallel pass over the archive, then checks over the table of measurements."""

import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pandas as pd

from components.audit.checks import CHECKS, Thresholds, run_checks
from components.audit.measurements import Measurement, analyze
from components.audit.report import write_report
from components.failures import UserError
from components.formats.findings import MEASUREMENT_COLUMNS, SEVERITIES, write_findings
from components.formats.image_archive import ArchiveReader, read_catalog, read_skipped
from components.ordered_work import processors
from components.publishing import published_directory

CHUNK_IMAGES = 64
PROGRESS_SECONDS = 5.0

_FURTHER_COLUMNS = {
    "luma_p5": "float64",
    "luma_p95": "float64",
    "decoder_warning": "str",
    "cause": "str",
    "exif_rotated": "bool",
    "animated": "bool",
    "alpha": "bool",
    "sixteen_bit": "bool",
    "blur": "float64",
    "entropy": "float64",
    "pixels": "uint64",
}
_NEAR_COLUMNS = {"near_group": "str", "near_path": "str", "near_distance": "float64"}


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
        UserError: When the archive holds no images or a setting makes no sense.
    """
    check_settings(thresholds, sample_images, workers, seed)
    catalog = read_catalog(archive)
    if catalog.empty:
        raise UserError("the archive holds no images to audit; check the source that was ingested")
    with ArchiveReader(archive) as reader:
        measurements = measure_archive(reader, catalog, workers)
        table = measured_table(catalog, measurements)
        skipped = read_skipped(archive)
        found = run_checks(table, skipped, thresholds)
        with published_directory(findings) as directory:
            write_findings(found, measurements, directory)
        metrics = summarize(table, found)
        write_report(
            report,
            table,
            found,
            thresholds,
            reader=reader,
            skipped=skipped,
            sample_images=sample_images,
            seed=seed,
        )
    _print_summary(metrics)
    return metrics


def measure_archive(reader: ArchiveReader, catalog: pd.DataFrame, workers: int) -> pd.DataFrame:
    """Read and decode each image once, in parallel, and return its measurements in catalog order.

    Args:
        reader: Open reader of the archive.
        catalog: Which images.
        workers: Threads; 0 for one per processor. The decoders release the interpreter lock.
    """
    columns = [catalog[name].tolist() for name in ("part", "offset", "size_bytes")]
    places = list(zip(*columns, strict=True))
    chunks = [places[start : start + CHUNK_IMAGES] for start in range(0, len(places), CHUNK_IMAGES)]

    def measure(chunk: list[tuple[str, int, int]]) -> pd.DataFrame:
        return pd.DataFrame([analyze(reader.read(*place)) for place in chunk], columns=list(Measurement._fields))

    cv2.setNumThreads(1)  # the threads here already keep every processor busy
    # One filter for all threads, because filters are not per thread: what Pillow warns about, checks report.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers or processors()) as pool:
        warnings.simplefilter("ignore")
        tables = list(_with_progress(pool.map(measure, chunks), len(places)))
    types = {**MEASUREMENT_COLUMNS, **_FURTHER_COLUMNS}
    measured = pd.concat(tables, ignore_index=True).assign(path=catalog["path"], label=catalog["label"])
    return measured[list(types)].astype(types)


def measured_table(catalog: pd.DataFrame, measurements: pd.DataFrame) -> pd.DataFrame:
    """Return the table that checks see: the catalog, its measurements, and which images are near duplicates."""
    table = pd.concat([catalog, measurements.drop(columns=["path", "label"])], axis=1)
    near = pd.DataFrame(index=table.index, columns=list(_NEAR_COLUMNS)).astype(_NEAR_COLUMNS)
    return pd.concat([table, near], axis=1)


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
    rules = {
        f"dark_brightness must be at least 0 and below bright_brightness, {bright:g}; it is {dark:g}": 0
        <= dark
        < bright,
        f"bright_brightness must be at most 255; it is {bright:g}": bright <= 255,
        f"low_contrast must be from 0 to 127.5; it is {thresholds.low_contrast:g}": 0
        <= thresholds.low_contrast
        <= 127.5,
        f"size_outlier_iqr must be above 0; it is {thresholds.size_outlier_iqr:g}": thresholds.size_outlier_iqr > 0,
        f"aspect_outlier must be at least 1; it is {thresholds.aspect_outlier:g}": thresholds.aspect_outlier >= 1,
        f"tiny_side_px must be at least 0; it is {thresholds.tiny_side_px}": thresholds.tiny_side_px >= 0,
        f"blur_ratio must be from 0 to 1; it is {thresholds.blur_ratio:g}": 0 <= thresholds.blur_ratio <= 1,
        f"low_entropy_bits must be from 0 to 8; it is {thresholds.low_entropy_bits:g}": 0
        <= thresholds.low_entropy_bits
        <= 8,
        f"near_duplicate_distance must be from 0 to 16; it is {thresholds.near_duplicate_distance}": 0
        <= thresholds.near_duplicate_distance
        <= 16,
        f"near_duplicate_correlation must be from -1 to 1; it is {thresholds.near_duplicate_correlation:g}": -1
        <= thresholds.near_duplicate_correlation
        <= 1,
        f"sample_images must be from 0 to 200; it is {sample_images}": 0 <= sample_images <= 200,
        f"workers must be at least 0, which means one per processor; it is {workers}": workers >= 0,
        f"seed must be from 0 to {2**31 - 1}; it is {seed}": 0 <= seed < 2**31,
    }
    for complaint, holds in rules.items():
        if not holds:
            raise UserError(complaint)


def _with_progress(tables: Iterator[pd.DataFrame], images: int) -> Iterator[pd.DataFrame]:
    started = last = time.monotonic()
    done = 0
    for table in tables:
        yield table
        done += len(table)
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS or done == images:
            rate = done / max(now - started, 1e-6)
            left = round((images - done) / rate)
            ending = f"{left // 60}:{left % 60:02d} left" if done < images else f"{now - started:.1f} s"
            print(f"audit: {done:,} of {images:,} images, {rate:,.0f} images/s, {ending}", flush=True)
            last = now


def _print_summary(metrics: dict[str, int | float]) -> None:
    severities = ", ".join(f"{metrics[f'severity_{severity}']:,} {severity}" for severity in SEVERITIES)
    print(f"audit: {metrics['images']:,} images, {metrics['classes']:,} classes, findings: {severities}", flush=True)
    for one in CHECKS:
        if metrics[f"check_{one.name}"]:
            print(f"audit:   {one.severity:7}  {one.name:22} {metrics[f'check_{one.name}']:,}", flush=True)
