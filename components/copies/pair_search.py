"""All pairs of 64-bit hashes within a Hamming distance, exactly, without comparing all with all.

Only hashes that share a bucket of some table, or a neighbouring one, are compared: see ``hash_tables``.

Data can be made so that everything is near everything. Then the work and the result are limited, and what was left out
is counted: a search that left out nothing is exact.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.copies.hash_tables import PARTS, Block, Hits, Table, blocks, tables
from components.copies.pair_search_numpy import search_with_numpy
from components.copies.perceptual_hashes import Hashes

ENGINES = ("numpy", "numba")

_WORTH_COMPILING = 30_000  # hashes: from there on six searches save the three seconds that compiling takes
_LARGEST_DISTANCE = 3 * PARTS - 1  # two bits of each part: more would visit too many buckets


@dataclass(frozen=True)
class SearchLimits:
    """What keeps a search finite on data made of near copies alone. Any other search meets neither.

    Attributes:
        compared_per_bucket: Hashes of a bucket that a query is compared with: those nearest to it in value.
        pairs_per_hash: Pairs returned for a hash as the first of a pair.
    """

    compared_per_bucket: int
    pairs_per_hash: int


@dataclass(frozen=True)
class Pairs:
    """Pairs found, ordered by first, second and orientation; each array is ``[pairs]``.

    Attributes:
        first: int32, the row whose query it was.
        second: int32, the row whose reference was near.
        orientation: uint8, the column of the query.
        distance: uint8, differing bits.
        left_out_pairs: Pairs within the distance that the limit dropped.
        left_out_comparisons: Comparisons that the limit saved: any of them might have been a pair.
    """

    first: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    orientation: npt.NDArray[np.uint8]
    distance: npt.NDArray[np.uint8]
    left_out_pairs: int
    left_out_comparisons: int


Search = Callable[[Table, Block, int], Hits]


def fastest_engine(hashes: int) -> str:
    """Return the engine that finds pairs of so many hashes soonest; both find the same.

    ``numba`` where it is installed (the extra ``fast``) and has enough to do to make up for compiling first.
    """
    return "numba" if hashes >= _WORTH_COMPILING and importlib.util.find_spec("numba") else "numpy"


def find_pairs(references: Hashes, queries: Hashes, maximum_distance: int, limits: SearchLimits, engine: str) -> Pairs:
    """Find all (i, j, o) with i != j whose ``queries[i, o]`` and ``references[j]`` differ in few bits.

    Args:
        references: uint64 ``[n]``; zero stands for no hash and is near nothing. Equal ones are best collapsed before:
            a thousand equal hashes are a million pairs.
        queries: uint64 ``[n, orientations]`` of the same rows; zero likewise.
        maximum_distance: Bits that may differ, [0, 11].
        limits: See there.
        engine: One of ``ENGINES``.

    Raises:
        ValueError: When the distance or the engine is none of those.
    """
    if not 0 <= maximum_distance <= _LARGEST_DISTANCE:
        raise ValueError(f"a distance of {maximum_distance} is not within 0 to {_LARGEST_DISTANCE}")
    if engine not in ENGINES:
        raise ValueError(f"{engine!r} is no engine: choose one of {', '.join(ENGINES)}")
    search = _engine(engine)
    found = [_no_pairs()]
    left_out_pairs = left_out_comparisons = 0
    budget = np.full(len(references), limits.pairs_per_hash, np.int64)
    for table in tables(references, maximum_distance, limits.compared_per_bucket):
        for block in blocks(queries, table.part):
            hits = search(table, block, limits.pairs_per_hash)
            pairs, dropped = _within_budget(_as_pairs(table, block, hits), budget)
            found.append(pairs)
            left_out_pairs += hits.left_out_pairs + dropped
            left_out_comparisons += hits.left_out_comparisons
    pairs = np.concatenate(found)
    pairs = pairs[np.lexsort((pairs["orientation"], pairs["second"], pairs["first"]))]
    return Pairs(
        pairs["first"].copy(),
        pairs["second"].copy(),
        pairs["orientation"].copy(),
        pairs["distance"].copy(),
        left_out_pairs,
        left_out_comparisons,
    )


_PAIR = np.dtype([("first", "<i4"), ("second", "<i4"), ("orientation", "u1"), ("distance", "u1")])


def _no_pairs() -> npt.NDArray:
    return np.empty(0, _PAIR)


def _engine(name: str) -> Search:
    if name == "numpy":
        return search_with_numpy
    from components.copies.pair_search_numba import search_with_numba  # noqa: PLC0415, an extra

    return search_with_numba


def _as_pairs(table: Table, block: Block, hits: Hits) -> npt.NDArray:
    pairs = np.empty(len(hits.queries), _PAIR)
    pairs["first"] = block.rows[hits.queries]
    pairs["second"] = table.rows[hits.references]
    pairs["orientation"] = block.orientations[hits.queries]
    pairs["distance"] = np.bitwise_count(block.hashes[hits.queries] ^ table.hashes[hits.references])
    return pairs


def _within_budget(pairs: npt.NDArray, budget: npt.NDArray[np.int64]) -> tuple[npt.NDArray, int]:
    """Return the nearest pairs of each row as far as its budget goes, which they use up, and how many are dropped."""
    counts = np.bincount(pairs["first"], minlength=len(budget))
    if (counts > budget).any():
        pairs = pairs[np.lexsort((pairs["second"], pairs["orientation"], pairs["distance"], pairs["first"]))]
        rank = np.arange(len(pairs)) - (np.cumsum(counts) - counts)[pairs["first"]]
        kept = pairs[rank < budget[pairs["first"]]]
    else:
        kept = pairs
    np.maximum(budget - counts, 0, out=budget)
    return kept, len(pairs) - len(kept)
