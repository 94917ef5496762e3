"""Clean an archive: read the findings, decide, write the decisions and say what they were."""

from pathlib import Path

from components.clean.cleaning_policy import CleaningPolicy
from components.clean.cleaning_summary import summary_markdown
from components.clean.keep_decisions import decide, images_per_reason
from components.failures import UserError
from components.formats.decisions import write_decisions
from components.formats.findings import read_findings, read_measurements
from components.formats.image_archive import read_catalog
from components.publishing import published_directory, published_file


def clean_archive(
    archive: Path, findings: Path, policy: CleaningPolicy, decisions: Path, summary: Path
) -> dict[str, int]:
    """Decide about every image of an archive.

    Args:
        archive: Folder of the archive; only its catalog is read.
        findings: Folder of the audit's findings about this archive.
        policy: What to do about each check.
        decisions: Folder to write the catalog with its decisions to.
        summary: File to write the Markdown summary to.

    Returns:
        Counts: ``images``, ``kept_images``, ``dropped_images``, ``classes``, and ``dropped_by_<reason>`` for each
        reason that dropped an image.

    Raises:
        UserError: When the findings are of another archive, or the policy cannot be followed (see ``decide``).
    """
    catalog = read_catalog(archive)
    found = read_findings(findings)
    if not catalog["path"].equals(read_measurements(findings)["path"]):
        raise UserError(
            "the findings are of another archive: run the audit on this archive and clean with its findings"
        )
    decided = decide(catalog, found, policy)
    with published_directory(decisions) as folder:
        write_decisions(decided, folder)
    with published_file(summary) as path:
        path.write_text(summary_markdown(decided, found, policy), encoding="utf-8")
    kept = int(decided["keep"].sum())
    print(f"clean: kept {kept} of {len(decided)} images, dropped {len(decided) - kept}", flush=True)
    return {
        "images": len(decided),
        "kept_images": kept,
        "dropped_images": len(decided) - kept,
        "classes": int(decided["label"].nunique()),
    } | {f"dropped_by_{reason}": images for reason, images in images_per_reason(decided).items()}
