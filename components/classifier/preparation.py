"""How long it takes until the batches of an epoch can be asked for, and what that time goes into."""

import dataclasses
import time


@dataclasses.dataclass
class PassSeconds:
    """A pass of images through frozen layers, whose results are kept.

    Attributes:
        images: That went through.
        input_seconds: Spent waiting for them: reading, decoding, augmenting.
        forward_seconds: Spent in the frozen layers.
        keeping_seconds: Spent compressing and writing, as far as the layers had to wait for it.
    """

    images: int = 0
    input_seconds: float = 0.0
    forward_seconds: float = 0.0
    keeping_seconds: float = 0.0


class Preparation:
    """Watches what happens before an epoch, the first time from when it is made."""

    def __init__(self) -> None:
        self.made = time.monotonic()
        """When it was, by ``time.monotonic``: what took time before belongs to no epoch."""
        self._began: float | None = self.made
        self.passed = PassSeconds()
        """Adds up what the pass for the next epoch takes."""

    def begun(self) -> float:
        """Return when the preparation of the next epoch began, by ``time.monotonic``: now, unless it was before."""
        if self._began is None:
            self._began = time.monotonic()
        return self._began

    def ended(self) -> tuple[float, PassSeconds]:
        """Return the seconds since it began, and the passes in them; the next one begins when ``begun`` is asked."""
        seconds, passed = time.monotonic() - self.begun(), self.passed
        self._began, self.passed = None, PassSeconds()
        return seconds, passed
