"""Who becomes the champion, and what entering a version again does."""

import pytest

from components.failures import UserError
from components.register.promotion_gate import Index, VersionRecord, enter

EMPTY = Index("trees", (), {})


def record(version: str, accuracy: float, dataset: str = "d1") -> VersionRecord:
    return VersionRecord(version, f"versions/{version}/x", "2026-01-01", accuracy, dataset, "run")


def index_of(*records: VersionRecord, minimum_accuracy: float = 0.5) -> Index:
    index = EMPTY
    for entry in records:
        index, _ = enter(index, entry, minimum_accuracy)
    return index


@pytest.mark.parametrize(
    ("accuracy", "dataset", "minimum", "passed", "reason"),
    [
        (0.9, "d1", 0.5, True, "not below the 0.8000 of champion A"),
        (0.8, "d1", 0.5, True, "not below the 0.8000 of champion A"),
        (0.7, "d1", 0.5, False, "below the 0.8000 of champion A on the same images"),
        (0.7, "d2", 0.5, True, "tested on other images"),
        (0.4, "d2", 0.5, False, "below the required 0.5000"),
        (0.9, "d1", 0.95, False, "below the required 0.9500"),
        (1.0, "d1", 1.0, True, "reaches the required 1.0000"),
    ],
    ids=["better", "equal", "worse", "other data", "other data but weak", "higher minimum", "perfect"],
)
def test_a_newcomer_against_a_champion(
    accuracy: float, dataset: str, minimum: float, passed: bool, reason: str
) -> None:
    index, entered = enter(index_of(record("A", 0.8)), record("B", accuracy, dataset), minimum)
    assert entered.gate_passed is passed
    assert reason in entered.gate_reason
    champions = {"champion": "B", "previous": "A"} if passed else {"champion": "A"}
    assert index.aliases == champions | {"candidate": "B"}


def test_entering_again_changes_nothing() -> None:
    index = index_of(record("A", 0.8), record("B", 0.9), record("C", 0.7))
    for version, accuracy in (("A", 0.8), ("B", 0.9), ("C", 0.7)):
        assert enter(index, record(version, accuracy), 0.5)[0] == index


def test_a_replaced_champion_does_not_come_back_by_being_registered_again() -> None:
    index = index_of(record("A", 0.8), record("B", 0.8))
    assert index_of(record("A", 0.8), record("B", 0.8), record("A", 0.8)) == index
    assert index.aliases == {"candidate": "B", "champion": "B", "previous": "A"}


def test_a_champion_stays_when_the_minimum_rises() -> None:
    index = index_of(record("A", 0.8))
    assert enter(index, record("A", 0.8), 0.99)[0] == index


def test_one_that_failed_is_judged_anew() -> None:
    index, failed = enter(EMPTY, record("A", 0.8), 0.9)
    assert not failed.gate_passed
    assert "champion" not in index.aliases
    index, entered = enter(index, record("A", 0.8), 0.8)
    assert entered.gate_passed
    assert index.aliases == {"candidate": "A", "champion": "A"}
    assert len(index.versions) == 1


def test_index_round_trip() -> None:
    index = index_of(record("A", 0.8), record("B", 0.9))
    assert Index.from_bytes(index.to_bytes(), "index.json") == index


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"versions": [{}], "aliases": {}, "model_name": "a"}', b"\xff"])
def test_a_damaged_index(data: bytes) -> None:
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        Index.from_bytes(data, "index.json")
