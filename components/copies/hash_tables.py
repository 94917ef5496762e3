"""Hashes in the order of one of their parts: what multi-index hashing looks near hashes up in.

M. Norouzi, A. Punjani, D. Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012: of the parts a
hash is cut into, at least one differs little where the whole does (the pigeonhole principle). So only hashes that share
a bucket, or one a bit or two away, are compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from components.copies.perceptual_hashes import Hashes

PARTS = 4
PART_BITS = 16
BUCKETS = 1 << PART_BITS

_BLOCK_QUERIES = 1 << 19  # bounds the memory of sorted queries: 20 MB while they are sorted
_PAIRS_PER_STEP = 1 << 23  # of one table and block of queries: 200 MB at worst


@dataclass(frozen=True)
class Table:
    """References in the order of one part of their hashes, which are rotated so that this part comes first.

    Attributes:
        part: Which part: bits 16 part to 16 part + 15.
        probes: int64 ``[probes]``, the patterns of bits in which the part of a near hash may differ.
        rows: int32 ``[n]``, original row of each reference.
        hashes: uint64 ``[n]``, rotated and ascending.
        starts: int64 ``[65537]``, where each bucket begins.
        earlier: int64 ``[part, 2]``: where the parts of the tables before lie in a rotated hash, and how many bits may
            differ in them. A pair is reported by the first table that shows it.
        maximum_distance: Bits in which near hashes differ at most.
        compared_per_bucket: References of a bucket that a query is compared with: those nearest to it in value.
    """

    part: int
    probes: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    hashes: Hashes
    starts: npt.NDArray[np.int64]
    earlier: npt.NDArray[np.int64]
    maximum_distance: int
    compared_per_bucket: int


@dataclass(frozen=True)
class Block:
    """Queries in the order of the part.

    Attributes:
        rows: int32 ``[queries]``, original row of each.
        orientations: uint8 ``[queries]``, original column of each.
        hashes: uint64 ``[queries]``, rotated as those of the table.
        starts: int64 ``[65537]``, where each bucket begins.
    """

    rows: npt.NDArray[np.int32]
    orientations: npt.NDArray[np.uint8]
    hashes: Hashes
    starts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Hits:
    """What one table shows one block.

    Attributes:
        queries: int64 ``[hits]``, ascending positions in the block.
        references: int64 ``[hits]``, positions in the table: for each query in the order of the probes.
        left_out_pairs: Hits beyond those that ``hits_per_query`` allows.
        left_out_comparisons: Comparisons that were not made.
    """

    queries: npt.NDArray[np.int64]
    references: npt.NDArray[np.int64]
    left_out_pairs: int
    left_out_comparisons: int


def radii(maximum_distance: int) -> list[int]:
    """Return how many bits each part may differ in, so that no pair within the distance escapes all of them.

    If part p differed in more than its radius everywhere, the whole would differ in at least the sum of all radii plus
    one each, which is the distance plus one.
    """
    whole, rest = divmod(maximum_distance + 1 - PARTS, PARTS)
    return [whole + (part < rest) for part in range(PARTS)]


def tables(references: Hashes, maximum_distance: int, compared_per_bucket: int) -> Iterator[Table]:
    """Yield the tables of references, uint64 ``[n]``, of which those that are zero are left out."""
    rows = np.flatnonzero(references).astype(np.int32)
    earlier: list[tuple[int, int]] = []
    for part, radius in enumerate(radii(maximum_distance)):
        if radius < 0:  # so small a distance that fewer parts are enough
            continue
        rotated = _rotated(references[rows], part)
        order = np.argsort(rotated, kind="stable")
        places = [((PART_BITS * (other - part) + 64 - PART_BITS) % 64, bound) for other, bound in earlier]
        yield Table(
            part,
            _probes(radius),
            rows[order],
            rotated[order],
            _starts(_buckets(rotated)),
            np.array(places, np.int64).reshape(-1, 2),
            maximum_distance,
            compared_per_bucket,
        )
        earlier.append((part, radius))


def blocks(queries: Hashes, part: int) -> Iterator[Block]:
    """Yield the queries, uint64 ``[n, orientations]``, without those that are zero, in the order of a part."""
    orientations = queries.shape[1]
    step = max(1, _BLOCK_QUERIES // orientations)
    for begin in range(0, len(queries), step):
        rotated = _rotated(queries[begin : begin + step].ravel(), part)
        buckets = _buckets(rotated)
        order = np.argsort(buckets, kind="stable")  # a radix sort for 16 bits
        rotated = rotated[order]
        there = rotated != 0
        if not there.all():
            order, rotated, buckets = order[there], rotated[there], buckets[order[there]]
        yield Block(
            (begin + order // orientations).astype(np.int32),
            (order % orientations).astype(np.uint8),
            rotated,
            _starts(buckets),
        )


def hits_per_query(hits: npt.NDArray[np.integer], pairs_per_hash: int) -> int:
    """Return how many hits of each query fit in memory together.

    Args:
        hits: ``[queries]``, how many there are of each.
        pairs_per_hash: How many are wanted of a query at most.
    """
    queries_by_hits = np.bincount(np.minimum(hits, pairs_per_hash))
    at_least = np.cumsum(queries_by_hits[::-1])[::-1][1:]  # queries with at least 1, 2 ... hits
    return max(1, int(np.searchsorted(np.cumsum(at_least), _PAIRS_PER_STEP, side="right")))


def _probes(radius: int) -> npt.NDArray[np.int64]:
    """Return every pattern of at most ``radius`` of 16 bits, nearest first."""
    patterns = [bits for size in range(radius + 1) for bits in combinations(range(PART_BITS), size)]
    return np.array([sum(1 << bit for bit in bits) for bits in patterns], np.int64)


def _rotated(hashes: Hashes, part: int) -> Hashes:
    """Return the hashes with one of their parts in the highest bits."""
    left = np.uint64(64 - PART_BITS - PART_BITS * part)
    return hashes if left == 0 else (hashes << left) | (hashes >> np.uint64(64 - int(left)))


def _buckets(rotated: Hashes) -> npt.NDArray[np.uint16]:
    return (rotated >> np.uint64(64 - PART_BITS)).astype(np.uint16)


def _starts(buckets: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    return np.append(0, np.cumsum(np.bincount(buckets, minlength=BUCKETS)))
