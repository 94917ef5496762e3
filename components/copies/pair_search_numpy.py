"""The comparisons of pair_search with numpy alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.copies.hash_tables import BUCKETS, PART_BITS, Block, Hits, Table, hits_per_query

_Ints = npt.NDArray[np.int64]

_VISITS = 1 << 16  # of buckets at a time, most of them empty
_CANDIDATES = 1 << 16  # compared at a time: they stay in the processor's cache
_LOW_BITS = np.uint64((1 << (64 - PART_BITS)) - 1)


@dataclass(frozen=True)
class _Visits:
    """Buckets of queries and the buckets of references they are compared with, all ``[visits]``.

    Attributes:
        probes: Which probe led there.
        ours: Bucket of queries.
        theirs: Bucket of references.
    """

    probes: _Ints
    ours: _Ints
    theirs: _Ints

    def some(self, chosen: npt.NDArray | slice) -> "_Visits":
        return _Visits(self.probes[chosen], self.ours[chosen], self.theirs[chosen])


@dataclass(frozen=True)
class _Found:
    """Near hashes: the probe that led there, and positions of query and reference, all ``[found]``."""

    probes: _Ints
    queries: _Ints
    references: _Ints


def search_with_numpy(table: Table, block: Block, pairs_per_hash: int) -> Hits:
    """Return the references that are near the queries, as far as the limits go."""
    found = [_Found(*(np.empty(0, np.int64) for _ in range(3)))]
    saved = 0
    for visits in _visits(table, block):
        excess = np.diff(table.starts)[visits.theirs] - table.compared_per_bucket
        crowded = excess > 0
        saved += int((excess * np.diff(block.starts)[visits.ours])[crowded].sum())
        found += _compared(table, block, visits.some(~crowded))
        found += _compared_in_part(table, block, visits.some(crowded))
    probes, queries, references = (
        np.concatenate([getattr(some, column) for some in found]) for column in ("probes", "queries", "references")
    )
    order = np.lexsort((probes, queries))  # stable: of one query and probe the references ascend
    queries, references = queries[order], references[order]
    counts = np.bincount(queries, minlength=len(block.hashes))
    kept = np.arange(len(queries)) - (np.cumsum(counts) - counts)[queries] < hits_per_query(counts, pairs_per_hash)
    return Hits(queries[kept], references[kept], int((~kept).sum()), saved)


def _visits(table: Table, block: Block) -> Iterator[_Visits]:
    """Yield which buckets meet, a few buckets of queries at a time, leaving out empty ones."""
    filled = np.diff(table.starts) > 0
    ours = np.flatnonzero(np.diff(block.starts))
    step = max(1, _VISITS // len(table.probes))
    for begin in range(0, len(ours), step):
        theirs = ours[begin : begin + step, None] ^ table.probes
        buckets, probes = np.nonzero(filled[theirs])
        yield _Visits(probes, ours[begin + buckets], theirs[buckets, probes])


def _compared(table: Table, block: Block, visits: _Visits) -> Iterator[_Found]:
    """Compare all queries of a bucket with all references of another."""
    ours, theirs = np.diff(block.starts)[visits.ours], np.diff(table.starts)[visits.theirs]
    for some in _slices(theirs, _CANDIDATES):
        # A reference meets the queries of a bucket: as many runs of queries as there are references.
        visit, references = _runs(table.starts[visits.theirs[some]], theirs[some])
        visit += some.start
        for few in _slices(ours[visit], _CANDIDATES):
            run, queries = _runs(block.starts[visits.ours[visit[few]]], ours[visit[few]])
            near = _near(table, block.hashes[queries], table.hashes[references[few]][run])
            yield _new(table, block, visits.probes[visit[few]][run[near]], queries[near], references[few][run[near]])


def _compared_in_part(table: Table, block: Block, visits: _Visits) -> Iterator[_Found]:
    """Compare each query with those references of a crowded bucket among which it would stand."""
    ours = np.diff(block.starts)[visits.ours]
    most = table.compared_per_bucket
    for some in _slices(ours, _CANDIDATES):
        visit, queries = _runs(block.starts[visits.ours[some]], ours[some])
        buckets = visits.theirs[visit + some.start]
        wanted = (buckets.astype(np.uint64) << np.uint64(64 - PART_BITS)) | (block.hashes[queries] & _LOW_BITS)
        middle = np.searchsorted(table.hashes, wanted) - most // 2
        begins = np.clip(middle, table.starts[buckets], table.starts[buckets + 1] - most)
        for few in _slices(np.full(len(queries), most), _CANDIDATES):
            run, references = _runs(begins[few], np.full(few.stop - few.start, most))
            near = _near(table, block.hashes[queries[few]][run], table.hashes[references])
            probes = visits.probes[visit[few] + some.start][run[near]]
            yield _new(table, block, probes, queries[few][run[near]], references[near])


def _near(table: Table, queries: npt.NDArray[np.uint64], references: npt.NDArray[np.uint64]) -> _Ints:
    return np.flatnonzero(np.bitwise_count(queries ^ references) <= table.maximum_distance)


def _new(table: Table, block: Block, probes: _Ints, queries: _Ints, references: _Ints) -> _Found:
    """Leave out an image and itself, and what an earlier table has shown."""
    new = block.rows[queries] != table.rows[references]
    difference = block.hashes[queries] ^ table.hashes[references]
    for shift, radius in table.earlier:
        new &= np.bitwise_count((difference >> np.uint64(shift)) & np.uint64(BUCKETS - 1)) > radius
    return _Found(probes[new], queries[new], references[new])


def _runs(begins: _Ints, lengths: _Ints) -> tuple[_Ints, _Ints]:
    """Return the members of some runs of consecutive numbers, one after the other: which run, and the number."""
    run = np.repeat(np.arange(len(lengths)), lengths)
    return run, np.arange(len(run)) + (begins - (np.cumsum(lengths) - lengths))[run]


def _slices(work: _Ints, most: int) -> Iterator[slice]:
    """Yield slices of consecutive items whose work adds up to about so much, or more where a single item's does."""
    begin = 0
    for end in (np.flatnonzero(np.diff(np.cumsum(work) // most, append=-1)) + 1).tolist():
        yield slice(begin, end)
        begin = end
