"""Clean: decide which images to keep, by the audit's findings and a policy, each drop with its reasons."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def clean(
    archive: dsl.Input[dsl.Dataset],
    findings: dsl.Input[dsl.Dataset],
    policy: dict,
    allow_list: list,
    deny_list: list,
    previous_decisions: str,
    earlier_findings: str,
    decisions: dsl.Output[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Decide which images to keep; nothing is deleted, and every decision can be overruled.

    Args:
        archive: The images and their catalog, from ingest.
        findings: What the audit found in this archive.
        policy: What to do about each check, by its name: drop, keep, warn, or fix, for what split mends when it
            prepares an image. A check that is not mentioned warns; images that cannot be decoded are always dropped.
        allow_list: Paths or globs of images to keep whatever the checks found; an entry such as
            @gs://bucket/keep.txt names a file with one path a line.
        deny_list: Paths or globs of images to drop whatever the checks found, and files of them.
        previous_decisions: Folder or gs:// URI of the decisions of an earlier run, to tell what changed; empty for
            none.
        earlier_findings: Folder or gs:// URI of an earlier run, or of what its evaluate step called suspected: training
            labels that it took for wrong are findings of the check label_error, of images whose path and bytes are as
            they were; empty for none.
        decisions: The catalog with keep, fix, drop or quarantine for every image, and why.
        summary: What was dropped and why, for a person.
        metrics: How many images were kept, fixed, dropped and quarantined, by which reasons, what changed, and how many
            of the earlier findings still apply.
    """
    from pathlib import Path

    from components.clean.archive_cleaning import clean_archive
    from components.clean.cleaning_policy import cleaning_policy
    from components.failures import attempts

    for attempt in attempts("clean"):
        with attempt:
            counts = clean_archive(
                archive=Path(archive.path),
                findings=Path(findings.path),
                policy=cleaning_policy(policy, allow_list, deny_list),
                previous_decisions=previous_decisions,
                decisions=Path(decisions.path),
                summary=Path(summary.path),
                earlier_findings=earlier_findings,
            )
            for name, count in counts.items():
                metrics.log_metric(name, count)
