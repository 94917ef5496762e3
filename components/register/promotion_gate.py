"""The gate: what is asked of a model before it may be used, and whether it should replace the champion."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from components.failures import UserError
from components.formats.evaluation import Comparison

EVERY_CLASS = "*"
"""In ``class_recall_floors``: every class that is not named itself."""

_MOST_NAMES = 20
_CHANCE = 0.05  # what is at least as probable by chance alone proves nothing


@dataclasses.dataclass(frozen=True)
class Gate:
    """What is asked of a model.

    Attributes:
        minimum_accuracy: The least test accuracy, [0, 1].
        class_recall_floors: The least recall, [0, 1], by class name, ``*`` standing for every class not named.
        maximum_calibration_error: The greatest expected calibration error, [0, 1]; 1 asks for nothing.
    """

    minimum_accuracy: float
    class_recall_floors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    maximum_calibration_error: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no model could be held to.

        Raises:
            UserError: When a number is not in [0, 1].
        """
        check_share("minimum_accuracy", self.minimum_accuracy)
        check_share("maximum_calibration_error", self.maximum_calibration_error)
        if not isinstance(self.class_recall_floors, Mapping):
            raise UserError('class_recall_floors is no object: write {"*": 0.5, "bird": 0.8} for example')
        for name, floor in self.class_recall_floors.items():
            check_share(f"class_recall_floors[{name!r}]", floor)


def check_share(name: str, value: object) -> None:
    """Raise ``UserError`` unless a parameter's value is a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise UserError(f"{name} is {value}: give a number from 0 to 1")


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much more accurate a model is than a champion on the very same images.

    Attributes:
        champion: Version of the champion.
        difference: Of the accuracies, model minus champion, [-1, 1].
        low: Lower end of its 95 % interval, of paired images.
        high: Its upper end.
        p: Of the exact McNemar test, [0, 1]; None where nobody made it. On few images the interval alone is too narrow.
    """

    champion: str
    difference: float
    low: float
    high: float
    p: float | None = None

    @classmethod
    def of(cls, comparison: Comparison) -> "Difference":
        """Return what an evaluation saw of the champion that it compared with."""
        return cls(
            champion=comparison.champion,
            difference=comparison.accuracy_difference,
            low=comparison.accuracy_difference_low,
            high=comparison.accuracy_difference_high,
            p=comparison.mcnemar_p,
        )

    @property
    def is_worse(self) -> bool:
        """Whether the model is worse than the champion, and not by chance."""
        return self.high < 0.0 and (self.p is None or self.p < _CHANCE)


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a model has to show.

    Attributes:
        accuracy: On the test split, [0, 1].
        accuracy_low: Lower end of its 95 % interval.
        accuracy_high: Its upper end.
        dataset_digest: Of the splits it was tested on.
        recalls: By class, [0, 1]; None for a class without test images.
        calibration_error: Expected calibration error of the probabilities that are served, [0, 1]; None when the
            evaluation does not say.
        difference: From a champion whose model was tried on the same images; None without.
        broken_exports: What is wrong with exported files, a sentence each: they do not answer as the evaluated model.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    dataset_digest: str
    recalls: Mapping[str, float | None]
    calibration_error: float | None = None
    difference: Difference | None = None
    broken_exports: Sequence[str] = ()


class Champion(Protocol):
    """What the gate needs to know of the champion."""

    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def accuracy(self) -> float: ...  # noqa: D102
    @property
    def accuracy_low(self) -> float | None: ...  # noqa: D102
    @property
    def accuracy_high(self) -> float | None: ...  # noqa: D102
    @property
    def dataset_digest(self) -> str: ...  # noqa: D102


def rejections(gate: Gate, scores: Scores, champion: Champion | None) -> list[str]:
    """Return why a model must not be used, a sentence each; an empty list lets it through."""
    reasons = list(scores.broken_exports)
    if scores.accuracy < gate.minimum_accuracy:
        reasons.append(f"test accuracy {scores.accuracy:.4f} is below the required {gate.minimum_accuracy:.4f}")
    reasons += _weak_classes(gate.class_recall_floors, scores.recalls)
    if gate.maximum_calibration_error < 1.0:
        if scores.calibration_error is None:
            reasons.append("the evaluation does not tell the calibration error that maximum_calibration_error limits")
        elif scores.calibration_error > gate.maximum_calibration_error:
            reasons.append(
                f"calibration error {scores.calibration_error:.4f} is above the allowed "
                f"{gate.maximum_calibration_error:.4f}"
            )
    compared = _compared(scores, champion)
    if compared is not None and compared.is_worse:
        reasons.append(
            f"on the same images it is worse than champion {compared.champion} by {-compared.difference:.4f} "
            f"(95 % interval {-compared.high:.4f} to {-compared.low:.4f})"
        )
    return reasons


def stands_above(gate: Gate, scores: Scores, champion: Champion | None) -> tuple[bool, str]:
    """Return whether a model that passed should become the champion by itself, and why.

    Accuracies are compared only on the same dataset, so on the same test images. A model that is worse than the
    champion within what chance explains stays a candidate: otherwise champions could get worse step by step.
    """
    reached = f"test accuracy {scores.accuracy:.4f} reaches the required {gate.minimum_accuracy:.4f}"
    if champion is None:
        return True, f"{reached}; there was no champion"
    compared = _compared(scores, champion)
    if compared is None:
        return True, f"{reached}; champion {champion.version} was tested on other images, so they are not compared"
    if compared.difference < 0.0:
        return False, (
            f"{reached}, but stays a candidate: on the same images it is below champion {champion.version} by "
            f"{-compared.difference:.4f} (95 % interval of the difference {compared.low:.4f} to {compared.high:.4f}: "
            "chance may explain it)"
        )
    return True, f"{reached} and is not below champion {champion.version} on the same images"


def _compared(scores: Scores, champion: Champion | None) -> Difference | None:
    """Return how a model does beside the champion on the same images, None when nobody knows."""
    if champion is None:
        return None
    if scores.difference is not None and scores.difference.champion == champion.version:
        return scores.difference
    return accuracy_difference(scores, champion) if champion.dataset_digest == scores.dataset_digest else None


def accuracy_difference(scores: Scores, champion: Champion) -> Difference:
    """Return how much more accurate a model is than the champion, and the 95 % interval of that.

    Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10, from the Wilson
    interval of each. Both were tested on the same images, which are mostly hard or easy for both: the true interval is
    narrower, so a model is rejected late rather than wrongly.
    """
    low = champion.accuracy if champion.accuracy_low is None else champion.accuracy_low
    high = champion.accuracy if champion.accuracy_high is None else champion.accuracy_high
    difference = scores.accuracy - champion.accuracy
    below = math.hypot(scores.accuracy - scores.accuracy_low, high - champion.accuracy)
    above = math.hypot(scores.accuracy_high - scores.accuracy, champion.accuracy - low)
    return Difference(champion.version, difference, difference - below, difference + above)


def classes_with_floors(floors: Mapping[str, float]) -> list[str]:
    """Return the classes that floors name, sorted."""
    return sorted(set(floors) - {EVERY_CLASS})


def check_floors(floors: Mapping[str, float], class_names: Collection[str], where: str) -> None:
    """Check that floors are for classes that there are.

    Args:
        floors: By class name, or ``*``.
        class_names: Those that there are.
        where: In what, for the message.

    Raises:
        UserError: When one is not.
    """
    unknown = [name for name in classes_with_floors(floors) if name not in class_names]
    if unknown:
        names = sorted(class_names)
        more = ", ..." if len(names) > _MOST_NAMES else ""
        raise UserError(
            f"class_recall_floors names {unknown[0]!r}, which is no class of {where}: choose among "
            f"{', '.join(names[:_MOST_NAMES])}{more}"
        )


def _weak_classes(floors: Mapping[str, float], recalls: Mapping[str, float | None]) -> list[str]:
    reasons = []
    for name, recall in recalls.items():
        floor = floors.get(name, floors.get(EVERY_CLASS, 0.0))
        if floor > 0.0 and recall is None:
            reasons.append(f"class {name} has no test image to show the required recall of {floor:.4f}")
        elif recall is not None and recall < floor:
            reasons.append(f"class {name} has a recall of {recall:.4f}, below the required {floor:.4f}")
    return reasons
