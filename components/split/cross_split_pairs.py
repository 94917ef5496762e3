"""The nearest images in different splits, by perceptual hash: evidence that no copy of a training image is tested on.

Grouping keeps together what the audit found to be copies. This looks at the outcome, from pixels that are decoded
anyway, and asks of each pair of splits: which image of the one is nearest to an image of the other, and is it a copy?
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from components.copies.fingerprints import Fingerprints, Sketch, fingerprints_of
from components.copies.likeness import CopyRules, are_copies, of_one_shape
from components.copies.pair_search import Pairs, SearchLimits, fastest_engine, find_pairs
from components.copies.perceptual_hashes import WHOLE, Hashes, Pixels, oriented_hashes
from components.copies.thumbnail_comparison import best_correlation
from components.formats.splits import SPLIT_NAMES

HASH_BITS = 64

_CHUNK_IMAGES = 64
_LIMITS = SearchLimits(compared_per_bucket=10_000, pairs_per_hash=200)
# About 50,000 images, for which comparing all with all takes ten seconds. Above, only copies' distances are searched.
_MOST_COMPARISONS = 4 * 10**9
# Half a millisecond each. Photos have a handful; drawings of a few strokes can all have near hashes, and no meaning.
_MOST_EXAMINED_PAIRS = 50_000
_COMPARISONS_AT_A_TIME = 1 << 22


class FingerprintCollector:
    """Collects the fingerprint of each image that passes by.

    Args:
        images: How many will.
    """

    def __init__(self, images: int) -> None:
        self.fingerprints = Fingerprints.on_disk(images)
        self.aspects = np.ones(images)
        self._done = 0
        self._sketches: list[Sketch] = []

    def collect(self, prepared: Iterable[tuple[bytes, Sketch, float]]) -> Iterator[bytes]:
        """Yield the records of images, in order, and keep their width / height and what follows from their sketches."""
        for record, sketch, aspect in prepared:
            self.aspects[self._done + len(self._sketches)] = aspect
            self._sketches.append(sketch)
            if len(self._sketches) == _CHUNK_IMAGES:
                self._close_chunk()
            yield record
        self._close_chunk()

    def _close_chunk(self) -> None:
        end = self._done + len(self._sketches)
        self.fingerprints[self._done : end] = fingerprints_of(self._sketches)
        self._done, self._sketches = end, []


@dataclass(frozen=True)
class CrossPair:
    """Two images in different splits.

    Attributes:
        first: Position of the one in the earlier split.
        second: Position of the other.
        distance: Bits in which their hashes differ, in the orientation in which they differ least.
        correlation: Of their thumbnails in that orientation, [-1, 1].
        are_copies: Whether they are copies in that orientation, without looking for crops.
    """

    first: int
    second: int
    distance: int
    correlation: float
    are_copies: bool


@dataclass(frozen=True)
class CrossSplitPairs:
    """What a search found.

    Attributes:
        rules: What counts as copies.
        nearest: For each pair of splits its copies that are nearest by hash, or the nearest images where there are no
            copies. None where no two are as near as copies and there are too many to look further, or none has a hash.
        copies: All pairs that are copies, the nearest first.
        images_without_hash: Images of one colour, which have none.
        left_out_comparisons: Comparisons saved where hashes crowd: any of them might have been a copy.
    """

    rules: CopyRules
    nearest: dict[tuple[str, str], CrossPair | None]
    copies: list[CrossPair]
    images_without_hash: int
    left_out_comparisons: int

    def as_certificate(self, paths: Sequence[str]) -> dict[str, Any]:
        """Return what ``splits.json`` says of it, see ``components.formats.splits.Splits``."""
        return {
            "hash_bits": HASH_BITS,
            "copy_distance": self.rules.maximum_distance,
            "copy_correlation": self.rules.minimum_correlation,
            "copy_difference": self.rules.maximum_difference,
            "copies_across_splits": len(self.copies),
            "images_without_hash": self.images_without_hash,
            "left_out_comparisons": self.left_out_comparisons,
            "nearest": [{"splits": list(splits)} | _described(pair, paths) for splits, pair in self.nearest.items()],
        }

    def described_copies(self, paths: Sequence[str], splits: Sequence[str], most: int) -> list[dict[str, Any]]:
        """Return the nearest copies in the form of the certificate's ``nearest``.

        Args:
            paths: Of all images.
            splits: Of all images, names.
            most: How many.
        """
        return [
            {"splits": [splits[pair.first], splits[pair.second]]} | _described(pair, paths)
            for pair in self.copies[:most]
        ]


def _described(pair: CrossPair | None, paths: Sequence[str]) -> dict[str, Any]:
    if pair is None:
        return {"paths": [], "distance": None, "correlation": None}
    return {
        "paths": [paths[pair.first], paths[pair.second]],
        "distance": pair.distance,
        "correlation": round(pair.correlation, 3),
    }


def cross_split_pairs(
    fingerprints: Fingerprints, aspects: npt.NDArray[np.float64], splits: npt.NDArray[np.int64], rules: CopyRules
) -> CrossSplitPairs:
    """Search for the nearest images in different splits, and for all copies among them.

    Args:
        fingerprints: Of the images.
        aspects: float64 ``[images]``, width / height.
        splits: Of each image, an index into ``SPLIT_NAMES``.
        rules: What counts as copies; crops are not searched for.
    """
    thumbnails = fingerprints.thumbnails
    hashes = oriented_hashes(thumbnails, WHOLE)
    found = find_pairs(hashes[:, 0].copy(), hashes, rules.maximum_distance, _LIMITS, fastest_engine(len(hashes)))
    within, left_out = _pairs_across(found, fingerprints, aspects, splits, rules)
    nearest: dict[tuple[str, str], CrossPair | None] = {}
    for one, other in combinations(range(len(SPLIT_NAMES)), 2):
        rows, columns = (np.flatnonzero((splits == code) & fingerprints.take_part()) for code in (one, other))
        of_these = [pair for pair in within if (splits[pair.first], splits[pair.second]) == (one, other)]
        if of_these:
            pair: CrossPair | None = of_these[0]
        elif 0 < len(rows) * len(columns) * hashes.shape[1] * len(SPLIT_NAMES) <= _MOST_COMPARISONS:
            pair = _nearest(hashes, thumbnails, rows, columns)
        else:
            pair = None
        nearest[SPLIT_NAMES[one], SPLIT_NAMES[other]] = pair
    return CrossSplitPairs(
        rules=rules,
        nearest=nearest,
        copies=[pair for pair in within if pair.are_copies],
        images_without_hash=int((~fingerprints.take_part()).sum()),
        left_out_comparisons=found.left_out_comparisons + found.left_out_pairs + left_out,
    )


def _pairs_across(
    found: Pairs,
    fingerprints: Fingerprints,
    aspects: npt.NDArray[np.float64],
    splits: npt.NDArray[np.int64],
    rules: CopyRules,
) -> tuple[list[CrossPair], int]:
    """Return the pairs in different splits, copies and then the nearest first, and how many were too many to look at.

    Each pair counts once, in the orientation in which its hashes are nearest.
    """
    positions = np.flatnonzero(splits[found.first] != splits[found.second])
    first, second = found.first[positions].astype(np.int64), found.second[positions].astype(np.int64)
    order = np.lexsort((found.orientation[positions], first, found.distance[positions]))
    pair_keys = np.minimum(first, second) * len(splits) + np.maximum(first, second)
    # np.unique names the first of each key: the nearest, in this order.
    chosen = order[np.sort(np.unique(pair_keys[order], return_index=True)[1])]
    left_out = max(0, len(chosen) - _MOST_EXAMINED_PAIRS)
    chosen = chosen[:_MOST_EXAMINED_PAIRS]
    first, second, positions = first[chosen], second[chosen], positions[chosen]
    turns = found.orientation[positions]
    one_shape = of_one_shape(aspects[first], aspects[second], turns)
    copies = are_copies(fingerprints, first, second, turns, one_shape, rules)
    correlation = best_correlation(fingerprints.thumbnails[first], fingerprints.thumbnails[second])
    turned = splits[first] > splits[second]
    first, second = np.where(turned, second, first), np.where(turned, first, second)
    columns = (first, second, found.distance[positions], correlation, copies)
    pairs = [CrossPair(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    return sorted(pairs, key=_rank), left_out


def _rank(pair: CrossPair) -> tuple[bool, int, float, int, int]:
    return (not pair.are_copies, pair.distance, -pair.correlation, pair.first, pair.second)


def _nearest(
    hashes: Hashes, thumbnails: Pixels, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> CrossPair:
    """Compare all images of one split with all of another."""
    queries, references = hashes[rows], hashes[columns, 0]
    step = max(1, _COMPARISONS_AT_A_TIME // (queries.shape[1] * len(references)))
    least, at = HASH_BITS + 1, (0, 0, 0)
    for start in range(0, len(rows), step):
        distances = np.bitwise_count(queries[start : start + step, :, None] ^ references)
        position = int(distances.argmin())
        row, orientation, column = np.unravel_index(position, distances.shape)
        if distances[row, orientation, column] < least:
            least, at = int(distances[row, orientation, column]), (start + int(row), int(orientation), int(column))
    first, second = rows[at[0]], columns[at[2]]
    correlation = best_correlation(thumbnails[[first]], thumbnails[[second]])
    # Further apart than copies, or the search would have found them.
    return CrossPair(int(first), int(second), least, float(correlation[0]), are_copies=False)
