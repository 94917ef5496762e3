"""The cleaning policy: what to do about each check, and the images a person decided about by hand."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from components import storage
from components.failures import UserError
from components.formats.check_names import CHECK_MEANINGS

ACTIONS = ("drop", "keep", "warn", "fix")
"""drop: not trained on. keep: nothing is wrong with it. warn: kept, and a person should look. fix: kept, because what
is wrong is mended when split prepares the image; the archive itself is never changed."""

ALLOW_LIST = "allow_list"
DENY_LIST = "deny_list"
UNREADABLE = "unreadable"

UNDECODABLE = (UNREADABLE, "truncated", "empty_file", "not_an_image", "decompression_bomb")
"""Checks whose images no later step can decode: always dropped, and no allow-list brings them back."""

DAMAGED = (*UNDECODABLE, "corrupt")
"""Checks whose images may not be decodable: no glob brings them back, only their own paths, after a look at them."""

COPIES = ("exact_duplicate", "identical_pixels", "near_duplicate", "semantic_duplicate")
"""Checks that find copies: drop keeps one image of each group under a label, and split never parts a group."""

CONFLICTS = ("conflicting_label", "near_conflicting_label")
"""Checks that find copies under several labels: drop puts every copy in quarantine."""

LESSER_PIXELS = ("dark", "bright", "low_contrast", "low_information", "blurry")
"""Checks that speak against an image where a copy without them could stay, unless the policy says keep."""

REMEDIES: Mapping[str, str] = {
    "exif_rotated": "turned upright",
    "animated": "first frame taken",
    "cmyk": "converted to RGB",
    "alpha": "transparency laid on white",
    "sixteen_bit": "scaled to 8 bits a channel",
    "palette": "converted to RGB",
    "wrong_extension": "read as what it is",
}
"""What split does to every image it prepares, by the check that finds the need: what fix can be said of."""

LIST_FILE_MARK = "@"
"""An entry of a list that starts with it names a file of entries, one a line."""

_POLICY_KEYS = ("cleaning_policy", ALLOW_LIST, DENY_LIST)


@dataclasses.dataclass(frozen=True)
class CleaningPolicy:
    """What to do about each check, and which images a person decided about.

    Attributes:
        actions: One of ``ACTIONS`` by check name; a check that is not mentioned warns, ``UNDECODABLE`` always drop.
        allow_list: Paths and globs of images to keep whatever the checks say.
        deny_list: Paths and globs of images to drop whatever the checks say.
    """

    actions: Mapping[str, str]
    allow_list: frozenset[str]
    deny_list: frozenset[str]

    def action(self, check: str) -> str:
        """Return what to do about images that ``check`` found."""
        return "drop" if check in UNDECODABLE else self.actions.get(check, "warn")

    def dropping_checks(self) -> list[str]:
        """Return the checks whose images are dropped, sorted."""
        return sorted({*UNDECODABLE, *(check for check, action in self.actions.items() if action == "drop")})


def cleaning_policy(actions: Mapping[str, str], allow_list: Iterable[str], deny_list: Iterable[str]) -> CleaningPolicy:
    """Check a policy as a user wrote it. Nothing is read, files of entries neither.

    Args:
        actions: ``drop``, ``keep``, ``warn`` or ``fix`` by check name.
        allow_list: Paths, globs, or ``@`` and a file of them, of images to keep.
        deny_list: The same of images to drop.

    Raises:
        UserError: When a check or an action is unknown, an image that cannot be decoded would be kept, a check has no
            remedy, an entry of a list is no text, or an entry is in both lists.
    """
    known = known_checks()
    for check, action in actions.items():
        if check not in known:
            raise UserError(f"the policy names the unknown check {check!r}: {_suggestion(check)}")
        if action not in ACTIONS:
            raise UserError(f"the policy's action for {check!r} is {action!r}: use one of {', '.join(ACTIONS)}")
        if action == "fix" and check not in REMEDIES:
            raise UserError(
                f"the policy's action for {check!r} is 'fix', for which there is no remedy: use drop, keep or warn "
                f"(fix is for {', '.join(REMEDIES)})"
            )
        if check in UNDECODABLE and action != "drop":
            raise UserError(
                f"the policy's action for {check!r} is {action!r}: set it to drop, because an image that cannot be "
                "decoded cannot be trained on"
            )
    for name, entries in ((ALLOW_LIST, allow_list), (DENY_LIST, deny_list)):
        _check_entries(name, entries)
    policy = CleaningPolicy(dict(actions), frozenset(allow_list), frozenset(deny_list))
    if both := policy.allow_list & policy.deny_list:
        raise UserError(f"{named(both)}: in both allow_list and deny_list; remove it from one of them")
    return policy


def known_checks() -> list[str]:
    """Return every check a policy can name, in the order reports list them."""
    return list(CHECK_MEANINGS)


def with_listed_files(policy: CleaningPolicy) -> CleaningPolicy:
    """Return the policy with the entries of the files that its lists name in place of the files.

    In a file each line is a path or a glob; empty lines and lines that start with ``#`` say nothing.

    Raises:
        UserError: When a file does not exist, may not be read, or is no UTF-8 text.
        TransientError: When Cloud Storage does not answer.
    """
    allow, deny = (frozenset(_expanded(entries)) for entries in (policy.allow_list, policy.deny_list))
    return cleaning_policy(policy.actions, allow, deny)


def read_policy_file(path: Path) -> CleaningPolicy:
    """Read a policy from a YAML file: either ``check: action`` lines, or a run file of the pipeline.

    Of a run file ``cleaning_policy``, ``allow_list`` and ``deny_list`` are read; without the first, nothing drops but
    what cannot be decoded.

    Raises:
        UserError: When the file cannot be read or holds no policy.
    """
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UserError(f"cannot read the policy {path} ({why}): write one 'check: action' a line") from error
    if not isinstance(table, dict):
        raise UserError(f"the policy {path} is no table: write one 'check: action' a line")
    if set(table) & set(_POLICY_KEYS):
        actions, allow_list, deny_list = (
            _of_kind(path, name, table.get(name), kind)
            for name, kind in zip(_POLICY_KEYS, (dict, list, list), strict=True)
        )
        return cleaning_policy(actions, allow_list, deny_list)
    return cleaning_policy(table, [], [])


def named(paths: Iterable[str]) -> str:
    """Return up to three of ``paths``, sorted and quoted, and how many more there are."""
    ordered = sorted(paths)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(repr(path) for path in ordered[:3]) + more


def _of_kind(path: Path, name: str, value: Any, kind: type) -> Any:
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise UserError(f"{name} in {path} is {value!r}: write {'a table' if kind is dict else 'a list'}")
    return value


def _check_entries(name: str, entries: Iterable[str]) -> None:
    for entry in entries:
        if not isinstance(entry, str) or not entry:
            raise UserError(f"{name} holds {entry!r}, which is no path: write paths as the audit report shows them")
        file = entry.removeprefix(LIST_FILE_MARK)
        if file != entry and not (storage.is_remote(file) or Path(file).is_absolute()):
            raise UserError(
                f"{name} names the file {file!r}: give its absolute path or gs:// URI, for steps run elsewhere"
            )


def _expanded(entries: Iterable[str]) -> list[str]:
    expanded: list[str] = []
    for entry in entries:
        if not entry.startswith(LIST_FILE_MARK):
            expanded.append(entry)
            continue
        file = entry.removeprefix(LIST_FILE_MARK)
        try:
            lines = storage.read_bytes(file).decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is no UTF-8 text: write one path a line") from error
        expanded += [line for line in (line.rstrip("\r") for line in lines) if line and not line.startswith("#")]
    return expanded


def _suggestion(check: str) -> str:
    close = difflib.get_close_matches(str(check), known_checks(), n=1)
    return f"did you mean {close[0]!r}?" if close else f"the checks are {', '.join(known_checks())}"
