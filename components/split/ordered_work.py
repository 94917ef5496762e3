"""Work on many items with threads, and hand the results on in order with few of them in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD_PER_WORKER = 4


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield ``work(item)`` for each item in order, as ``map`` does, computed by threads.

    Args:
        work: Called from several threads.
        items: Taken as they are needed: at most four per thread are begun before their turn.
        workers: Threads, at least 1.

    Raises:
        Exception: Whatever ``work`` raises for an item, in that item's turn.
    """
    begun: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                if len(begun) == workers * _AHEAD_PER_WORKER:
                    yield begun.popleft().result()
                begun.append(pool.submit(work, item))
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
