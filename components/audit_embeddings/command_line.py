"""The embedding audit alone: ``python -m components.audit_embeddings ARCHIVE FINDINGS --report out.html``."""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from components.audit_embeddings.recommended import RECOMMENDED
from components.classifier.backbones import BACKBONES
from components.command_lines import run_program
from components.failures import UserError
from components.formats.findings import FINDINGS_FILE
from components.formats.image_archive import CATALOG_FILE
from components.publishing import require_replaceable

_NUMBERS = (
    "outlier_deviation", "label_error_confidence", "semantic_duplicate_distance", "batch_size", "workers", "seed",
)  # fmt: skip
_SETTINGS = ("weights", "backbone", *_NUMBERS)
_DEFAULT = "(default: %(default)s)"


def main(arguments: Sequence[str]) -> int:
    """Look at an audited archive and return the exit code: 0, whatever was found; 2 or 75 when that was impossible."""
    options = _parser().parse_args(arguments)
    report: Path = options.report
    output = options.output or report.with_name(f"{report.stem}-findings")
    settings = dataclasses.replace(RECOMMENDED, **{name: getattr(options, name) for name in _SETTINGS})

    def work() -> None:
        for folder, file, whose in (
            (options.archive, CATALOG_FILE, "an archive, from ingest or from the audit's --archive"),
            (options.findings, FINDINGS_FILE, "findings, from audit"),
        ):
            if not (folder / file).is_file():
                raise UserError(f"{folder} has no {file}: give the folder of {whose}")
        require_replaceable(output, "--output", FINDINGS_FILE)
        if output.resolve() == options.findings.resolve():
            raise UserError("--output is the folder of the audit's findings; give it a folder of its own")
        report.parent.mkdir(parents=True, exist_ok=True)
        # Read when TensorFlow is first imported, below: its remarks about the processor are of no use here.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from components.audit_embeddings.embedding_audit import audit_archive_embeddings  # noqa: PLC0415

        audit_archive_embeddings(options.archive, options.findings, settings, output, report)
        print(f"audit_embeddings: report {report}, findings {output}")

    return run_program("audit_embeddings", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m components.audit_embeddings",
        description="Looks at an audited archive with a pretrained network: wrong labels, images that show the same, "
        "and images unlike their class. Its findings are the audit's and its own, for clean to read.",
    )
    parser.add_argument("archive", type=Path, metavar="ARCHIVE", help="folder of the archive: ingest's, or the audit's")
    parser.add_argument("findings", type=Path, metavar="FINDINGS", help="folder of the audit's findings about it")
    parser.add_argument("--report", type=Path, required=True, help="HTML file to write")
    parser.add_argument("--output", type=Path, help="folder for the findings (default: beside the report)")
    parser.add_argument("--weights", default=RECOMMENDED.weights, help=f"imagenet, a file or gs:// URI {_DEFAULT}")
    parser.add_argument("--backbone", choices=sorted(BACKBONES), default=RECOMMENDED.backbone, help=_DEFAULT)
    for name in _NUMBERS:
        value = getattr(RECOMMENDED, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, metavar="N", help=_DEFAULT)
    return parser
