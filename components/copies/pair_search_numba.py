"""The comparisons of pair_search compiled by numba, an optional extra: the same pairs, a great deal sooner."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba  # type: ignore[import-not-found,import-untyped,unused-ignore]
import numpy as np
from numba.core import types  # type: ignore[import-not-found,import-untyped,unused-ignore]
from numba.extending import intrinsic  # type: ignore[import-not-found,import-untyped,unused-ignore]

from components.copies.pair_search import Block, Hits, SearchLimits, Table, pairs_per_query

_LOW_BITS = np.uint64((1 << 48) - 1)
_PART = np.uint64(0xFFFF)


@intrinsic
def _bit_count(_context: Any, number: Any) -> Any:
    """Count the bits that are set in a uint64: one instruction where the processor has it."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(number), generate


@numba.njit(nogil=True)
def _is_new(difference, maximum_distance, shifts, bounds):  # type: ignore[no-untyped-def]
    if _bit_count(difference) > maximum_distance:
        return False
    for other in range(len(shifts)):  # noqa: SIM110, numba compiles no generators
        if _bit_count((difference >> shifts[other]) & _PART) <= bounds[other]:
            return False
    return True


@numba.njit(nogil=True)
def _scan(  # type: ignore[no-untyped-def]  # noqa: PLR0912, one loop nest, compiled whole
    groups, group_starts, buckets, q_hashes, q_rows, r_hashes, r_rows, starts, probes, shifts, bounds,
    maximum_distance, per_bucket, fill, most, hits, offsets, references,
):  # fmt: skip
    """Count the hits of each query of some groups, and write down the first of them if asked to.

    A group is the queries of one bucket. Returns the comparisons left out.
    """
    saved = 0
    for group in groups:
        q_first, q_last = group_starts[group], group_starts[group + 1]
        for probe in probes:
            bucket = buckets[group] ^ probe
            first, last = starts[bucket], starts[bucket + 1]
            if last - first > per_bucket:
                saved += (last - first - per_bucket) * (q_last - q_first)
                for q in range(q_first, q_last):
                    wanted = (np.uint64(bucket) << np.uint64(48)) | (q_hashes[q] & _LOW_BITS)
                    middle = first + np.searchsorted(r_hashes[first:last], wanted) - per_bucket // 2
                    begin = min(max(middle, first), last - per_bucket)
                    for r in range(begin, begin + per_bucket):
                        if q_rows[q] != r_rows[r] and _is_new(
                            q_hashes[q] ^ r_hashes[r], maximum_distance, shifts, bounds
                        ):
                            if fill and hits[q] < most:
                                references[offsets[q] + hits[q]] = r
                            hits[q] += 1
                continue
            for r in range(first, last):
                reference = r_hashes[r]
                near = 0
                for q in range(q_first, q_last):  # without a branch, so that it becomes vector instructions
                    near += _bit_count(q_hashes[q] ^ reference) <= maximum_distance
                if near == 0:
                    continue
                for q in range(q_first, q_last):
                    if q_rows[q] != r_rows[r] and _is_new(q_hashes[q] ^ reference, maximum_distance, shifts, bounds):
                        if fill and hits[q] < most:
                            references[offsets[q] + hits[q]] = r
                        hits[q] += 1
    return saved


def search_with_numba(table: Table, block: Block, maximum_distance: int, limits: SearchLimits) -> Hits:
    """Do what ``pair_search`` does with numpy: count the hits of every query, then write down those there are."""
    buckets, group_starts = np.unique(block.buckets, return_index=True)
    group_starts = np.append(group_starts, len(block.buckets)).astype(np.int64)
    hits = np.zeros(len(block.hashes), np.int64)
    none = np.zeros(0, np.int64)

    def scan(groups: np.ndarray, most: int, counted: np.ndarray, offsets: np.ndarray, references: np.ndarray) -> int:
        return int(
            _scan(
                groups, group_starts, buckets, block.hashes, block.rows, table.hashes, table.rows, table.starts,
                table.probes, table.earlier[:, 0].astype(np.uint64), table.earlier[:, 1].astype(np.uint64),
                np.uint64(maximum_distance), limits.compared_per_bucket, most > 0, most, counted, offsets, references,
            )
        )  # fmt: skip

    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        # A thread's groups are its own, and so are their queries: nothing is written twice.
        shares = np.array_split(np.arange(len(buckets)), 8 * threads)
        saved = sum(pool.map(lambda groups: scan(groups, 0, hits, none, none), shares))
        most = pairs_per_query(np.bincount(np.minimum(hits, limits.pairs_per_hash)))
        kept = np.minimum(hits, most)
        offsets = np.cumsum(kept) - kept
        references = np.empty(int(kept.sum()), np.int64)
        busy = np.flatnonzero(np.add.reduceat(hits, group_starts[:-1])) if len(hits) else none
        again = np.zeros_like(hits)
        list(pool.map(lambda groups: scan(groups, most, again, offsets, references), np.array_split(busy, 8 * threads)))
    queries = np.repeat(np.arange(len(hits)), kept)
    return Hits(queries, references, int(hits.sum() - kept.sum()), saved)
