"""Which images must stay in one split: copies of each other, and those that a pattern on the path ties together."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.failures import UserError

LONGEST_PATTERN = 1000  # characters


def check_group_pattern(pattern: str) -> None:
    """Check a group pattern before any work is done.

    Raises:
        UserError: When it is no regular expression of RE2, or longer than ``LONGEST_PATTERN``.
    """
    if not pattern:
        return
    if len(pattern) > LONGEST_PATTERN:
        raise UserError(f"group_pattern has {len(pattern)} characters: write it with {LONGEST_PATTERN} or fewer")
    try:
        # First alone, for RE2 cites all that it was given.
        pc.match_substring_regex(pa.array([""]), pattern)
        pc.match_substring_regex(pa.array([""]), _whole_path(pattern))
    except (pa.ArrowInvalid, UnicodeError) as error:
        reason = str(error).removeprefix("Invalid regular expression: ").strip()
        raise UserError(
            f"group_pattern {pattern!r} is no regular expression that RE2 understands ({reason}): correct it; "
            r"look-around and back-references do not exist there, an animal's id is found by animal_(\d+) for example"
        ) from error


def pattern_groups(paths: pd.Series, pattern: str) -> pd.Series:
    r"""Return the group that ``pattern`` finds in each path: its first capture group, or the whole match without one.

    The pattern is searched for in the whole path, and **groups reach across classes**: images of two class folders
    with the same text are tied. A pattern that captures the folder too keeps the classes apart: ``^(.*/burst\d+)_``
    instead of ``(burst\d+)_``. RE2 matches in time linear in the path for every pattern, so none can hang the step
    (https://github.com/google/re2/wiki/Syntax).

    Args:
        paths: Of the images.
        pattern: See ``check_group_pattern``; an empty pattern finds no groups.

    Returns:
        Text in the order of ``paths``, missing where nothing, or nothing but the empty text, was found.

    Raises:
        UserError: When the pattern is invalid, or found in no path at all.
    """
    if not pattern:
        return pd.Series(None, index=paths.index, dtype="str")
    check_group_pattern(pattern)
    # A chunk at a time, because Arrow's strings end at 2 GiB.
    found = [_found(paths.iloc[start : start + 100_000], pattern) for start in range(0, len(paths), 100_000)]
    groups = pd.concat(found) if found else paths
    if groups.isna().all():
        example = f", {paths.iloc[0]!r} for example" if len(paths) else ""
        raise UserError(
            f"group_pattern {pattern!r} is found in none of the {len(paths)} paths{example}: correct it, or leave it "
            "empty to group copies only"
        )
    return groups


def _found(paths: pd.Series, pattern: str) -> pd.Series:
    values = pa.array(paths, pa.string())
    matched = pc.match_substring_regex(values, pattern)
    # Arrow has no search that returns an unnamed capture group; it can replace the whole path by it.
    captured = pc.replace_substring_regex(values, pattern=_whole_path(pattern), replacement=r"\1")
    wanted = pc.and_(matched, pc.not_equal(captured, ""))
    return pd.Series(pc.if_else(wanted, captured, None).to_pylist(), index=paths.index, dtype="str")


def _whole_path(pattern: str) -> str:
    """Return a pattern that matches a whole path, its first capture group being what the user's pattern finds first."""
    try:
        pc.replace_substring_regex(pa.array([""]), pattern=pattern, replacement=r"\1")
        captured = f"(?:{pattern})"
    except pa.ArrowInvalid:  # there is no group 1, or the pattern is invalid, which whoever uses the result will see
        captured = f"({pattern})"
    return rf"\A(?s:.*?){captured}(?s:.*)\z"


def tied_images(*keys: pd.Series) -> np.ndarray:
    """Return the number of the tie of each image: equal for images tied by an equal key, directly or through others.

    Labels spread to the smallest row number with pointer jumping (Shiloach and Vishkin, 1982), so a long chain takes
    a number of rounds logarithmic in its length.

    Args:
        keys: Of each image, all in the same order; a missing key ties nothing.

    Returns:
        int64 ``[images]``, numbered from 0 without gaps.
    """
    codes = [pd.factorize(key)[0] for key in keys]
    ties = np.arange(len(keys[0]))
    while True:
        before = ties.copy()
        for code in codes:
            keyed = code >= 0
            least = np.full(code.max(initial=-1) + 1, len(ties))
            np.minimum.at(least, code[keyed], ties[keyed])
            smaller = least[code[keyed]]
            # What an image learns, its representative learns too: whole trees are hooked, not single images.
            np.minimum.at(ties, ties[keyed], smaller)
            ties[keyed] = np.minimum(ties[keyed], smaller)
            ties = ties[ties]
        if np.array_equal(ties, before):
            return np.unique(ties, return_inverse=True)[1]
