"""The search finds exactly the pairs that comparing all with all does, with either engine."""

import importlib.util

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.copies import hash_tables
from components.copies.hash_tables import radii
from components.copies.pair_search import SearchLimits, fastest_engine, find_pairs

Hashes = npt.NDArray[np.uint64]

UNLIMITED = SearchLimits(compared_per_bucket=1 << 20, pairs_per_hash=1 << 20)
WITH_NUMBA = pytest.mark.skipif(fastest_engine(10**6) != "numba", reason="numba is an extra: fast")
INSTALLED = ["numpy", pytest.param("numba", marks=WITH_NUMBA)]


def near_hashes(random: np.random.Generator, count: int, families: int, flips: int) -> Hashes:
    """Draw hashes in families whose members differ in up to ``flips`` bits from their first."""
    hashes = random.choice(random.integers(1, 2**64 - 1, families, dtype=np.uint64), count)
    for _ in range(flips):
        bits = random.integers(0, 64, count).astype(np.uint64)
        hashes = hashes ^ (np.uint64(1) << bits) * random.integers(0, 2, count).astype(np.uint64)
    return hashes


def by_comparing_all(references: Hashes, queries: Hashes, distance: int) -> list[tuple[int, int, int, int]]:
    found = []
    for orientation in range(queries.shape[1]):
        differing = np.bitwise_count(queries[:, orientation, None] ^ references[None])
        near = (differing <= distance) & (queries[:, orientation, None] != 0) & (references[None] != 0)
        np.fill_diagonal(near, False)
        found += [(int(i), int(j), orientation, int(differing[i, j])) for i, j in zip(*np.nonzero(near), strict=True)]
    return sorted(found, key=lambda pair: pair[:3])


def found_by(references: Hashes, queries: Hashes, distance: int, engine: str) -> list[tuple[int, int, int, int]]:
    pairs = find_pairs(references, queries, distance, UNLIMITED, engine)
    assert (pairs.left_out_pairs, pairs.left_out_comparisons) == (0, 0)
    columns = (pairs.first, pairs.second, pairs.orientation, pairs.distance)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("engine", INSTALLED)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 120),
    families=st.integers(1, 60),
    flips=st.integers(0, 14),
    distance=st.integers(0, 11),
    orientations=st.integers(1, 8),
)
def test_the_pairs_are_those_of_comparing_all(
    engine: str, seed: int, count: int, families: int, flips: int, distance: int, orientations: int
) -> None:
    random = np.random.default_rng(seed)
    references = near_hashes(random, count, families, flips)
    queries = np.stack([references, *(near_hashes(random, count, families, flips) for _ in range(orientations - 1))], 1)
    queries[:, -1] = references[::-1]
    references[: count // 10] = 0
    assert found_by(references, queries, distance, engine) == by_comparing_all(references, queries, distance)


@pytest.mark.parametrize("distance", range(12))
def test_no_pair_within_the_distance_escapes_every_part(distance: int) -> None:
    """The least distance of a pair that every table misses is one above the bound."""
    assert sum(radius + 1 for radius in radii(distance)) == distance + 1


@pytest.mark.parametrize("engine", INSTALLED)
def test_a_hash_of_zero_is_near_nothing(engine: str) -> None:
    references = np.array([0, 0, 1, 3], np.uint64)
    assert found_by(references, references[:, None], 2, engine) == [(2, 3, 0, 1), (3, 2, 0, 1)]


@pytest.mark.parametrize("engine", INSTALLED)
def test_what_the_limits_leave_out_is_counted(engine: str) -> None:
    """All of 300 hashes within 8 bits of one another are 300 x 299 pairs."""
    random = np.random.default_rng(3)
    hashes = np.uint64(2**63 + 12345) ^ (np.uint64(1) << random.integers(0, 64, (300, 4)).astype(np.uint64)).sum(axis=1)
    every = by_comparing_all(hashes, hashes[:, None], 8)
    few = find_pairs(hashes, hashes[:, None], 8, SearchLimits(compared_per_bucket=1 << 20, pairs_per_hash=5), engine)
    assert np.bincount(few.first).max() == 5
    assert few.left_out_comparisons == 0
    assert len(few.first) + few.left_out_pairs == len(every)
    narrow = find_pairs(hashes, hashes[:, None], 8, SearchLimits(compared_per_bucket=50, pairs_per_hash=1000), engine)
    assert narrow.left_out_comparisons > 0
    assert 0 < len(narrow.first) < len(every)


def crowded_hashes(random: np.random.Generator, count: int, free_bits: int, zeros: float, equal: float) -> Hashes:
    """Draw hashes that differ in some bits only, part of which are zero, and part of which are equal to another."""
    free = np.bitwise_or.reduce(np.uint64(1) << random.choice(64, free_bits, replace=False).astype(np.uint64))
    hashes = (
        random.integers(1, 2**64 - 1, dtype=np.uint64) & ~free | random.integers(0, 2**64 - 1, count, np.uint64) & free
    )
    hashes = np.where(random.random(count) < equal, random.permutation(hashes), hashes)
    return np.where(random.random(count) < zeros, np.uint64(0), hashes)


@WITH_NUMBA
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 400),
    free_bits=st.integers(0, 24),
    zeros=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    equal=st.sampled_from([0.0, 0.5, 1.0]),
    distance=st.integers(0, 11),
    compared_per_bucket=st.integers(1, 80),
    pairs_per_hash=st.integers(1, 20),
)
def test_both_engines_find_and_leave_out_the_same(
    seed: int,
    count: int,
    free_bits: int,
    zeros: float,
    equal: float,
    distance: int,
    compared_per_bucket: int,
    pairs_per_hash: int,
) -> None:
    random = np.random.default_rng(seed)
    hashes = crowded_hashes(random, count, free_bits, zeros, equal)
    queries = np.stack([hashes, hashes[::-1], crowded_hashes(random, count, free_bits, zeros, equal)], 1)
    limits = SearchLimits(compared_per_bucket, pairs_per_hash)
    one, other = (find_pairs(hashes, queries, distance, limits, engine) for engine in ("numpy", "numba"))
    for column in ("first", "second", "orientation", "distance"):
        assert getattr(one, column).tolist() == getattr(other, column).tolist(), column
    assert (one.left_out_pairs, one.left_out_comparisons) == (other.left_out_pairs, other.left_out_comparisons)


@pytest.mark.parametrize("engine", INSTALLED)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 150),
    free_bits=st.integers(0, 20),
    zeros=st.sampled_from([0.0, 0.5]),
    equal=st.sampled_from([0.0, 1.0]),
    distance=st.integers(0, 11),
)
def test_crowded_hashes_are_searched_exactly_too(
    engine: str, seed: int, count: int, free_bits: int, zeros: float, equal: float, distance: int
) -> None:
    random = np.random.default_rng(seed)
    references = crowded_hashes(random, count, free_bits, zeros, equal)
    queries = np.stack([references, random.permutation(references)], 1)
    assert found_by(references, queries, distance, engine) == by_comparing_all(references, queries, distance)


@WITH_NUMBA
def test_more_hashes_than_are_sorted_at_a_time_and_more_pairs_than_are_kept_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hash_tables, "_BLOCK_QUERIES", 1000)
    monkeypatch.setattr(hash_tables, "_PAIRS_PER_STEP", 5000)
    hashes = near_hashes(np.random.default_rng(4), 2000, 3, 5)
    queries = np.stack([hashes, hashes[::-1]], 1)
    limits = SearchLimits(compared_per_bucket=64, pairs_per_hash=7)
    one, other = (find_pairs(hashes, queries, 8, limits, engine) for engine in ("numpy", "numba"))
    assert one.first.tolist() == other.first.tolist()
    assert one.second.tolist() == other.second.tolist()
    assert one.distance.tolist() == other.distance.tolist()
    assert one.left_out_pairs > 0
    assert (one.left_out_pairs, one.left_out_comparisons) == (other.left_out_pairs, other.left_out_comparisons)


def test_the_fastest_engine_is_numba_where_there_is_one() -> None:
    assert fastest_engine(1000) == "numpy", "compiling takes longer than the search"
    assert fastest_engine(10**6) == ("numba" if importlib.util.find_spec("numba") else "numpy")


@pytest.mark.parametrize(("distance", "engine"), [(-1, "numpy"), (12, "numpy"), (3, "faiss")])
def test_what_it_cannot_do_is_refused(distance: int, engine: str) -> None:
    hashes = np.ones(2, np.uint64)
    with pytest.raises(ValueError, match="distance|engine"):
        find_pairs(hashes, hashes[:, None], distance, UNLIMITED, engine)
