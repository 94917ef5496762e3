"""Pairs of images that are copies of one another: hashes propose them, thumbnails and details confirm them."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from components.copies.likeness import Likeness
from components.copies.pair_search import Pairs, SearchLimits
from components.copies.perceptual_hashes import (
    ORIENTATIONS,
    WHOLE,
    Hashes,
    Window,
    inverse,
    oriented,
    oriented_hashes,
)

_ROWS_AT_ONCE = 1024
_ROUNDS = 8  # unlike images of one and the same hash that are told apart
_LIMITS = SearchLimits(compared_per_bucket=4096, pairs_per_hash=32)

_BOTH_WAYS = np.arange(ORIENTATIONS, dtype=np.uint8)
# What a quarter turn of one image finds, the opposite turn of the other finds too.
_ONE_WAY = _BOTH_WAYS[_BOTH_WAYS != 6]

CROPS = (
    Window(0.035, 0.965, 0.035, 0.965),
    Window(0.0, 0.95, 0.0, 0.95),
    Window(0.0, 0.95, 0.05, 1.0),
    Window(0.05, 1.0, 0.0, 0.95),
    Window(0.05, 1.0, 0.05, 1.0),
)
"""Windows of each image that are searched for as if they were images: copies that were cropped."""


Search = Callable[[Hashes, Hashes, int, SearchLimits], Pairs]
"""``pair_search.find_pairs`` with an engine."""

Progress = Callable[[int, int], None]
"""Told which search begins, from 1, and of how many."""


class CopyLinks:
    """Finds and confirms pairs among the images in the order of their paths.

    Positions in that order stand for images in here.

    Attributes:
        left_out_pairs: Pairs of near hashes that were not looked at.
        left_out_comparisons: Comparisons of hashes that were not made.
    """

    def __init__(self, rows: npt.NDArray[np.int64], likeness: Likeness, search: Search, progress: Progress) -> None:
        """Take the row of each image in the order of the paths, how to compare and search, and whom to tell."""
        self._rows, self._likeness, self._find_pairs = rows, likeness, search
        self._progress = progress
        self._links = np.empty(0, np.int64)  # keys of pairs, see _keys: confirmed ones
        self._judged: list[npt.NDArray[np.int64]] = []  # and those compared, in an orientation each, by search
        self.left_out_pairs = 0
        self.left_out_comparisons = 0

    def find(self) -> npt.NDArray[np.int64]:
        """Return confirmed pairs ``[links, 2]`` of positions, the lower one first, ascending."""
        windows = CROPS if self._likeness.rules.crops else ()
        self._progress(1, 1 + len(windows))
        hashes = self._hashes(np.arange(len(self._rows)), WHOLE)
        leaders = self._collapse(hashes)
        upright = hashes[leaders, 0]
        self._search(leaders, upright, hashes[leaders][:, _ONE_WAY], _ONE_WAY)
        del hashes
        for number, window in enumerate(windows, 2):
            self._progress(number, 1 + len(windows))
            self._search(leaders, upright, self._hashes(leaders, window), _BOTH_WAYS)
        return np.stack(np.divmod(self._links, max(1, len(self._rows))), axis=1)

    def _collapse(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        """Link images of one hash (in any orientation) to the first of them: only that one is searched for.

        Returns:
            The positions that are left to search for.
        """
        # The lowest of the 8 hashes of an image is the same for a mirrored copy.
        canonical, turn = hashes.min(axis=1), hashes.argmin(axis=1)
        waiting = np.flatnonzero(canonical)
        leaders = [np.empty(0, np.int64)]
        for _ in range(_ROUNDS):
            order = waiting[np.argsort(canonical[waiting], kind="stable")]
            starts = np.flatnonzero(np.diff(canonical[order], prepend=np.uint64(0)))
            first = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
            leaders.append(order[starts])
            others = order != first
            pairs = np.stack([first[others], order[others]], axis=1)
            self._judge(pairs, _COMPOSED[turn[pairs[:, 0]], _INVERSES[turn[pairs[:, 1]]]])
            waiting = np.sort(pairs[~np.isin(self._pair_keys(pairs), self._links), 1])
        self.left_out_pairs += len(waiting)
        return np.sort(np.concatenate(leaders))

    def _hashes(self, positions: npt.NDArray[np.int64], window: Window) -> Hashes:
        hashes = np.empty((len(positions), ORIENTATIONS), np.uint64)
        for begin in range(0, len(positions), _ROWS_AT_ONCE):
            part = slice(begin, begin + _ROWS_AT_ONCE)
            hashes[part] = oriented_hashes(self._likeness.fingerprints.thumbnails[self._rows[positions[part]]], window)
        self._likeness.fingerprints.leave_memory()
        return hashes

    def _search(
        self, leaders: npt.NDArray[np.int64], references: Hashes, queries: Hashes, turns: npt.NDArray[np.uint8]
    ) -> None:
        """Link the pairs whose hashes are near in one of some orientations, and whose fingerprints confirm it."""
        pairs = self._find_pairs(references, queries, self._likeness.rules.maximum_distance, _LIMITS)
        self.left_out_pairs += pairs.left_out_pairs
        self.left_out_comparisons += pairs.left_out_comparisons
        self._judge(np.stack([leaders[pairs.first], leaders[pairs.second]], axis=1), turns[pairs.orientation])

    def _judge(self, pairs: npt.NDArray[np.int64], orientations: npt.NDArray) -> None:
        """Compare pairs, the first of each reoriented, but none twice: the searches overlap, and find both ways."""
        backwards = pairs[:, 0] > pairs[:, 1]
        turns = np.where(backwards, _INVERSES[orientations], orientations)
        keys = np.unique(self._pair_keys(pairs) * ORIENTATIONS + turns)
        for judged in self._judged:
            keys = keys[~_among(keys, judged)]
        keys = keys[~_among(keys // ORIENTATIONS, self._links)]
        pair_keys, turns = np.divmod(keys, ORIENTATIONS)
        first, second = (self._rows[positions] for positions in np.divmod(pair_keys, max(1, len(self._rows))))
        alike = self._likeness.of(first, second, turns)
        self._judged.append(keys)
        self._links = np.union1d(self._links, pair_keys[alike])

    def _pair_keys(self, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return a number for each pair of positions, whichever comes first: the lower one counts the images."""
        return pairs.min(axis=1) * len(self._rows) + pairs.max(axis=1)


def _among(keys: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which keys are among ascending ones, in less memory than ``numpy.isin``, which sorts all of them again."""
    if not len(known):
        return np.zeros(len(keys), bool)
    return np.asarray(known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys)


def _orientation_tables() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return ``composed[a, b]``, which is first a and then b, and ``inverses[a]``."""
    image = np.arange(9).reshape(3, 3)
    name = {oriented(image, orientation).tobytes(): orientation for orientation in range(ORIENTATIONS)}
    turned = [oriented(image, orientation) for orientation in range(ORIENTATIONS)]
    composed = [[name[oriented(turned[a], b).tobytes()] for b in range(ORIENTATIONS)] for a in range(ORIENTATIONS)]
    return np.array(composed), np.array([inverse(orientation) for orientation in range(ORIENTATIONS)])


_COMPOSED, _INVERSES = _orientation_tables()
