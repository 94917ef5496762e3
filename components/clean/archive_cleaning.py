"""Clean an archive: read the findings, decide, write the decisions and say what they were."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from components.clean.cleaning_policy import CleaningPolicy, with_listed_files
from components.clean.cleaning_summary import dropped_lines, summary_markdown
from components.clean.earlier_cleaning import EarlierCleaning, changes_since, counts_of, read_earlier_cleaning
from components.clean.earlier_findings import EarlierFindings, read_earlier_findings
from components.clean.keep_decisions import Decided, decide, images_per_fix, images_per_reason
from components.failures import UserError
from components.formats.decisions import DROPPED_FILE, write_changes, write_decisions, write_policy, write_reasons
from components.formats.findings import FINDING_COLUMNS, read_findings, read_measurements
from components.formats.image_archive import read_catalog
from components.publishing import published_directory, published_file, require_publishable


@dataclass(frozen=True)
class Cleaning:
    """One cleaning, decided and not yet written.

    Attributes:
        policy: What was decided by, its lists without files of entries.
        decided: What was decided.
        findings: What the audit found, ``FINDING_COLUMNS``, and what of an earlier run's findings still applies.
        earlier: What it is compared with, None without.
        changes: ``CHANGE_COLUMNS``, None without.
        earlier_findings: What an earlier run found, None without.
    """

    policy: CleaningPolicy
    decided: Decided
    findings: pd.DataFrame
    earlier: EarlierCleaning | None
    changes: pd.DataFrame | None
    earlier_findings: EarlierFindings | None


def clean_archive(
    archive: Path,
    findings: Path,
    policy: CleaningPolicy,
    previous_decisions: str,
    decisions: Path,
    summary: Path,
    *,
    earlier_findings: str,
) -> dict[str, int]:
    """Decide about every image of an archive, and write it down.

    Args:
        archive: Folder of the archive; only its catalog is read.
        findings: Folder of the audit's findings about this archive.
        policy: What to do about each check.
        previous_decisions: Folder or gs:// URI of the decisions to compare with; empty for none.
        decisions: Folder to write the catalog with its decisions to.
        summary: File to write the Markdown summary to.
        earlier_findings: Folder or gs:// URI of an earlier run, or of the suspected labels in it; empty for none.

    Returns:
        Counts, see ``counts_of_cleaning``.

    Raises:
        UserError: When the findings are of another archive, the policy cannot be followed (see ``decide``), there are
            no decisions to compare with, no earlier findings, or an output cannot be written.
    """
    require_publishable(folders=[decisions], files=[summary])
    cleaning = decide_archive(archive, findings, policy, previous_decisions, earlier_findings)
    write_cleaning(cleaning, decisions)
    with published_file(summary) as path:
        path.write_text(markdown_of(cleaning), encoding="utf-8")
    counts = counts_of_cleaning(cleaning)
    print(
        f"clean: kept {counts['kept_images']} of {counts['images']} images ({counts['fixed_images']} of them to fix), "
        f"dropped {counts['dropped_images']} ({counts['quarantined_images']} of them in quarantine)",
        flush=True,
    )
    if cleaning.earlier_findings is not None:
        print(f"clean: {cleaning.earlier_findings.in_words}", flush=True)
    return counts


def decide_archive(
    archive: Path, findings: Path, policy: CleaningPolicy, previous_decisions: str, earlier_findings: str
) -> Cleaning:
    """Decide about every image of an archive, and write nothing. See ``clean_archive``."""
    earlier = read_earlier_cleaning(previous_decisions) if previous_decisions else None
    policy = with_listed_files(policy)
    catalog, found, measurements = read_catalog(archive), read_findings(findings), read_measurements(findings)
    if not catalog["path"].equals(measurements["path"]):
        raise UserError(
            "the findings are of another archive: run the audit on this archive and clean with its findings"
        )
    remembered = read_earlier_findings(earlier_findings, catalog) if earlier_findings else None
    if remembered is not None:
        found = pd.concat([found[list(FINDING_COLUMNS)], remembered.applying], ignore_index=True)
    decided = decide(catalog, found, measurements, policy)
    changes = None if earlier is None else changes_since(earlier.images, decided.images)
    return Cleaning(policy, decided, found, earlier, changes, remembered)


def write_cleaning(cleaning: Cleaning, decisions: Path) -> None:
    """Write ``components.formats.decisions``."""
    policy = cleaning.policy
    with published_directory(decisions) as folder:
        write_decisions(cleaning.decided.images, folder)
        write_reasons(cleaning.decided.reasons, folder)
        if cleaning.changes is not None:
            write_changes(cleaning.changes, folder)
        record = {
            "cleaning_policy": dict(policy.actions),
            "allow_list": sorted(policy.allow_list),
            "deny_list": sorted(policy.deny_list),
        }
        if cleaning.earlier_findings is not None:
            record["earlier_findings"] = cleaning.earlier_findings.uri
        write_policy(record, folder)
        with (folder / DROPPED_FILE).open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in dropped_lines(cleaning.decided))


def markdown_of(cleaning: Cleaning) -> str:
    """Return the summary for a person."""
    return summary_markdown(
        cleaning.decided,
        cleaning.findings,
        cleaning.policy,
        earlier=cleaning.earlier,
        changes=cleaning.changes,
        earlier_findings=cleaning.earlier_findings,
    )


def counts_of_cleaning(cleaning: Cleaning) -> dict[str, int]:
    """Return what was decided in numbers.

    Returns:
        ``images``, of which ``kept_images`` and ``dropped_images`` are the sum; ``fixed_images`` of the kept and
        ``quarantined_images`` of the dropped; ``warned_images``, the kept ones that a person should look at;
        ``classes``; ``dropped_by_<reason>`` and ``fixed_by_<check>`` for each that did; and when compared with an
        earlier cleaning ``newly_dropped_images``, ``newly_kept_images``, ``new_images`` and ``gone_images``. With
        findings of an earlier run ``earlier_findings``, and how many of them by what has become of their image, see
        ``OUTCOMES``: ``earlier_findings_applies`` for example.
    """
    images, reasons = cleaning.decided.images, cleaning.decided.reasons
    kept = int(images["keep"].sum())
    actions = images["action"].value_counts()
    counts = {
        "images": len(images),
        "kept_images": kept,
        "dropped_images": len(images) - kept,
        "fixed_images": int(actions.get("fix", 0)),
        "quarantined_images": int(actions.get("quarantine", 0)),
        "warned_images": int(reasons.loc[reasons["effect"] == "warn", "path"].nunique()),
        "classes": int(images["label"].nunique()),
    }
    counts |= {f"dropped_by_{reason}": number for reason, number in images_per_reason(images).items()}
    counts |= {f"fixed_by_{check}": number for check, number in images_per_fix(images).items()}
    if cleaning.changes is not None:
        counts |= {f"{change}_images": number for change, number in counts_of(cleaning.changes).items()}
    if cleaning.earlier_findings is not None:
        by_outcome = cleaning.earlier_findings.counts
        counts["earlier_findings"] = sum(by_outcome.values())
        counts |= {f"earlier_findings_{outcome}": number for outcome, number in by_outcome.items()}
    return counts
