"""Which images the allow-list and the deny-list name: by their paths, or by globs such as ``cat/burst-07-*``."""

import difflib
import fnmatch
import glob
import re

import numpy as np
import pandas as pd

from components.clean.cleaning_policy import ALLOW_LIST, DENY_LIST, CleaningPolicy, named
from components.failures import UserError

# Comparing spellings takes 10 us a pair: enough paths to find a neighbour, not a million of them.
_COMPARED_PATHS = 20_000


def listed_images(
    paths: pd.Series, policy: CleaningPolicy, undecodable: np.ndarray, damaged: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which images are to be kept and which dropped because a person says so.

    What is an image's path names that image; anything else with ``*``, ``?`` or ``[`` in it is a glob, whose ``*``
    goes through folders. A path wins over a glob of the other list. A glob of the allow-list passes over damaged
    images.

    Args:
        paths: Of every image.
        policy: With both lists.
        undecodable: Which images no step can decode.
        damaged: Which images may be among them, these included.

    Returns:
        Two boolean arrays, one value per image, never both true.

    Raises:
        UserError: When an entry names no image, the allow-list names one that cannot be decoded, or both lists name
            the same one.
    """
    index = pd.Index(paths)
    allowed, allowed_by_glob = _named_images(index, policy.allow_list, ALLOW_LIST)
    denied, denied_by_glob = _named_images(index, policy.deny_list, DENY_LIST)
    if (allowed & undecodable).any():
        raise UserError(
            f"allow_list names {named(index[allowed & undecodable])}, which cannot be decoded: remove it from the list "
            "or mend the file"
        )
    allow = allowed | (allowed_by_glob & ~denied & ~damaged)
    deny = denied | (denied_by_glob & ~allowed)
    if (both := allow & deny).any():
        raise UserError(f"{named(index[both])}: in both allow_list and deny_list; remove it from one of them")
    return allow, deny


def near_paths(paths: pd.Series | pd.Index, entry: str) -> list[str]:
    """Return up to three paths that ``entry`` may have meant: of the same file name, else of a similar spelling."""
    paths = pd.Index(paths)
    folder, _, filename = entry.rpartition("/")
    candidates = paths[paths.str.lower().str.endswith(f"/{filename.lower()}") | (paths.str.lower() == filename.lower())]
    alike = 0.0
    if not len(candidates):
        in_folder = paths[paths.str.startswith(f"{folder}/")]
        candidates, alike = in_folder if len(in_folder) else paths, 0.6
    wanted = difflib.SequenceMatcher(b=entry.lower())
    ratios = []
    for path in candidates[:_COMPARED_PATHS]:
        wanted.set_seq1(path.lower())
        ratios.append((-wanted.ratio(), path))
    return [path for ratio, path in sorted(ratios) if -ratio >= alike][:3]


def _hint(paths: pd.Index, entry: str) -> str:
    near = ", ".join(map(repr, near_paths(paths, entry)))
    return f"did you mean {near}? Otherwise " if near else ""


def _named_images(paths: pd.Index, entries: frozenset[str], name: str) -> tuple[np.ndarray, np.ndarray]:
    by_path, by_glob = np.zeros(len(paths), dtype=bool), np.zeros(len(paths), dtype=bool)
    ordered = sorted(entries)
    positions = paths.get_indexer(pd.Index(ordered, dtype=paths.dtype)) if ordered else np.array([], dtype=int)
    by_path[positions[positions >= 0]] = True
    missing = []
    for entry in (entry for entry, position in zip(ordered, positions, strict=True) if position < 0):
        matched = _matching(paths, entry)
        if not matched.any():
            missing.append(entry)
        by_glob |= matched
    if missing:
        raise UserError(
            f"{name} names {named(missing)}, not in the catalog: {_hint(paths, missing[0])}write paths as the audit "
            "report shows them"
        )
    return by_path, by_glob


def _matching(paths: pd.Index, entry: str) -> np.ndarray:
    if not glob.has_magic(entry):
        return np.zeros(len(paths), dtype=bool)
    # Python's own expressions: the ones of pandas' strings lack some of what a glob translates to.
    matches = re.compile(fnmatch.translate(entry)).match
    return np.fromiter((matches(path) is not None for path in paths), dtype=bool, count=len(paths))
