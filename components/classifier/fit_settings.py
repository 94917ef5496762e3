"""How a phase is fitted, and what settings make sense. Without TensorFlow: a launcher checks them before a run."""

import dataclasses

from components.failures import UserError

CLASS_WEIGHTS = ("none", "balanced")


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How a phase is fitted.

    Attributes:
        epochs: At most this many, at least 1.
        batch_size: Images in one step over all devices together, at least 1.
        learning_rate: Of Adam, above 0 and at most 1.
        class_weights: ``none``, or ``balanced``: each class counts the same however many images it has.
        early_stopping_patience: Epochs without a better validation loss after which training stops; 0 never stops.
        plateau_patience: Likewise, after which the learning rate falls to a fifth; 0 never lowers it.
        seed: Of everything random, 0 to 2**31 - 1.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    class_weights: str
    early_stopping_patience: int
    plateau_patience: int
    seed: int


def check_fit_settings(settings: FitSettings) -> None:
    """Check ranges.

    Raises:
        UserError: Naming the parameter, its value and its range.
    """
    check_at_least("epochs", settings.epochs, 1)
    check_at_least("batch_size", settings.batch_size, 1)
    check_at_least("early_stopping_patience", settings.early_stopping_patience, 0)
    check_at_least("plateau_patience", settings.plateau_patience, 0)
    if not 0.0 < settings.learning_rate <= 1.0:
        raise UserError(f"learning_rate is {settings.learning_rate}: set it above 0 and at most 1")
    if settings.class_weights not in CLASS_WEIGHTS:
        raise UserError(f"class_weights is '{settings.class_weights}': choose one of {', '.join(CLASS_WEIGHTS)}")
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


def check_share(name: str, value: float, *, below_one: bool) -> None:
    """Check a number that must be in [0, 1], or in [0, 1) when ``below_one``.

    Raises:
        UserError: When it is not.
    """
    if not 0.0 <= value <= 1.0 or (below_one and value == 1.0):
        raise UserError(f"{name} is {value}: set it between 0 and {'less than 1' if below_one else '1'}")
