"""All pairs of 64-bit hashes within a Hamming distance, exactly, without comparing all with all.

Multi-index hashing (M. Norouzi, A. Punjani, D. Fleet, "Fast search in Hamming space with multi-index hashing", CVPR
2012): of the parts a hash is cut into, at least one differs little where the whole does (the pigeonhole principle). So
only hashes that share a bucket, or one a bit or two away, are compared.

Data can be made so that everything is near everything. Then the work and the result are limited, and what was left out
is counted: a search that left out nothing is exact.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from components.copies.perceptual_hashes import Hashes

ENGINES = ("numpy", "numba")

_WORTH_COMPILING = 20_000  # hashes; compiling takes seconds
_TABLES = 4
_PART_BITS = 16
_BUCKETS = 1 << _PART_BITS
_BLOCK_QUERIES = 1 << 22  # bounds the memory of sorted queries: 64 MB
_EXPANDED_CANDIDATES = 1 << 21  # of the numpy engine at a time: 80 MB
_PAIRS_PER_STEP = 1 << 23  # of one table and block of queries: 200 MB at worst


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


@dataclass(frozen=True)
class Table:
    """References in the order of one part of their hashes, which are rotated so that this part comes first.

    Attributes:
        part: Which part: bits 16 part to 16 part + 15.
        radius: Bits in which the part of a near hash may differ.
        probes: int64 ``[probes]``, the patterns of at most ``radius`` bits.
        rows: int32 ``[n]``, original row of each reference.
        hashes: uint64 ``[n]``, rotated and ascending.
        starts: int64 ``[65537]``, where each bucket begins.
        earlier: int64 ``[part, 2]``: where the parts of the tables before lie in a rotated hash, and their radii. A
            pair is reported by the first table that shows it.
    """

    part: int
    radius: int
    probes: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    hashes: Hashes
    starts: npt.NDArray[np.int64]
    earlier: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Queries in the order of the part: row, orientation, rotated hash and bucket of each, all ``[queries]``."""

    rows: npt.NDArray[np.int32]
    orientations: npt.NDArray[np.uint8]
    hashes: Hashes
    buckets: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Hits:
    """What one table shows one block: positions of query and reference, and how much was left out."""

    queries: npt.NDArray[np.int64]
    references: npt.NDArray[np.int64]
    left_out_pairs: int
    left_out_comparisons: int


Search = Callable[[Table, Block, int, SearchLimits], Hits]


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
    if not 0 <= maximum_distance < 3 * _TABLES:
        raise ValueError(f"a distance of {maximum_distance} is not within 0 to {3 * _TABLES - 1}")
    if engine not in ENGINES:
        raise ValueError(f"{engine!r} is no engine: choose one of {', '.join(ENGINES)}")
    search = _engine(engine)
    found = [_no_pairs()]
    left_out_pairs = left_out_comparisons = 0
    budget = np.full(len(references), limits.pairs_per_hash, np.int64)
    for table in _tables(references, maximum_distance):
        for block in _blocks(queries, table.part):
            hits = search(table, block, maximum_distance, limits)
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
        return _search_with_numpy
    from components.copies.pair_search_numba import search_with_numba  # noqa: PLC0415, an extra

    return search_with_numba


def radii(maximum_distance: int) -> list[int]:
    """Return how many bits each part may differ in, so that no pair within the distance escapes all of them.

    If part p differed in more than its radius everywhere, the whole would differ in at least the sum of all radii plus
    one each, which is the distance plus one.
    """
    whole, rest = divmod(maximum_distance + 1 - _TABLES, _TABLES)
    return [whole + (part < rest) for part in range(_TABLES)]


def _tables(references: Hashes, maximum_distance: int) -> Iterator[Table]:
    rows = np.flatnonzero(references)
    earlier: list[tuple[int, int]] = []
    for part, radius in enumerate(radii(maximum_distance)):
        if radius < 0:  # so small a distance that fewer parts are enough
            continue
        rotated = _rotated(references[rows], part)
        order = np.argsort(rotated, kind="stable")
        rotated = rotated[order]
        starts = np.searchsorted(rotated >> np.uint64(64 - _PART_BITS), np.arange(_BUCKETS + 1, dtype=np.uint64))
        places = [((_PART_BITS * (other - part) + 64 - _PART_BITS) % 64, bound) for other, bound in earlier]
        yield Table(
            part,
            radius,
            _probes(radius),
            rows[order].astype(np.int32),
            rotated,
            starts.astype(np.int64),
            np.array(places, np.int64).reshape(-1, 2),
        )
        earlier.append((part, radius))


def _probes(radius: int) -> npt.NDArray[np.int64]:
    """Return every pattern of at most ``radius`` of 16 bits, nearest first."""
    patterns = [bits for size in range(radius + 1) for bits in combinations(range(_PART_BITS), size)]
    return np.array([sum(1 << bit for bit in bits) for bits in patterns], np.int64)


def _rotated(hashes: Hashes, part: int) -> Hashes:
    """Return the hashes with one of their parts in the highest bits."""
    left = np.uint64(64 - _PART_BITS - _PART_BITS * part)
    return hashes if left == 0 else (hashes << left) | (hashes >> np.uint64(64 - int(left)))


def _blocks(queries: Hashes, part: int) -> Iterator[Block]:
    orientations = queries.shape[1]
    step = max(1, _BLOCK_QUERIES // orientations)
    for begin in range(0, len(queries), step):
        hashes = queries[begin : begin + step].ravel()
        place = np.flatnonzero(hashes)
        rotated = _rotated(hashes[place], part)
        buckets = (rotated >> np.uint64(64 - _PART_BITS)).astype(np.uint16)
        order = np.argsort(buckets, kind="stable")  # a radix sort for 16 bits
        place = place[order]
        yield Block(
            (begin + place // orientations).astype(np.int32),
            (place % orientations).astype(np.uint8),
            rotated[order],
            buckets[order].astype(np.int64),
        )


def _search_with_numpy(table: Table, block: Block, maximum_distance: int, limits: SearchLimits) -> Hits:
    """Expand each query into the references of its buckets, a slice of queries at a time."""
    hits, saved = [(np.empty(0, np.int64), np.empty(0, np.int64))], 0
    sizes = np.diff(table.starts)
    work = np.zeros(len(block.hashes), np.int64)
    for probe in table.probes:
        work += np.minimum(sizes[block.buckets ^ probe], limits.compared_per_bucket)
    slices = np.flatnonzero(np.diff(np.cumsum(work) // _EXPANDED_CANDIDATES, prepend=0))
    for begin, end in zip([0, *slices], [*slices, len(work)], strict=True):
        queries, references, left_out = _compare(table, block, begin, end, maximum_distance, limits)
        hits.append((queries, references))
        saved += left_out
    queries, references = (np.concatenate(column) for column in zip(*hits, strict=True))
    counts = np.bincount(queries, minlength=len(block.hashes))
    most = pairs_per_query(np.bincount(np.minimum(counts, limits.pairs_per_hash)))
    kept = np.arange(len(queries)) - (np.cumsum(counts) - counts)[queries] < most
    return Hits(queries[kept], references[kept], int((~kept).sum()), saved)


def _compare(
    table: Table, block: Block, begin: int, end: int, maximum_distance: int, limits: SearchLimits
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Return the hits of some queries, in their order, and how many comparisons were left out."""
    queries = np.repeat(np.arange(begin, end), len(table.probes))
    buckets = (block.buckets[begin:end, None] ^ table.probes).ravel()
    first, last = table.starts[buckets], table.starts[buckets + 1]
    filled = last > first
    queries, buckets, first, last = queries[filled], buckets[filled], first[filled], last[filled]
    saved = 0
    long = np.flatnonzero(last - first > limits.compared_per_bucket)
    if len(long):
        saved = int((last - first - limits.compared_per_bucket)[long].sum())
        first[long], last[long] = _nearest_in_value(
            table, block.hashes[queries[long]], buckets[long], first[long], last[long], limits
        )
    counts = last - first
    references = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    queries = np.repeat(queries, counts)
    difference = block.hashes[queries] ^ table.hashes[references]
    near = np.flatnonzero(np.bitwise_count(difference) <= maximum_distance)
    queries, references, difference = queries[near], references[near], difference[near]
    new = block.rows[queries] != table.rows[references]
    for shift, radius in table.earlier:
        part = (difference >> np.uint64(shift)) & np.uint64(_BUCKETS - 1)
        new &= np.bitwise_count(part) > radius
    return queries[new], references[new], saved


def _nearest_in_value(
    table: Table,
    hashes: Hashes,
    buckets: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
    limits: SearchLimits,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the part of a long bucket around where the query would stand in it."""
    low_bits = np.uint64((1 << (64 - _PART_BITS)) - 1)
    wanted = (buckets.astype(np.uint64) << np.uint64(64 - _PART_BITS)) | (hashes & low_bits)
    middle = np.searchsorted(table.hashes, wanted) - limits.compared_per_bucket // 2
    begin = np.clip(middle, first, last - limits.compared_per_bucket)
    return begin, begin + limits.compared_per_bucket


def pairs_per_query(queries_by_hits: npt.NDArray[np.int64]) -> int:
    """Return how many hits of each query fit in memory together.

    Args:
        queries_by_hits: ``[limit + 1]``, how many queries have 0, 1, 2 ... hits, the last entry with all above.
    """
    at_least = np.cumsum(queries_by_hits[::-1])[::-1][1:]  # queries with at least 1, 2 ... hits
    return max(1, int(np.searchsorted(np.cumsum(at_least), _PAIRS_PER_STEP, side="right")))


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
