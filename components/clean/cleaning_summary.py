"""The cleaning as Markdown for the pipeline's user interface: what was dropped, why, and how to overrule it.

As long for a million images as for a thousand: counts, and a few examples of each.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from components.clean.check_counts import CheckCounts, check_counts
from components.clean.cleaning_policy import ALLOW_LIST, DAMAGED, DENY_LIST, UNDECODABLE, CleaningPolicy
from components.clean.earlier_cleaning import EarlierCleaning, changed_actions, counts_of
from components.clean.earlier_findings import APPLIES, OUTCOMES_IN_WORDS, EarlierFindings
from components.clean.keep_decisions import Decided
from components.formats.check_names import CHECK_MEANINGS
from components.formats.decisions import entry_for
from components.report.shown_text import counted

EXAMPLES = 3
LISTED_CLASSES = 50
LISTED_CHANGES = 20
LISTED_EARLIER_FINDINGS = 10

CHANGES_IN_WORDS = {
    "newly_dropped": "kept before, dropped now",
    "newly_kept": "dropped before, kept now",
    "new": "not there before",
    "gone": "no longer there",
}

_LIST_MEANINGS = {DENY_LIST: "named by a person", ALLOW_LIST: "named by a person"}
_NUMBERS = {"images", "kept", "dropped", "found", "fixed", "warned", "share", "lost", "quarantined", "overruled"}

# Punctuation that means something in Markdown or HTML. Backslashes are what CommonMark and the renderer of the
# Kubeflow user interface (markdown-to-jsx) both understand; that renderer shows entities such as &#124; literally.
_MARKUP = re.compile(r"[]!#&()*+<=>\[\\^_`{|}~]")


def summary_markdown(
    decided: Decided,
    findings: pd.DataFrame,
    policy: CleaningPolicy,
    *,
    earlier: EarlierCleaning | None,
    changes: pd.DataFrame | None,
    earlier_findings: EarlierFindings | None,
) -> str:
    """Return the summary of one cleaning.

    Args:
        decided: What was decided.
        findings: ``FINDING_COLUMNS``.
        policy: The policy the decisions were made by.
        earlier: The cleaning it is compared with, None without.
        changes: ``CHANGE_COLUMNS``, None without.
        earlier_findings: What an earlier run found, None without.
    """
    images = decided.images
    counts = check_counts(decided, findings, policy, EXAMPLES)
    dropped = int((~images["keep"]).sum())
    warned = decided.reasons.loc[decided.reasons["effect"] == "warn", "path"].nunique()
    parts = [
        "# Cleaning",
        f"**{len(images) - dropped:,} of {len(images):,} images are kept, {dropped:,} are dropped.** Nothing is "
        "deleted: the archive stays as it is, and every decision can be overruled."
        + (f" A person should look at {warned:,} of the kept ones." if warned else ""),
        _decisions(images),
    ]
    if earlier is not None and changes is not None:
        parts += ["## Since the earlier cleaning", *_changes(earlier, changes, policy)]
    if earlier_findings is not None:
        parts += ["## Found by an earlier run", *_earlier_findings(earlier_findings, policy)]
    parts += ["## Checks", _checks(counts)]
    if any(one.examples for one in counts):
        parts += [
            "## Examples",
            "Up to three of each check: where a value is measured, those that came closest to the limit.",
            _examples(counts),
        ]
    parts += ["## Classes", _classes(images), "## To overrule a decision", *_how_to_overrule(images)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return ``text`` as Markdown that shows exactly it, on one line, wherever in a table or paragraph it stands."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def printable(text: str) -> str:
    """Return ``text`` with line breaks, control codes and the like spelt out."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def dropped_lines(decided: Decided) -> Iterator[str]:
    """Yield the lines of a file that ``allow_list`` takes: every dropped image under its reasons."""
    dropped = decided.images.loc[~decided.images["keep"], ["path", "reasons"]]
    yield f"# Every dropped image, {len(dropped)}. To bring images back, delete the lines of those that shall stay"
    yield "# dropped, and name the file in allow_list: '@' and its absolute path or gs:// URI."
    yield "# A copy that comes back takes the place of the one that was kept; name both to keep both."
    for reasons, images in dropped.groupby("reasons", sort=True)["path"]:
        names = str(reasons).split(",")
        decodable = not set(names) & set(DAMAGED)
        meanings = "; ".join(meaning for meaning in map(_meaning, names) if meaning)
        yield ""
        yield f"# {', '.join(names)} ({len(images)}): {meanings}"
        if set(names) & set(UNDECODABLE):
            yield "# No step can decode these: mend the files in the source."
        elif not decodable:
            yield "# Split may not be able to decode these: take '# ' off the ones that a look shows to be usable."
        for path in images:
            yield entry_for(path) if decodable else f"# {entry_for(path)}"


def _meaning(check: str) -> str:
    return _LIST_MEANINGS.get(check, CHECK_MEANINGS.get(check, ""))


def _decisions(images: pd.DataFrame) -> str:
    actions = images["action"].value_counts()
    meanings = {
        "keep": "kept as they are",
        "fix": "kept, and mended when split prepares them",
        "drop": "dropped",
        "quarantine": "in quarantine: copies lie under different labels, and a person has to say which is right",
    }
    rows = [
        [action, f"{actions.get(action, 0):,}", f"{actions.get(action, 0) / max(len(images), 1):.1%}", meaning]
        for action, meaning in meanings.items()
    ]
    return _table(["decision", "images", "share", "meaning"], [*rows, ["all", f"{len(images):,}", "100.0%", ""]])


def _classes(images: pd.DataFrame) -> str:
    counts = images.groupby("label")["keep"].agg(["size", "sum"])
    counts["share"] = 1 - counts["sum"] / counts["size"]
    rows = [
        [escape(str(label)), f"{size:,}", f"{kept:,}", f"{size - kept:,}", f"{share:.1%}"]
        for label, size, kept, share in counts.sort_values("share", ascending=False, kind="stable")
        .head(LISTED_CLASSES)
        .itertuples()
    ]
    table = _table(["class", "images", "kept", "dropped", "lost"], rows)
    more = len(counts) - LISTED_CLASSES
    return f"{table}\n\nand {more:,} more classes, which lose no larger share" if more > 0 else table


def _checks(counts: Iterable[CheckCounts]) -> str:
    rows = [
        [
            escape(one.check),
            escape(one.action) if one.action else "warn (not in the policy)",
            f"{one.found:,}",
            *(_number(one.effects.get(effect, 0)) for effect in ("drop", "quarantine", "fix", "warn", "overruled")),
            escape(_meaning(one.check)),
        ]
        for one in counts
        if one.found or one.effects
    ]
    if not rows:
        return "No check found anything."
    quiet = [escape(one.check) for one in counts if not (one.found or one.effects)]
    header = ["check", "action", "found", "dropped", "quarantined", "fixed", "warned", "overruled", "meaning"]
    table = _table(header, rows)
    return f"{table}\n\nFound nothing: {', '.join(quiet)}." if quiet else table


def _number(images: int) -> str:
    """Return a count, and nothing for none: what did happen shall stand out."""
    return f"{images:,}" if images else ""


def _examples(counts: Iterable[CheckCounts]) -> str:
    rows = [
        [escape(one.check), escape(example.path), escape(example.value()), escape(example.note)]
        for one in counts
        for example in one.examples
    ]
    return _table(["check", "image", "measured", "note"], rows)


def _changes(earlier: EarlierCleaning, changes: pd.DataFrame, policy: CleaningPolicy) -> Iterable[str]:
    counts = counts_of(changes)
    nothing = "" if any(counts.values()) else " Every image is decided about as it was."
    yield f"Compared with {escape(earlier.uri)}.{nothing}"
    if not nothing:
        yield _table(
            ["change", "images", "meaning"],
            [[escape(change), f"{counts[change]:,}", CHANGES_IN_WORDS[change]] for change in counts],
        )
    if actions := changed_actions(earlier.actions, policy.actions):
        yield (
            "The policy differs: "
            + "; ".join(
                f"{escape(check)} was {escape(before)}, is {escape(now)}" for check, (before, now) in actions.items()
            )
            + "."
        )
    listed = changes[changes["change"].isin(["newly_dropped", "newly_kept"])]
    if listed.empty:
        return
    listed = listed.groupby("change", sort=False).head(LISTED_CHANGES // 2)
    columns = ["path", "change", "keep", "reasons_before", "reasons_now", "other_bytes"]
    yield _table(
        ["image", "change", "why"],
        [
            [escape(path), escape(change), escape(why_changed(*why))]
            for path, change, *why in listed[columns].itertuples(index=False, name=None)
        ],
    )
    unlisted = counts["newly_dropped"] + counts["newly_kept"] - len(listed)
    if unlisted:
        yield f"and {unlisted:,} more: changes.parquet beside the decisions has all of them."


def _earlier_findings(earlier: EarlierFindings, policy: CleaningPolicy) -> Iterable[str]:
    """Yield what an earlier run found, and what has become of it: of each outcome a few."""
    found, counts = earlier.findings, earlier.counts
    checks = sorted(set(found["check"]))
    actions = ", ".join(f"{escape(check)} is {escape(policy.action(check))}" for check in checks)
    yield (
        f"{escape(earlier.uri)} names {counted(len(found), 'image')}."
        + (f" As they were: {counts[APPLIES]:,}; of these the policy decides: {actions}." if checks else "")
    )
    if not checks:
        return
    yield _table(
        ["images", "finding"],
        [[f"{number:,}", OUTCOMES_IN_WORDS[outcome]] for outcome, number in counts.items() if number],
    )
    listed = found.groupby("outcome", sort=False).head(LISTED_EARLIER_FINDINGS)
    yield _table(
        ["image", "what was found", "now"],
        [
            [escape(path), escape(message), OUTCOMES_IN_WORDS[outcome]]
            for path, message, outcome in listed[["path", "message", "outcome"]].itertuples(index=False, name=None)
        ],
    )
    if len(listed) < len(found):
        yield f"and {len(found) - len(listed):,} more."


def why_changed(keep: bool, reasons_before: str, reasons_now: str, other_bytes: bool) -> str:
    """Return why an image is decided about differently than before."""
    if not keep:
        why = f"now {reasons_now.replace(',', ', ')}"
    elif reasons_now == ALLOW_LIST:
        why = "on allow_list"
    else:
        why = f"no longer {reasons_before.replace(',', ', ')}"
    return f"{why}; the file has other bytes than before" if other_bytes else why


def _how_to_overrule(images: pd.DataFrame) -> Iterable[str]:
    yield (
        "In the run file, or under the pipeline's parameters: a whole check by cleaning\\_policy, single images by "
        "allow\\_list and deny\\_list, which take paths, globs such as cat/burst-07-\\*, and files of them."
    )
    dropped = images.loc[~images["keep"] & ~images["check"].isin(DAMAGED), ["path", "check"]]
    # In a block of code nothing can be escaped: an image with a plain name is the example.
    plain = dropped[dropped["path"].head(1000).str.fullmatch(r"[\w./-]+").reindex(dropped.index, fill_value=False)]
    path, check = next(plain.itertuples(index=False, name=None), ("cat/1.jpg", "dark"))
    check = "dark" if check == DENY_LIST else check
    yield "\n".join(
        [
            "```yaml",
            f"cleaning_policy: {{{check}: warn}}  # and the other checks",
            f"allow_list: [{path}]",
            "deny_list: [cat/burst-07-*]",
            "```",
        ]
    )
    yield (
        "dropped.txt beside the decisions lists every dropped image under its reasons: delete the lines of those that "
        "shall stay dropped and give the rest to allow\\_list as @gs://bucket/dropped.txt. reasons.parquet has every "
        "reason of every image, with what was measured."
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---:" if name in _NUMBERS else "---" for name in header], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
