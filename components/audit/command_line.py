"""The audit alone: ``python -m components.audit SOURCE --report out.html`` on any folder or ZIP file."""

import argparse
import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from components.audit.checks import Thresholds
from components.audit.image_audit import audit_archive
from components.audit.recommended import LABELS_FILE, RECOMMENDED, SAMPLE_IMAGES, SEED
from components.audit.source_reading import write_archive
from components.failures import TransientError, UserError
from components.publishing import published_directory


def main(arguments: Sequence[str]) -> int:
    """Audit a source and return the exit code: 0, whatever was found; 2 or 75 when it could not be audited."""
    options = _parser().parse_args(arguments)
    report: Path = options.report
    findings = options.findings or report.with_name(f"{report.stem}-findings")
    thresholds = Thresholds(**{name: getattr(options, name) for name in _threshold_names()})
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        with _archive_folder(options.archive) as archive:
            write_archive(options.source, archive, options.labels_file)
            audit_archive(
                archive,
                findings,
                report,
                thresholds,
                sample_images=SAMPLE_IMAGES,
                workers=options.workers,
                seed=SEED,
            )
    except (UserError, TransientError) as error:
        print(f"audit: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"audit: report {report}, findings {findings}")
    return 0


@contextlib.contextmanager
def _archive_folder(kept: Path | None) -> Iterator[Path]:
    """Yield an empty folder for the archive: one to keep, or one that goes when the audit is done."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="audit-") as directory:
            yield Path(directory)
        return
    with published_directory(kept) as folder:
        yield folder


def _threshold_names() -> list[str]:
    return [field.name for field in dataclasses.fields(Thresholds)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m components.audit",
        description="Checks every image of a folder or ZIP file in one pass, and writes what is wrong with which. An "
        "audit that was stopped goes on where it was when it is started again with the same --findings.",
    )
    parser.add_argument("source", type=Path, help="folder of class folders, or of images, or a ZIP file of such")
    parser.add_argument("--report", type=Path, required=True, help="HTML file to write")
    parser.add_argument("--findings", type=Path, help="folder for the Parquet tables (default: beside the report)")
    parser.add_argument("--archive", type=Path, help="folder to keep the archive in, for audit_embeddings and clean")
    parser.add_argument(
        "--labels-file", default=LABELS_FILE, metavar="NAME",
        help="CSV file in the source with columns path and label, to compare the folders with (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=0, help="threads that decode (default: one per processor)")
    for name in _threshold_names():
        value = getattr(RECOMMENDED, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, metavar="N", help="(default: %(default)s)"
        )
    return parser
