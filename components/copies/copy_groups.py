"""Groups of images that are copies of one another: resized, recompressed, brightened, cropped, mirrored or turned.

Hashes propose pairs, thumbnails confirm them, and confirmed pairs form groups. Every member of a group is like its
representative: chains of images of which each is a little like the next are cut.

The result does not depend on the order of the images, only on their paths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.copies.pair_search import SearchLimits, find_pairs
from components.copies.perceptual_hashes import (
    ORIENTATIONS,
    WHOLE,
    Hashes,
    Pixels,
    Window,
    has_fingerprint,
    inverse,
    oriented,
    oriented_hashes,
)
from components.copies.thumbnail_comparison import are_alike, best_correlation

_ROWS_AT_ONCE = 1 << 16
_ROUNDS = 8  # unlike images of one and the same hash that are told apart
_LIMITS = SearchLimits(compared_per_bucket=4096, pairs_per_hash=32)

MOST_ASPECT_CHANGE = 1.06
"""Width / height of plain images of one shape: a crop by 5 % on one side only changes it by as much."""

_LEAST_ASPECT = 1e-6

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


@dataclass(frozen=True)
class CopyRules:
    """What makes two images copies.

    Attributes:
        maximum_distance: Bits in which the 64-bit hashes of the two, or of one and a crop of the other, may differ.
        minimum_correlation: Of the 16 x 16 thumbnails, at the best of a few alignments, [0, 1].
        maximum_local_difference: Largest mean difference in a ninth-of-a-side box, in standard deviations.
        crops: Whether to look for cropped copies too, which takes six times as long.
    """

    maximum_distance: int
    minimum_correlation: float
    maximum_local_difference: float
    crops: bool


@dataclass(frozen=True)
class CopyGroups:
    """Who is a copy of whom. Each array is ``[images]``, in the order of the images.

    Attributes:
        group: int64, a number for each group from 0 in the order of the representatives' paths; -1 for an image alone.
        representative: int64, row of the group's representative; -1 for an image alone.
        distance: int64, bits in which the hash differs from the representative's, in the orientation where they are
            nearest: the representative's is 0; -1 for an image alone.
        correlation: float64, with the representative's thumbnail; NaN for an image alone.
        left_out_pairs: Pairs of near hashes that were not looked at, in data made of near copies alone.
        left_out_comparisons: Comparisons of hashes that were not made, likewise. Both are 0 for an exact search.
    """

    group: npt.NDArray[np.int64]
    representative: npt.NDArray[np.int64]
    distance: npt.NDArray[np.int64]
    correlation: npt.NDArray[np.float64]
    left_out_pairs: int
    left_out_comparisons: int


def find_copies(
    paths: Sequence[str], thumbnails: Pixels, aspects: npt.NDArray[np.float64], rules: CopyRules, engine: str
) -> CopyGroups:
    """Group the copies among images.

    Args:
        paths: ``[images]``, unique: they decide wherever something must.
        thumbnails: uint8 ``[images, 16, 16]`` from ``perceptual_hashes.thumbnails_of``; all zero for images that take
            no part.
        aspects: ``[images]``, width / height of each image as its thumbnail shows it. Pages of text or plots on white
            look alike once they are squeezed into a square, so plain images must agree in it too.
        rules: What makes two images copies.
        engine: One of ``pair_search.ENGINES``; ``pair_search.fastest_engine`` chooses.
    """
    rows = np.array(sorted(np.flatnonzero(has_fingerprint(thumbnails)).tolist(), key=paths.__getitem__), np.int64)
    likeness = _Likeness(thumbnails, np.log(np.maximum(aspects, _LEAST_ASPECT)), rules)
    search = _Search(thumbnails, rows, rules, likeness, engine)
    edges = search.edges()
    groups = _grouped(edges, likeness, rows)
    return _numbered(groups, rows, thumbnails, search)


class _Search:
    """Finds and confirms pairs among the images in the order of their paths.

    Positions in ``rows`` stand for images in here.
    """

    def __init__(
        self,
        thumbnails: Pixels,
        rows: npt.NDArray[np.int64],
        rules: CopyRules,
        likeness: "_Likeness",
        engine: str,
    ) -> None:
        self._thumbnails, self._rows, self._rules, self._engine = thumbnails, rows, rules, engine
        self._likeness = likeness
        self.left_out_pairs = 0
        self.left_out_comparisons = 0

    def edges(self) -> npt.NDArray[np.int64]:
        """Return confirmed pairs ``[edges, 2]`` of positions, the lower one first."""
        same_hash, leaders = self._collapsed()
        found = [same_hash]
        references = self._hashes(leaders, WHOLE)
        found.append(self._near(leaders, references[:, 0], references, _ONE_WAY))
        if self._rules.crops:
            plain = references[:, 0].copy()
            del references
            for window in CROPS:
                found.append(self._near(leaders, plain, self._hashes(leaders, window), _BOTH_WAYS))
        edges = np.concatenate(found)
        return np.unique(np.sort(edges, axis=1), axis=0)

    def _collapsed(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Link images of one hash (in any orientation) to the first of them: only that one is searched for.

        Returns:
            Confirmed pairs, and the positions that are left to search for.
        """
        canonical, turn = self._canonical()
        waiting = np.flatnonzero(canonical)
        leaders, links = [np.empty(0, np.int64)], [np.empty((0, 2), np.int64)]
        for _ in range(_ROUNDS if len(waiting) else 0):
            order = waiting[np.lexsort((waiting, canonical[waiting]))]
            starts = np.flatnonzero(np.diff(canonical[order], prepend=canonical[order[:1]] + np.uint64(1)))
            first = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
            leaders.append(order[starts])
            others = order != first
            pairs = np.stack([first[others], order[others]], axis=1)
            orientations = _COMPOSED[turn[pairs[:, 0]], _INVERSES[turn[pairs[:, 1]]]]
            alike = self._confirmed(pairs, orientations)
            links.append(pairs[alike])
            waiting = np.sort(pairs[~alike, 1])
            if not len(waiting):
                break
        self.left_out_pairs += len(waiting)
        return np.concatenate(links), np.sort(np.concatenate(leaders))

    def _canonical(self) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """Return the lowest of the 8 hashes of each image and its orientation: the same for a mirrored copy."""
        lowest, turn = np.empty(len(self._rows), np.uint64), np.empty(len(self._rows), np.int64)
        for begin in range(0, len(self._rows), _ROWS_AT_ONCE):
            part = slice(begin, begin + _ROWS_AT_ONCE)
            hashes = oriented_hashes(self._thumbnails[self._rows[part]], WHOLE)
            turn[part] = hashes.argmin(axis=1)
            lowest[part] = hashes.min(axis=1)
        return lowest, turn

    def _hashes(self, positions: npt.NDArray[np.int64], window: Window) -> Hashes:
        hashes = np.empty((len(positions), ORIENTATIONS), np.uint64)
        for begin in range(0, len(positions), _ROWS_AT_ONCE):
            part = slice(begin, begin + _ROWS_AT_ONCE)
            hashes[part] = oriented_hashes(self._thumbnails[self._rows[positions[part]]], window)
        return hashes

    def _near(
        self, leaders: npt.NDArray[np.int64], references: Hashes, queries: Hashes, turns: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.int64]:
        """Return the confirmed pairs whose hashes are near in some orientations."""
        pairs = find_pairs(references, queries[:, turns], self._rules.maximum_distance, _LIMITS, self._engine)
        self.left_out_pairs += pairs.left_out_pairs
        self.left_out_comparisons += pairs.left_out_comparisons
        positions = np.stack([leaders[pairs.first], leaders[pairs.second]], axis=1)
        return positions[self._confirmed(positions, turns[pairs.orientation])]

    def _confirmed(self, pairs: npt.NDArray[np.int64], orientations: npt.NDArray) -> npt.NDArray[np.bool_]:
        result = np.zeros(len(pairs), bool)
        for begin in range(0, len(pairs), _ROWS_AT_ONCE):
            part = slice(begin, begin + _ROWS_AT_ONCE)
            rows = self._rows[pairs[part]]
            result[part] = self._likeness.of(rows[:, 0], rows[:, 1], orientations[part])
        return result


@dataclass(frozen=True)
class _Likeness:
    """Whether two images are copies, once their hashes are near.

    Attributes:
        thumbnails: uint8 ``[images, 16, 16]``.
        log_aspects: ``[images]``, of width / height.
        rules: What makes two images copies.
    """

    thumbnails: Pixels
    log_aspects: npt.NDArray[np.float64]
    rules: CopyRules

    def of(
        self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], orientations: npt.NDArray
    ) -> npt.NDArray[np.bool_]:
        """Return which pairs of rows are copies, the first of each pair reoriented."""
        swapped = (orientations & 4) > 0  # width and height change places
        turned = np.where(swapped, -self.log_aspects[first], self.log_aspects[first])
        return are_alike(
            self.thumbnails[first],
            self.thumbnails[second],
            orientations,
            np.abs(turned - self.log_aspects[second]) <= np.log(MOST_ASPECT_CHANGE),
            self.rules.minimum_correlation,
            self.rules.maximum_local_difference,
        )


def _orientation_tables() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return ``composed[a, b]``, which is first a and then b, and ``inverses[a]``."""
    image = np.arange(9).reshape(3, 3)
    name = {oriented(image, orientation).tobytes(): orientation for orientation in range(ORIENTATIONS)}
    turned = [oriented(image, orientation) for orientation in range(ORIENTATIONS)]
    composed = [[name[oriented(turned[a], b).tobytes()] for b in range(ORIENTATIONS)] for a in range(ORIENTATIONS)]
    return np.array(composed), np.array([inverse(orientation) for orientation in range(ORIENTATIONS)])


_COMPOSED, _INVERSES = _orientation_tables()


def _grouped(edges: npt.NDArray[np.int64], likeness: _Likeness, rows: npt.NDArray[np.int64]) -> list[list[int]]:
    """Return groups of positions, the representative first and the others ascending.

    The representative of connected images is the one that most others are linked to, of those the first by path. With
    it go the images that are linked to it, and those one link further that are found to be like it as well. What is
    left is taken as if it were alone, until nothing is linked any more.
    """
    neighbours = _neighbours(edges)
    left = dict.fromkeys(np.unique(edges).tolist())
    groups = []
    for component in _components(neighbours, list(left)):
        waiting = [component]
        while waiting:
            members = waiting.pop()
            inside = set(members)
            degree = {member: sum(other in inside for other in neighbours[member]) for member in members}
            head = min(members, key=lambda member: (-degree[member], member))
            linked = {other for other in neighbours[head] if other in inside}
            further = sorted({two for one in linked for two in neighbours[one] if two in inside} - linked - {head})
            group = sorted(linked | set(_like(head, further, likeness, rows)))
            groups.append([head, *group])
            rest = inside - {head, *group}
            remaining = {member: [other for other in neighbours[member] if other in rest] for member in rest}
            waiting += [part for part in _components(remaining, sorted(rest)) if len(part) > 1]
    return groups


def _like(head: int, positions: list[int], likeness: _Likeness, rows: npt.NDArray[np.int64]) -> list[int]:
    """Return those of some images that are like a representative in any orientation."""
    if not positions:
        return []
    second = np.repeat(rows[positions], ORIENTATIONS)
    first = np.full(len(second), rows[head])
    alike = likeness.of(first, second, np.tile(np.arange(ORIENTATIONS), len(positions)))
    like_any = alike.reshape(-1, ORIENTATIONS).any(axis=1)
    return np.asarray(positions)[like_any].tolist()


def _neighbours(edges: npt.NDArray[np.int64]) -> dict[int, list[int]]:
    result: dict[int, list[int]] = {}
    for one, other in edges.tolist():
        result.setdefault(one, []).append(other)
        result.setdefault(other, []).append(one)
    return result


def _components(neighbours: dict[int, list[int]], members: list[int]) -> Iterator[list[int]]:
    """Yield the connected images among some, each component ascending."""
    seen: set[int] = set()
    for start in members:
        if start in seen:
            continue
        seen.add(start)
        component, frontier = [start], [start]
        while frontier:
            for other in neighbours[frontier.pop()]:
                if other not in seen:
                    seen.add(other)
                    component.append(other)
                    frontier.append(other)
        yield sorted(component)


def _numbered(groups: list[list[int]], rows: npt.NDArray[np.int64], thumbnails: Pixels, search: _Search) -> CopyGroups:
    count = len(thumbnails)
    group, representative, distance = (np.full(count, -1, np.int64) for _ in range(3))
    correlation = np.full(count, np.nan)
    for number, positions in enumerate(sorted(groups)):
        here = rows[positions]
        group[here], representative[here] = number, here[0]
    members = np.flatnonzero(group >= 0)
    for begin in range(0, len(members), _ROWS_AT_ONCE):
        part = members[begin : begin + _ROWS_AT_ONCE]
        heads = representative[part]
        hashes = oriented_hashes(thumbnails[heads], WHOLE) ^ oriented_hashes(thumbnails[part], WHOLE)[:, :1]
        distance[part] = np.bitwise_count(hashes).min(axis=1)
        correlation[part] = best_correlation(thumbnails[heads], thumbnails[part])
    return CopyGroups(group, representative, distance, correlation, search.left_out_pairs, search.left_out_comparisons)
