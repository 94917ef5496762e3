"""The comparisons of pair_search compiled by numba, an optional extra: the same pairs, a great deal sooner."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numba  # type: ignore[import-not-found,import-untyped,unused-ignore]
import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-not-found,import-untyped,unused-ignore]
from numba.core import cgutils, types  # type: ignore[import-not-found,import-untyped,unused-ignore]
from numba.extending import intrinsic  # type: ignore[import-not-found,import-untyped,unused-ignore]

from components.copies.hash_tables import BUCKETS, PART_BITS, Block, Hits, Table, hits_per_query

_LANES = 16  # queries compared at a time
_TILE = 64  # buckets: a probe leads from neighbours to neighbours, which are still in the processor's cache
_SHARE = 1024  # buckets that a thread takes at a time

_PART_SHIFT = np.uint64(64 - PART_BITS)
_LOW_BITS = np.uint64((1 << (64 - PART_BITS)) - 1)
_PART = np.uint64(BUCKETS - 1)


@intrinsic
def _bit_count(_context: Any, number: Any) -> Any:
    """Count the bits that are set in a uint64: one instruction where the processor has it."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(number), generate


@intrinsic
def _near(_context: Any, hashes: Any, begin: Any, reference: Any, maximum_distance: Any) -> Any:  # noqa: ARG001, types
    """Return in which of 16 consecutive hashes few bits differ from a reference's: bit k stands for the k-th.

    Written as LLVM's vectors, which any processor's vector instructions serve: loops are not made into them as well.
    """
    lanes, index = ir.VectorType(ir.IntType(64), _LANES), ir.IntType(32)

    def spread(builder: Any, value: Any) -> Any:
        undefined = ir.Constant(lanes, ir.Undefined)
        one = builder.insert_element(undefined, value, ir.Constant(index, 0))
        return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(index, _LANES), [0] * _LANES))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), lanes.as_pointer())
        difference = builder.xor(builder.load(place, align=8), spread(builder, arguments[2]))
        name = f"llvm.ctpop.v{_LANES}i64"
        bit_counts = cgutils.get_or_insert_function(builder.module, ir.FunctionType(lanes, [lanes]), name)
        differing = builder.call(bit_counts, [difference])
        near = builder.icmp_unsigned("<=", differing, spread(builder, arguments[3]))
        return builder.zext(builder.bitcast(near, ir.IntType(_LANES)), ir.IntType(64))

    return types.uint64(hashes, types.int64, types.uint64, types.uint64), generate


class _Hashes(NamedTuple):
    """Rotated hashes in the order of their part and a few zeros more, their rows, and where each bucket begins."""

    hashes: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]


class _Found(NamedTuple):
    """Hits of each query; of ``most`` of them the positions of the references, from the query's offset on."""

    hits: npt.NDArray[np.int64]
    most: int
    offsets: npt.NDArray[np.int64]
    references: npt.NDArray[np.int64]


@numba.njit(nogil=True)
def _is_new(difference, earlier):  # type: ignore[no-untyped-def]
    for shift, bound in earlier:  # noqa: SIM110, numba compiles no generators
        if _bit_count((difference >> shift) & _PART) <= bound:
            return False
    return True


@numba.njit(nogil=True)
def _note(near, q, r, q_step, r_step, lanes, queries, references, earlier, found):  # type: ignore[no-untyped-def]
    """Count and write down those of a few near hashes that no earlier table has shown."""
    for _ in range(lanes):
        if near & np.uint64(1):
            difference = queries.hashes[q] ^ references.hashes[r]
            if queries.rows[q] != references.rows[r] and _is_new(difference, earlier):
                if found.hits[q] < found.most:
                    found.references[found.offsets[q] + found.hits[q]] = r
                found.hits[q] += 1
        near >>= np.uint64(1)
        q += q_step
        r += r_step


@numba.njit(nogil=True)
def _scan(  # type: ignore[no-untyped-def]
    begin, end, queries, references, probes, earlier, maximum_distance, per_bucket, found
):
    """Find what is near the queries of some buckets. Returns the comparisons left out."""
    saved = 0
    for tile in range(begin, end, _TILE):
        for probe in probes:
            for bucket in range(tile, tile + _TILE):
                q_first, q_last = queries.starts[bucket], queries.starts[bucket + 1]
                r_first, r_last = references.starts[bucket ^ probe], references.starts[(bucket ^ probe) + 1]
                if r_last - r_first <= per_bucket:
                    for r in range(r_first, r_last):
                        for q in range(q_first, q_last, _LANES):
                            near = _near(queries.hashes, q, references.hashes[r], maximum_distance)
                            if near:
                                lanes = min(_LANES, q_last - q)
                                _note(near, q, r, 1, 0, lanes, queries, references, earlier, found)
                    continue
                saved += (r_last - r_first - per_bucket) * (q_last - q_first)
                for q in range(q_first, q_last):
                    wanted = (np.uint64(bucket ^ probe) << _PART_SHIFT) | (queries.hashes[q] & _LOW_BITS)
                    middle = r_first + np.searchsorted(references.hashes[r_first:r_last], wanted) - per_bucket // 2
                    lowest = min(max(middle, r_first), r_last - per_bucket)
                    for r in range(lowest, lowest + per_bucket, _LANES):
                        near = _near(references.hashes, r, queries.hashes[q], maximum_distance)
                        if near:
                            lanes = min(_LANES, lowest + per_bucket - r)
                            _note(near, q, r, 0, 1, lanes, queries, references, earlier, found)
    return saved


def search_with_numba(table: Table, block: Block, pairs_per_hash: int) -> Hits:
    """Do what ``pair_search_numpy`` does: count the hits of every query, then write down those there are."""
    none = np.zeros(0, np.int64)
    hits = np.zeros(len(block.hashes), np.int64)
    saved = _scan_with_all_processors(table, block, _Found(hits, 0, none, none))
    busy = np.flatnonzero(hits)
    most = hits_per_query(hits[busy], pairs_per_hash)
    kept = np.minimum(hits[busy], most)
    references = np.empty(int(kept.sum()), np.int64)
    some = Block(block.rows[busy], block.orientations[busy], block.hashes[busy], np.searchsorted(busy, block.starts))
    _scan_with_all_processors(table, some, _Found(np.zeros_like(busy), most, np.cumsum(kept) - kept, references))
    return Hits(np.repeat(busy, kept), references, int(hits.sum()) - len(references), saved)


def _scan_with_all_processors(table: Table, block: Block, found: _Found) -> int:
    more = np.zeros(_LANES, np.uint64)
    queries = _Hashes(np.append(block.hashes, more), block.rows, block.starts)
    references = _Hashes(np.append(table.hashes, more), table.rows, table.starts)
    earlier = table.earlier.astype(np.uint64)
    distance = np.uint64(table.maximum_distance)

    def scan(begin: int) -> int:
        end, per_bucket = begin + _SHARE, table.compared_per_bucket
        return int(_scan(begin, end, queries, references, table.probes, earlier, distance, per_bucket, found))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # A bucket's queries are one thread's own: nothing is written twice.
        return sum(pool.map(scan, range(0, BUCKETS, _SHARE)))
