"""The attempts at a phase: where each but the first went on, and how long they took together.

Both are kept in the checkpoints, for what an attempt that starts over knows of those before it.
"""

import dataclasses
import time

from components.classifier.checkpoints import Checkpoint
from components.formats.trained_model import Resumption

_KEY = "attempts"


@dataclasses.dataclass
class AttemptsMade:
    """This attempt at a phase, and what the checkpoint it went on from knows of those before.

    Attributes:
        began: When this one did, by ``time.monotonic``.
        resumed: Where each attempt went on that left a checkpoint, and where this one did.
        earlier_seconds: What those before took up to the checkpoints that were gone on from.
    """

    began: float = dataclasses.field(default_factory=time.monotonic)
    resumed: list[Resumption] = dataclasses.field(default_factory=list)
    earlier_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """What all attempts have taken so far; what one did after its last checkpoint is lost, and not counted."""
        return self.earlier_seconds + time.monotonic() - self.began

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Take over what a checkpoint knows, and count that this attempt goes on from it.

        One of before attempts were counted knows the seconds of its epochs alone.
        """
        known = checkpoint.state.get(_KEY)
        if known is None:
            known = {"resumed": [], "seconds": sum(row["seconds"] for row in checkpoint.state["history"])}
        self.earlier_seconds = known["seconds"]
        self.resumed = [*(Resumption(**place) for place in known["resumed"])]
        self.resumed.append(Resumption(checkpoint.epoch, checkpoint.batches))

    def counted(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return a checkpoint that knows of these attempts."""
        known = {"resumed": [dataclasses.asdict(place) for place in self.resumed], "seconds": self.seconds}
        return dataclasses.replace(checkpoint, state={**checkpoint.state, _KEY: known})

    @property
    def told(self) -> str:
        """Where training was gone on with, in sentences after a space; empty where it never stopped."""
        if not self.resumed:
            return ""
        *others, last = (place.in_words for place in self.resumed)
        times = f"{len(self.resumed)} times: {', '.join(others)}, and {last}" if others else f"once: {last}"
        return (
            f" Resumed {times}. The time is that of all attempts, of each that was stopped up to its last checkpoint."
        )
