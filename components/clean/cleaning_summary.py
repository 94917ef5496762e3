"""The cleaning as Markdown for the pipeline's user interface: what was dropped, why, and how to overrule it."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from components.clean.cleaning_policy import UNREADABLE, CleaningPolicy
from components.clean.keep_decisions import images_per_reason
from components.formats.check_names import CHECK_MEANINGS

LISTED_IMAGES = 50
LISTED_CLASSES = 500

# Punctuation that means something in Markdown or HTML. Backslashes are what CommonMark and the renderer of the
# Kubeflow user interface (markdown-to-jsx) both understand; that renderer shows entities such as &#124; literally.
_MARKUP = re.compile(r"[]!#&()*+<=>\[\\^_`{|}~]")


def summary_markdown(decisions: pd.DataFrame, findings: pd.DataFrame, policy: CleaningPolicy) -> str:
    """Return the summary of one cleaning.

    Args:
        decisions: The catalog with ``DECISION_COLUMNS``.
        findings: ``FINDING_COLUMNS``.
        policy: The policy the decisions were made by.
    """
    dropped = int((~decisions["keep"]).sum())
    parts = [
        "# Cleaning",
        f"**{len(decisions) - dropped:,} of {len(decisions):,} images are kept, {dropped:,} are dropped.** Nothing is "
        "deleted: naming an image in allow\\_list keeps it, naming it in deny\\_list drops it.",
        "## Classes",
        _classes(decisions),
        "## Checks",
        _checks(decisions, findings, policy),
        *_dropped_images(decisions, dropped),
    ]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return ``text`` as Markdown that shows exactly it, on one line, wherever in a table or paragraph it stands."""
    printable = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return _MARKUP.sub(r"\\\g<0>", printable)


def _classes(decisions: pd.DataFrame) -> str:
    counts = decisions.groupby("label")["keep"].agg(["size", "sum"])
    rows = [
        [escape(str(label)), f"{size:,}", f"{kept:,}", f"{size - kept:,}"]
        for label, size, kept in counts.head(LISTED_CLASSES).itertuples()
    ]
    table = _table(["class", "images", "kept", "dropped"], rows)
    more = len(counts) - LISTED_CLASSES
    return f"{table}\n\nand {more:,} more classes" if more > 0 else table


def _checks(decisions: pd.DataFrame, findings: pd.DataFrame, policy: CleaningPolicy) -> str:
    found = findings.drop_duplicates(["check", "path"])["check"].value_counts()
    dropped = images_per_reason(decisions)
    ordered = [*CHECK_MEANINGS, *sorted(set(found.index) - set(CHECK_MEANINGS))]
    mentioned = [check for check in ordered if check in found.index or check in policy.actions]
    rows = [
        [
            escape(check),
            _action(check, policy),
            f"{found.get(check, 0):,}",
            f"{dropped.get(check, 0):,}",
            escape(CHECK_MEANINGS.get(check, "")),
        ]
        for check in mentioned
    ]
    rows += [
        [escape(name), "drop", f"{len(paths):,}", f"{dropped.get(name, 0):,}", "named by a person"]
        for name, paths in (("deny_list", policy.deny_list),)
        if paths
    ]
    if policy.allow_list:
        overruled = int((decisions["keep"] & (decisions["reasons"] == "allow_list")).sum())
        meaning = f"named by a person; {overruled:,} would have been dropped"
        rows.append([escape("allow_list"), "keep", f"{len(policy.allow_list):,}", "0", meaning])
    if not rows:
        return "No check found anything."
    return _table(["check", "action", "found", "dropped", "meaning"], rows)


def _action(check: str, policy: CleaningPolicy) -> str:
    if check == UNREADABLE:
        return "drop (always)"
    return policy.action(check) if check in policy.actions else "warn (not in the policy)"


def _dropped_images(decisions: pd.DataFrame, dropped: int) -> Iterable[str]:
    if not dropped:
        return []
    first = decisions.loc[~decisions["keep"], ["path", "reasons", "kept_twin"]].head(LISTED_IMAGES)
    rows = [
        [escape(path), escape(reasons.replace(",", ", ")), "" if pd.isna(twin) else escape(twin)]
        for path, reasons, twin in first.itertuples(index=False)
    ]
    heading = "## Dropped images" + (f" (first {LISTED_IMAGES} of {dropped:,})" if dropped > LISTED_IMAGES else "")
    return [heading, _table(["image", "reasons", "kept in its place"], rows)]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---:" if name in ("images", "kept", "dropped", "found") else "---" for name in header], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
