"""How far a pass over images is, how fast it goes and how long it will take, as a line now and then."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 5.0


class ImageProgress:
    """Prints a line every few seconds, and one at the end.

    Args:
        step: Whose pass it is.
        images: How many there are.
    """

    def __init__(self, step: str, images: int) -> None:
        self._step = step
        self._images = images
        self._done = self._here = 0
        self._started = self._said = time.monotonic()

    def resumed(self, images: int) -> None:
        """Say that so many were done by an attempt before this one."""
        self._done = images
        if images:
            print(f"{self._step}: {images:,} of {self._images:,} images were done before", flush=True)

    def done(self, images: int) -> None:
        """Count so many more."""
        self._done += images
        self._here += images
        now = time.monotonic()
        if now - self._said < _SECONDS_BETWEEN_LINES and self._done < self._images:
            return
        self._said = now
        rate = self._here / max(now - self._started, 1e-6)
        left = round((self._images - self._done) / rate)
        ending = f"{left // 60}:{left % 60:02d} left" if left else f"{now - self._started:.1f} s"
        speed = f"{rate:,.{0 if rate >= 10 else 1}f}"
        print(f"{self._step}: {self._done:,} of {self._images:,} images, {speed} images/s, {ending}", flush=True)

    def count(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items as they are, one an image, and count them."""
        for item in items:
            yield item
            self.done(1)
