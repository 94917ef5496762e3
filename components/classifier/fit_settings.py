"""How a phase is fitted, and what settings make sense. Without TensorFlow: a launcher checks them before a run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from components.classifier.learning_rates import PLATEAU, SCHEDULES
from components.failures import UserError

CLASS_WEIGHTS = ("none", "balanced")
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
AUTO = "auto"
PRECISIONS = (AUTO, "float32", "mixed_bfloat16", "mixed_float16")

# More is a slip of the pen: what it would take is planned, counted or waited for until somebody gives up.
MOST_EPOCHS = 100_000
MOST_IN_BATCH = 1 << 16
_MOST_AHEAD = 1000


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How a phase is fitted.

    Attributes:
        epochs: At most this many, 1 to ``MOST_EPOCHS``.
        batch_size: Images in one step over all devices together, 1 to ``MOST_IN_BATCH``; where a phase can find it, 0
            for that.
        learning_rate: Highest of the schedule, above 0 and at most 1.
        schedule: ``cosine``, or ``plateau``, which lowers the rate when progress stalls.
        warmup_epochs: While the rate rises to its highest, 0 to below ``epochs``; half an epoch is fine.
        optimizer: One of ``OPTIMIZERS``.
        label_smoothing: Share of each label that is spread evenly over all classes, [0, 1).
        class_weights: ``none``, or ``balanced``: each class counts the same however many images it has.
        early_stopping_patience: Epochs without a better validation loss after which training stops; 0 never stops.
        plateau_patience: Likewise, after which schedule ``plateau`` lowers the rate to a fifth; 0 never lowers it.
        precision: ``auto`` for what the devices are fastest with, or one of ``PRECISIONS``.
        xla: Whether to compile training steps with XLA.
        gpu_memory_growth: Whether GPU memory is taken as it is needed, not all of it at once.
        gpu_prefetch_batches: Batches that wait in a GPU's memory beside the next one, at most 1,000; 0 copies each when
            it is needed.
        seed: Of everything random, 0 to 2**31 - 1.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str
    warmup_epochs: float
    optimizer: str
    label_smoothing: float
    class_weights: str
    early_stopping_patience: int
    plateau_patience: int
    precision: str
    xla: bool
    gpu_memory_growth: bool
    gpu_prefetch_batches: int
    seed: int

    def as_record(self) -> dict[str, Any]:
        """Return every parameter that decided the result by name.

        How a GPU's memory is used does not, and ``plateau_patience`` is of schedule ``plateau`` alone.
        """
        values = dataclasses.asdict(self)
        del values["gpu_memory_growth"], values["gpu_prefetch_batches"]
        if self.schedule != PLATEAU:
            del values["plateau_patience"]
        return values


def check_fit_settings(settings: FitSettings, *, batch_size_found: bool = False) -> None:
    """Check ranges.

    Args:
        settings: What to check.
        batch_size_found: Whether the phase can find a batch size.

    Raises:
        UserError: Naming the parameter, its value and its range.
    """
    check_between("epochs", settings.epochs, 1, MOST_EPOCHS)
    check_between("batch_size", settings.batch_size, 0 if batch_size_found else 1, MOST_IN_BATCH)
    check_at_least("early_stopping_patience", settings.early_stopping_patience, 0)
    check_at_least("plateau_patience", settings.plateau_patience, 0)
    if not 0.0 < settings.learning_rate <= 1.0:
        raise UserError(f"learning_rate is {settings.learning_rate}: set it above 0 and at most 1")
    check_choice("schedule", settings.schedule, SCHEDULES)
    if not 0.0 <= settings.warmup_epochs < settings.epochs:
        raise UserError(
            f"warmup_epochs is {settings.warmup_epochs}: set it to at least 0 and less than the "
            f"number of epochs, {settings.epochs}"
        )
    check_choice("optimizer", settings.optimizer, OPTIMIZERS)
    check_share("label_smoothing", settings.label_smoothing, below_one=True)
    check_choice("class_weights", settings.class_weights, CLASS_WEIGHTS)
    check_choice("precision", settings.precision, PRECISIONS)
    check_between("gpu_prefetch_batches", settings.gpu_prefetch_batches, 0, _MOST_AHEAD)
    if not 0 <= settings.seed < 2**31:
        raise UserError(f"seed is {settings.seed}: set it between 0 and {2**31 - 1}")


def check_batch_is_shared(batch_size: int, devices: int) -> None:
    """Check that a batch holds at least one image for each device.

    Raises:
        UserError: When it holds less.
    """
    if batch_size < devices:
        raise UserError(f"batch_size is {batch_size} and is shared among {devices} GPUs: set it to at least {devices}")


def check_at_least(name: str, value: int, minimum: int) -> None:
    """Check a count.

    Raises:
        UserError: When it is below ``minimum``.
    """
    if value < minimum:
        raise UserError(f"{name} is {value}: set it to at least {minimum}")


def check_between(name: str, value: int, minimum: int, maximum: int) -> None:
    """Check a count.

    Raises:
        UserError: When it is below ``minimum`` or above ``maximum``.
    """
    if not minimum <= value <= maximum:
        raise UserError(f"{name} is {value}: set it between {minimum} and {maximum}")


def check_checkpoint_seconds(seconds: float) -> None:
    """Check how often checkpoints are wanted within an epoch.

    Raises:
        UserError: When it is below 0 or no number.
    """
    if not 0.0 <= seconds < float("inf"):
        raise UserError(f"checkpoint_seconds is {seconds}: set it to 0, for each epoch alone, or more")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Check a word.

    Raises:
        UserError: When it is not one of ``choices``.
    """
    if value not in choices:
        raise UserError(f"{name} is '{value}': choose one of {', '.join(choices)}")


def check_share(name: str, value: float, *, below_one: bool) -> None:
    """Check a number that must be in [0, 1], or in [0, 1) when ``below_one``.

    Raises:
        UserError: When it is not.
    """
    if not 0.0 <= value <= 1.0 or (below_one and value == 1.0):
        raise UserError(f"{name} is {value}: set it between 0 and {'less than 1' if below_one else '1'}")
