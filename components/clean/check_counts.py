"""What each check did in one cleaning, in numbers and examples: what summaries for people are made of."""

import dataclasses
import math

import pandas as pd

from components.clean.cleaning_policy import ALLOW_LIST, DENY_LIST, CleaningPolicy, known_checks
from components.clean.keep_decisions import Decided

_ACTING = ("drop", "quarantine", "fix", "warn", "overruled")


@dataclasses.dataclass(frozen=True)
class Example:
    """One image that a check acted on.

    Attributes:
        path: The image.
        measured: What was compared, NaN where nothing is.
        threshold: With what, NaN likewise.
        note: The copy that was kept in its place, what a fix does, the other image of the finding, or what it says.
    """

    path: str
    measured: float
    threshold: float
    note: str

    def value(self) -> str:
        """Return what was measured, beside what it was compared with."""
        if math.isnan(self.measured):
            return ""
        return f"{self.measured:.4g}" + ("" if math.isnan(self.threshold) else f" (limit {self.threshold:.4g})")


@dataclasses.dataclass(frozen=True)
class CheckCounts:
    """What one check, or one list, did.

    Attributes:
        check: Its name.
        action: What the policy says about it; empty where it does not mention the check.
        found: Images, folders and files it found something on, or that the list names.
        effects: Images by effect, see ``REASON_EFFECTS``; effects on no image are left out.
        examples: Of images it acted on, those that came closest to the threshold first.
    """

    check: str
    action: str
    found: int
    effects: dict[str, int]
    examples: list[Example]


def check_counts(
    decided: Decided, findings: pd.DataFrame, policy: CleaningPolicy, examples_per_check: int
) -> list[CheckCounts]:
    """Return every check that found something or that the policy mentions, in the order reports list them."""
    found = findings.drop_duplicates(["check", "path"])["check"].value_counts()
    effects: dict[str, dict[str, int]] = {}
    for check, effect, number in decided.reasons.groupby(["check", "effect"]).size().reset_index().to_numpy():
        effects.setdefault(check, {})[effect] = int(number)
    acting = decided.reasons[decided.reasons["effect"].isin(_ACTING)]
    acting = acting[(acting["check"] != DENY_LIST) | (acting["effect"] == "drop")]
    examples = {str(check): rows for check, rows in acting.groupby("check")}
    listed = {DENY_LIST: policy.deny_list, ALLOW_LIST: policy.allow_list}
    ordered = [*known_checks(), *sorted(set(found.index) - set(known_checks())), *listed]
    counts = []
    for check in ordered:
        of_check = effects.get(check, {})
        if not (check in found.index or check in policy.actions or of_check or listed.get(check)):
            continue
        counts.append(
            CheckCounts(
                check=check,
                action=_action(check, policy),
                found=int(found.get(check, 0)) if check not in listed else sum(of_check.values()),
                effects=of_check,
                examples=_examples(examples.get(check), findings, examples_per_check),
            )
        )
    return counts


def examples_of(reasons: pd.DataFrame) -> list[Example]:
    """Return one example per row of ``REASON_COLUMNS``."""
    columns = [reasons[name].tolist() for name in ("path", "measured", "threshold", "kept_twin", "remedy")]
    return [
        Example(path, measured, threshold, _note(twin, remedy))
        for path, measured, threshold, twin, remedy in zip(*columns, strict=True)
    ]


def _action(check: str, policy: CleaningPolicy) -> str:
    if check in (ALLOW_LIST, DENY_LIST):
        return "keep" if check == ALLOW_LIST else "drop"
    mentioned = check in policy.actions or policy.action(check) == "drop"
    return policy.action(check) if mentioned else ""


def _examples(rows: pd.DataFrame | None, findings: pd.DataFrame, number: int) -> list[Example]:
    if rows is None:
        return []
    # What comes closest to the threshold tells best whether the threshold is right.
    distance = ((rows["measured"] - rows["threshold"]) / rows["threshold"].where(rows["threshold"] != 0, 1)).abs()
    nearest = rows.loc[distance.sort_values(kind="stable").index[:number]]
    said = findings[findings["path"].isin(nearest["path"]) & (findings["check"] == rows["check"].iloc[0])]
    said = said.drop_duplicates("path").set_index("path")[["related_path", "message"]]
    return [_explained(one, said) for one in examples_of(nearest)]


def _explained(example: Example, said: pd.DataFrame) -> Example:
    """Return an example whose note, where it has none, names the other image of the finding, or says what it says."""
    if example.note or example.path not in said.index:
        return example
    other, message = said.loc[example.path]
    if isinstance(other, str):
        return dataclasses.replace(example, note=f"like {other}")
    return example if example.value() else dataclasses.replace(example, note=str(message))


def _note(kept_twin: str | None, remedy: str | None) -> str:
    if isinstance(kept_twin, str):
        return f"kept: {kept_twin}"
    return remedy if isinstance(remedy, str) else ""
