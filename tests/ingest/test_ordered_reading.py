"""Reading ahead with threads, in order and with bounded memory."""

import threading
import time

import pytest

from components.ingest import ordered_reading
from components.ingest.ordered_reading import read_in_order


def test_results_come_in_order_whatever_finishes_first() -> None:
    def read(name: str) -> bytes:
        time.sleep(0.02 if int(name) % 3 == 0 else 0)
        return name.encode()

    names = [str(number) for number in range(50)]
    assert list(read_in_order(names, [1] * 50, read, 4)) == [name.encode() for name in names]


def test_few_results_wait_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered_reading, "_AHEAD_BYTES", 100)
    lock = threading.Lock()
    waiting = most_waiting = 0

    def read(name: str) -> bytes:
        nonlocal waiting, most_waiting
        with lock:
            waiting += 1
            most_waiting = max(most_waiting, waiting)
        return name.encode()

    for _ in read_in_order([str(number) for number in range(30)], [30] * 30, read, 8):
        with lock:
            waiting -= 1
    assert most_waiting <= 4, "three of 30 bytes fit in 100, and one has been handed over"


def test_a_failure_reaches_the_reader() -> None:
    def read(name: str) -> bytes:
        if name == "3":
            raise ValueError("three")
        return b""

    with pytest.raises(ValueError, match="three"):
        list(read_in_order(["1", "2", "3", "4"], [1] * 4, read, 2))
