"""Tells what the time of a loop goes into."""

import time


class Clock:
    """Tells the seconds since it was last asked."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Return them, from when it was made the first time."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        return seconds
