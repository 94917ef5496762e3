"""The audit alone: ``python -m components.audit SOURCE --report out.html`` on any folder or ZIP file."""

import argparse
import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from components.audit.checks import Thresholds
from components.audit.image_audit import audit_archive, check_settings
from components.audit.recommended import LABELS_FILE, RECOMMENDED, SAMPLE_IMAGES, SEED
from components.audit.source_reading import write_archive
from components.command_lines import run_program
from components.failures import UserError
from components.formats.findings import FINDINGS_FILE
from components.formats.image_archive import CATALOG_FILE
from components.publishing import published_directory, require_replaceable

_MARKERS = {"--findings": FINDINGS_FILE, "--archive": CATALOG_FILE}


def main(arguments: Sequence[str]) -> int:
    """Audit a source and return the exit code: 0, whatever was found; 2 or 75 when it could not be audited."""
    options = _parser().parse_args(arguments)
    return run_program("audit", lambda: _audit(options), "the same command goes on from here")


def _audit(options: argparse.Namespace) -> None:
    source, report = options.source, options.report
    if report.is_dir():
        raise UserError(f"--report {report} is a folder; give it the name of a file, such as {report / 'audit.html'}")
    findings = options.findings or report.with_name(f"{report.stem}-findings")
    thresholds = Thresholds(**{name: getattr(options, name) for name in _threshold_names()})
    check_settings(thresholds, SAMPLE_IMAGES, options.workers, SEED)
    _check_outputs(source, report, {"--findings": findings, "--archive": options.archive})
    with _archive_folder(options.archive, findings) as archive:
        write_archive(source, archive, options.labels_file)
        audit_archive(
            archive, findings, report, thresholds, sample_images=SAMPLE_IMAGES, workers=options.workers, seed=SEED
        )
    print(f"audit: report {report}, findings {findings}")


def _check_outputs(source: Path, report: Path, folders: Mapping[str, Path | None]) -> None:
    """Check that what will be replaced is an earlier output and nothing else, and make room for the report.

    Raises:
        UserError: When an output is in the way of the source, of another output, or of somebody's files.
    """
    written = {option: folder.resolve() for option, folder in folders.items() if folder is not None}
    given = {"the source": source.resolve(), "--report": report.resolve(), **written}
    if given["--report"] == given["the source"]:
        raise UserError("--report is the source itself; give it another name")
    for option, folder in written.items():
        for other, path in given.items():
            if other != option and path.is_relative_to(folder):
                raise UserError(f"{other} lies in the folder of {option}, which is replaced; give {option} another one")
        require_replaceable(folder, option, _MARKERS[option])
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--report: {report.parent} cannot be made ({error.strerror}); give another folder") from error


@contextlib.contextmanager
def _archive_folder(kept: Path | None, findings: Path) -> Iterator[Path]:
    """Yield an empty folder for the archive: one to keep, or one beside the findings that goes when the audit is done.

    Of a process that was killed it stays, and goes with the next audit of these findings.
    """
    if kept is not None:
        with published_directory(kept) as folder:
            yield folder
        return
    folder = findings.with_name(f".{findings.name}.archive")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _source(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"{text} is not on this machine: download it first, for gs:// with gcloud storage cp; "
            "python pipeline.py --source reads Cloud Storage by itself"
        )
    return Path(text)


def _threshold_names() -> list[str]:
    return [field.name for field in dataclasses.fields(Thresholds)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m components.audit",
        description="Checks every image of a folder or ZIP file in one pass, and writes what is wrong with which. An "
        "audit that was stopped goes on where it was when it is started again with the same --findings. While it "
        "runs, a copy of the images lies beside the findings, or in --archive.",
    )
    parser.add_argument("source", type=_source, help="folder of class folders, or of images, or a ZIP file of such")
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
