"""What a step does when it is asked to end: SIGTERM comes before a node is taken away or a pod is evicted."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from components.failures import StoppedError

_SENTENCE = "stopped by SIGTERM; a rerun goes on from what was kept"


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the block with ``StoppedError``, so that it cleans up behind itself as after any failure.

    Raises:
        StoppedError: When SIGTERM arrives.
    """

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's arguments
        raise StoppedError(_SENTENCE)

    with _handled(stop):
        yield


@contextlib.contextmanager
def termination_deferred() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGTERM has arrived; what is in the block is not interrupted.

    Raises:
        StoppedError: At the end of the block, when SIGTERM has arrived and nothing else was raised.
    """
    arrived = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        arrived.set()

    with _handled(note):
        yield arrived.is_set
    if arrived.is_set():
        raise StoppedError(_SENTENCE)


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle SIGTERM; other threads than the main one are not told of signals and change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
