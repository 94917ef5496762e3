"""The cleaning policy: what to do about each check, and the images a person decided about by hand."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping

from components.failures import UserError
from components.formats.check_names import CHECK_MEANINGS

ACTIONS = ("drop", "keep", "warn")
"""drop: not trained on. keep: nothing is wrong with it. warn: kept, and a person should look."""

ALLOW_LIST = "allow_list"
DENY_LIST = "deny_list"
UNREADABLE = "unreadable"


@dataclasses.dataclass(frozen=True)
class CleaningPolicy:
    """What to do about each check, and which images a person decided about.

    Attributes:
        actions: One of ``ACTIONS`` by check name; a check that is not mentioned warns, ``unreadable`` always drops.
        allow_list: Paths of images to keep whatever the checks say.
        deny_list: Paths of images to drop whatever the checks say.
    """

    actions: Mapping[str, str]
    allow_list: frozenset[str]
    deny_list: frozenset[str]

    def action(self, check: str) -> str:
        """Return what to do about images that ``check`` found."""
        return "drop" if check == UNREADABLE else self.actions.get(check, "warn")

    def dropping_checks(self) -> list[str]:
        """Return the checks whose images are dropped, sorted."""
        return sorted({UNREADABLE} | {check for check, action in self.actions.items() if action == "drop"})


def cleaning_policy(actions: Mapping[str, str], allow_list: Iterable[str], deny_list: Iterable[str]) -> CleaningPolicy:
    """Check a policy as a user wrote it.

    Args:
        actions: ``drop``, ``keep`` or ``warn`` by check name.
        allow_list: Paths of images to keep.
        deny_list: Paths of images to drop.

    Raises:
        UserError: When a check or an action is unknown, ``unreadable`` is not dropped, or a path is in both lists.
    """
    for check, action in actions.items():
        if check not in CHECK_MEANINGS:
            raise UserError(f"the policy names the unknown check {check!r}: {_suggestion(check)}")
        if action not in ACTIONS:
            raise UserError(f"the policy's action for {check!r} is {action!r}: use one of {', '.join(ACTIONS)}")
    if actions.get(UNREADABLE, "drop") != "drop":
        raise UserError(
            f"the policy's action for 'unreadable' is {actions[UNREADABLE]!r}: set it to drop, because an image "
            "that cannot be decoded cannot be trained on"
        )
    policy = CleaningPolicy(dict(actions), frozenset(allow_list), frozenset(deny_list))
    if both := policy.allow_list & policy.deny_list:
        raise UserError(f"{named(both)}: in both allow_list and deny_list; remove it from one of them")
    return policy


def named(paths: Iterable[str]) -> str:
    """Return up to three of ``paths``, sorted and quoted, and how many more there are."""
    ordered = sorted(paths)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(repr(path) for path in ordered[:3]) + more


def _suggestion(check: str) -> str:
    close = difflib.get_close_matches(str(check), CHECK_MEANINGS, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the checks are {', '.join(CHECK_MEANINGS)}"
