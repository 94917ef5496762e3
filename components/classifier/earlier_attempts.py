"""The checkpoints of earlier attempts at a phase, by what was chosen where a setting was left to the machine."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from components.classifier.checkpoints import Checkpoints
from components.classifier.training_mode import Mode


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a training is done with.

    Attributes:
        precision: Of the devices.
        batch_size: Over all devices.
        mode: Cached or streaming.
    """

    precision: str
    batch_size: int
    mode: Mode


class EarlierAttempts:
    """What attempts before this one left behind.

    Args:
        checkpoint_uri: Where checkpoints are kept; empty for nowhere.
        phase: ``frozen`` or ``fine_tune``.
        identity: Returns what the checkpoints of a choice belong to, see ``training_identity``.
    """

    def __init__(self, checkpoint_uri: str, phase: str, identity: Callable[[Choice], Mapping[str, Any]]) -> None:
        self._uri = checkpoint_uri
        self._phase = phase
        self._identity = identity

    def finished_epochs(self, choice: Choice) -> int | None:
        """Return how many epochs the newest checkpoint of a choice has behind it; None when there is none.

        Raises:
            UserError: When the bucket does not exist or the folder may not be read.
            TransientError: When Cloud Storage does not answer.
        """
        if not self._uri:
            return None
        return Checkpoints(self._uri, self._phase, self._identity(choice)).finished_epochs()

    def left(self, precision: str, batch_sizes: Iterable[int], modes: Iterable[Mode]) -> bool:
        """Return whether there is a checkpoint of a precision, with one of the batch sizes and modes.

        Raises:
            UserError: As ``finished_epochs`` does.
            TransientError: Likewise.
        """
        choices = (Choice(precision, *rest) for rest in itertools.product(batch_sizes, modes))
        return any(self.finished_epochs(choice) is not None for choice in choices)

    def go_on(self, choice: Choice, every_seconds: float) -> Checkpoints | None:
        """Return the checkpoints of a choice, to go on from and to add to, see ``Checkpoints.opened``."""
        return Checkpoints.opened(self._uri, self._phase, self._identity(choice), every_seconds)
