"""Read many files with threads but hand them on in order, with few of them in memory."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

_AHEAD_BYTES = 128 * 2**20


def read_in_order(
    names: Sequence[str], sizes_bytes: Sequence[int], read: Callable[[str], bytes], workers: int
) -> Generator[bytes]:
    """Yield ``read(name)`` for each name in order.

    Args:
        names: What to read.
        sizes_bytes: About how large each result is: at most 128 MiB of results wait, or one.
        read: Called from several threads.
        workers: Threads, at least 1.
    """
    waiting: deque[tuple[Future[bytes], int]] = deque()
    waiting_bytes = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            for name, size_bytes in zip(names, sizes_bytes, strict=True):
                while waiting and (waiting_bytes + size_bytes > _AHEAD_BYTES or len(waiting) >= 4 * workers):
                    future, done_bytes = waiting.popleft()
                    waiting_bytes -= done_bytes
                    yield future.result()
                waiting.append((pool.submit(read, name), size_bytes))
                waiting_bytes += size_bytes
            while waiting:
                yield waiting.popleft()[0].result()
        finally:
            for future, _ in waiting:
                future.cancel()
