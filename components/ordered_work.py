"""Work on many items with threads, and hand the results on in order with few of them in memory."""

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD_PER_WORKER = 4
_AHEAD_BYTES = 128 * 2**20

# Microseconds of processor time per period, "max 100000" without a limit (Linux control groups, version 2).
_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def processors() -> int:
    """Return how many processors this process may use, at least 1.

    A pod sees every processor of its node, 64 for example, and runs on as many as its limit says, 8 for example.
    """
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        usable = os.cpu_count() or 1
    try:
        limit, period = _CPU_LIMIT.read_text(encoding="ascii").split()
    except OSError:  # no control groups, or version 1
        return usable
    return usable if limit == "max" else max(1, min(usable, math.ceil(int(limit) / int(period))))


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    result_bytes: Callable[[Item], int] = lambda _: 0,
) -> Generator[Result]:
    """Yield ``work(item)`` for each item in order, as ``map`` does, computed by threads.

    Args:
        work: Called from several threads.
        items: Taken as they are needed: at most four per thread are begun before their turn.
        workers: Threads, at least 1.
        result_bytes: About how large the result of an item is: at most 128 MiB of results wait, or one.

    Raises:
        Exception: Whatever ``work`` raises for an item, in that item's turn.
    """
    begun: deque[tuple[Future[Result], int]] = deque()
    waiting_bytes = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                size_bytes = result_bytes(item)
                while begun and (
                    len(begun) >= workers * _AHEAD_PER_WORKER or waiting_bytes + size_bytes > _AHEAD_BYTES
                ):
                    future, done_bytes = begun.popleft()
                    waiting_bytes -= done_bytes
                    yield future.result()
                begun.append((pool.submit(work, item), size_bytes))
                waiting_bytes += size_bytes
            while begun:
                yield begun.popleft()[0].result()
        finally:
            for future, _ in begun:
                future.cancel()
