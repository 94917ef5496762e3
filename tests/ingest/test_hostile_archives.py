"""Mutated ZIP files: an archive comes of each, or a clear error. ``benchmarks.hostile_files`` throws more."""

import pytest

from benchmarks.hostile_files import Ending, ingest_zip, mutated_zips, real_zips, watch

SEED = 77
ZIPS = 80


@pytest.fixture(scope="module")
def endings() -> list[Ending]:
    return watch(ingest_zip, list(mutated_zips(ZIPS, SEED)))


def test_originals_are_ingested() -> None:
    assert [ingest_zip(data) for data in real_zips(SEED)] == ["row: ingested"] * 6


def test_no_mutated_zip_crashes_hangs_or_fills_the_memory(endings: list[Ending]) -> None:
    assert [one for one in endings if one.failed] == []


def test_some_are_ingested_and_others_refused(endings: list[Ending]) -> None:
    assert {one.outcome for one in endings} == {"row: ingested", "error: clear"}
