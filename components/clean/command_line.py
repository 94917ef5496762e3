"""The cleaning alone, on a command line: what a policy would drop of an archive. Nothing is written unless asked."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from components import storage
from components.clean.archive_cleaning import (
    Cleaning,
    counts_of_cleaning,
    decide_archive,
    markdown_of,
    write_cleaning,
)
from components.clean.check_counts import CheckCounts, check_counts, examples_of
from components.clean.cleaning_policy import (
    LIST_FILE_MARK,
    UNDECODABLE,
    CleaningPolicy,
    cleaning_policy,
    named,
    read_policy_file,
)
from components.clean.cleaning_summary import CHANGES_IN_WORDS, printable, why_changed
from components.clean.earlier_cleaning import counts_of
from components.clean.listed_images import near_paths
from components.command_lines import run_program
from components.failures import UserError
from components.formats.decisions import REASONS_FILE
from components.formats.findings import FINDINGS_FILE
from components.formats.image_archive import CATALOG_FILE
from components.publishing import published_file, require_replaceable

_CHANGE_COLUMNS = ["path", "keep", "reasons_before", "reasons_now", "other_bytes"]

_EPILOG = """\
A policy is a YAML file of 'check: action' lines, the actions being drop, keep, warn and fix; a run file of the
pipeline; or the policy.json of an earlier cleaning. The pipeline's own:

  python -c 'import pipeline, yaml; print(yaml.safe_dump(pipeline.CLEANING_POLICY, sort_keys=False))' > policy.yaml

Of a pipeline run, ARCHIVE is ingest/archive and FINDINGS is audit/findings.
"""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for, and return the exit code: 0, 2 for wrong input, 75 for a passing trouble."""
    options = _parser().parse_args(arguments)
    return run_program("clean", lambda: _clean(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m components.clean",
        description="Say what a cleaning policy keeps and drops of an archive. Nothing is written without --write.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("archive", type=Path, metavar="ARCHIVE", help="folder of the archive, from ingest")
    parser.add_argument("findings", type=Path, metavar="FINDINGS", help="folder of the findings, from audit")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="without it, only what cannot be decoded drops")
    for name, verb in (("allow", "keep"), ("deny", "drop")):
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="IMAGE",
            help=f"{verb} this image whatever the checks say: a path, a glob, or @ and a file of them; repeatable",
        )
    parser.add_argument("--previous", default="", metavar="DECISIONS", help="tell what changed since these decisions")
    parser.add_argument(
        "--earlier-findings",
        default="",
        metavar="RUN",
        help="clean by the suspected labels of this earlier run too: its folder, or its evaluate/suspected",
    )
    parser.add_argument("--why", action="append", default=[], metavar="IMAGE", help="explain one image; repeatable")
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="images shown of each check (default: 3)")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the decisions, for split to read")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the summary as Markdown")
    return parser


def _clean(options: argparse.Namespace) -> None:
    for folder, file, step in (
        (options.archive, CATALOG_FILE, "an archive, from ingest"),
        (options.findings, FINDINGS_FILE, "findings, from audit"),
    ):
        if not (folder / file).is_file():
            raise UserError(f"{folder} has no {file}: give the folder of {step}")
    if options.write is not None:
        require_replaceable(options.write, "--write", REASONS_FILE)
    cleaning = decide_archive(
        options.archive, options.findings, _policy(options), options.previous, options.earlier_findings
    )
    lines = (
        [line for path in options.why for line in _explanation(cleaning, path)]
        if options.why
        else _summary(cleaning, options.examples)
    )
    print("\n".join(lines))
    if options.summary is not None:
        with published_file(options.summary) as path:
            path.write_text(markdown_of(cleaning), encoding="utf-8")
    if options.write is not None:
        write_cleaning(cleaning, options.write)
        print(f"\nwritten: {options.write}")
    elif not options.why:
        print("\nDry run: nothing is written. --write FOLDER writes the decisions; --why IMAGE explains one image.")


def _policy(options: argparse.Namespace) -> CleaningPolicy:
    given = read_policy_file(options.policy) if options.policy else cleaning_policy({}, [], [])
    allow, deny = ([_from_here(entry) for entry in entries] for entries in (options.allow, options.deny))
    return cleaning_policy(given.actions, given.allow_list.union(allow), given.deny_list.union(deny))


def _from_here(entry: str) -> str:
    file = entry.removeprefix(LIST_FILE_MARK)
    return entry if file == entry or storage.is_remote(file) else f"{LIST_FILE_MARK}{Path(file).resolve()}"


def _summary(cleaning: Cleaning, examples: int) -> Iterator[str]:
    counts = counts_of_cleaning(cleaning)
    yield (
        f"{counts['kept_images']:,} of {counts['images']:,} images are kept, {counts['fixed_images']:,} to fix, "
        f"and {counts['dropped_images']:,} are dropped, {counts['quarantined_images']:,} into quarantine"
    )
    checks = check_counts(cleaning.decided, cleaning.findings, cleaning.policy, max(examples, 0))
    acting = [one for one in checks if one.found or one.effects]
    if acting:
        yield ""
        yield from _check_lines(acting)
    if cleaning.earlier_findings is not None:
        yield ""
        yield f"{cleaning.earlier_findings.in_words}: {printable(cleaning.earlier_findings.uri)}"
    if cleaning.earlier is not None and cleaning.changes is not None:
        yield ""
        yield f"Since {cleaning.earlier.uri}:"
        rows = cleaning.changes.groupby("change")
        for change, number in counts_of(cleaning.changes).items():
            yield f"  {number:>8,}  {CHANGES_IN_WORDS[change]}"
            if number and change in ("newly_dropped", "newly_kept"):
                first = rows.get_group(change)[_CHANGE_COLUMNS].head(max(examples, 0))
                for path, *why in first.itertuples(index=False, name=None):
                    yield f"            {printable(path)}  {why_changed(*why)}"


def _check_lines(checks: Iterable[CheckCounts]) -> Iterator[str]:
    header = ("check", "action", "found", "dropped", "quarantined", "fixed", "warned", "overruled")
    yield _columns(header)
    for one in checks:
        effects = (f"{one.effects.get(name, 0):,}" for name in ("drop", "quarantine", "fix", "warn", "overruled"))
        yield _columns((one.check, one.action or "warn*", f"{one.found:,}", *effects))
        for example in one.examples:
            yield "    " + "  ".join(
                part for part in (printable(example.path), example.value(), printable(example.note)) if part
            )
    if any(not one.action for one in checks):
        yield "* not in the policy"


def _columns(cells: Sequence[str]) -> str:
    return f"{cells[0]:<24}{cells[1]:<7}" + "".join(f"{cell:>13}" for cell in cells[2:])


def _explanation(cleaning: Cleaning, path: str) -> Iterator[str]:
    images, reasons = cleaning.decided.images, cleaning.decided.reasons
    of_image = images[images["path"] == path]
    if of_image.empty:
        near = near_paths(images["path"], path)
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else "write the path as the audit report shows it"
        raise UserError(f"--why names {path!r}, not in the archive: {hint}")
    image = of_image.iloc[0]
    yield f"{printable(path)}: {image['action']}"
    rows = reasons[reasons["path"] == path]
    for check, policy, effect, example in zip(
        rows["check"], rows["policy"], rows["effect"], examples_of(rows), strict=True
    ):
        parts = [f"policy: {policy}", f"effect: {effect}", example.value(), printable(example.note)]
        yield f"  {check:<24}" + "; ".join(part for part in parts if part)
    if not image["keep"]:
        yield f"  {_way_back(image['reasons'].split(','), path)}"


def _way_back(reasons: Sequence[str], path: str) -> str:
    if undecodable := sorted(set(reasons) & set(UNDECODABLE)):
        return f"It cannot be decoded ({named(undecodable)}): mend the file in the source."
    return f"To bring it back: --allow {printable(path)!r}, or name it in allow_list of the run file."
