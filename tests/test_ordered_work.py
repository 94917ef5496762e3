"""Threads change neither the order nor the results, and never run far ahead."""

import os
import threading
import time
from pathlib import Path

import pytest

from components import ordered_work
from components.ordered_work import in_order, processors


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order(workers: int) -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item % 4 == 0 else 0)
        return item * item

    assert list(in_order(slow_first, range(30), workers)) == [item * item for item in range(30)]


def test_only_a_few_items_are_begun_before_their_turn() -> None:
    begun: list[int] = []
    results = in_order(begun.append, iter(range(10_000)), 2)
    for _ in range(5):
        next(results)
    assert len(begun) <= 5 + 8
    results.close()
    assert len(begun) <= 5 + 8


def test_few_bytes_of_results_wait_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered_work, "_AHEAD_BYTES", 100)
    lock = threading.Lock()
    waiting = most_waiting = 0

    def read(item: int) -> int:
        nonlocal waiting, most_waiting
        with lock:
            waiting += 1
            most_waiting = max(most_waiting, waiting)
        return item

    for _ in in_order(read, range(30), 8, lambda _: 30):
        with lock:
            waiting -= 1
    assert most_waiting <= 4, "three of 30 bytes fit in 100, and one has been handed over"


def test_a_failure_is_raised_in_its_turn_and_stops_the_rest() -> None:
    worked: set[int] = set()
    lock = threading.Lock()

    def fail_at_three(item: int) -> int:
        with lock:
            worked.add(item)
        if item == 3:
            raise ValueError("three")
        return item

    results = in_order(fail_at_three, range(1000), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(worked) < 20


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("800000 100000\n", 8), ("150000 100000\n", 2), ("20000 100000\n", 1), ("max 100000\n", 64), (None, 64)],
    ids=["eight", "one and a half", "a fifth", "no limit", "no control groups"],
)
def test_a_container_uses_its_own_processors_and_not_those_of_its_node(
    limit: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(ordered_work, "_CPU_LIMIT", tmp_path / "cpu.max")
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    assert processors() == expected
