"""The learning rate of each step: a warm-up, then a cosine, or what ReduceLROnPlateau makes of it."""

import dataclasses
import math

COSINE = "cosine"
PLATEAU = "plateau"
SCHEDULES = (COSINE, PLATEAU)


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """What a rate is multiplied by as steps pass.

    A warm-up is linear, as in Goyal et al., "Accurate, Large Minibatch SGD" (2017): fresh optimizer moments are noise,
    which pretrained weights should not be moved by at full rate. The cosine is half a period, from 1 to 0, as in
    Loshchilov and Hutter, "SGDR" (2017).

    Attributes:
        schedule: ``cosine`` or ``plateau``, which keeps the rate between epochs for others to lower.
        warmup_steps: Steps until the full rate is reached.
        steps: Of the whole phase.
    """

    schedule: str
    warmup_steps: int
    steps: int

    @classmethod
    def planned(cls, schedule: str, warmup_epochs: float, epochs: int, steps_per_epoch: int) -> "LearningRates":
        """Return the rates of a phase with so many epochs, of which the first few, or a part of one, warm up."""
        return cls(schedule, round(warmup_epochs * steps_per_epoch), epochs * steps_per_epoch)

    def factor(self, step: int) -> float:
        """Return the factor of a step, counted from 0: above 0, at most 1."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.schedule == PLATEAU:
            return 1.0
        decaying = max(self.steps - self.warmup_steps, 1)
        return 0.5 * (1.0 + math.cos(math.pi * (step - self.warmup_steps) / decaying))
