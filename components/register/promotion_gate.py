"""The gate: what is asked of a model before it may be used, and whether it should replace the champion."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from components.failures import UserError
from components.formats.evaluation import Evaluation

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
    """How much more accurate a model is than a champion on the images that both were tested on.

    Attributes:
        champion: Version of the champion.
        images: How many images that are.
        test_images: How many images the model was tested on.
        difference: Of the accuracies, model minus champion, [-1, 1].
        low: Lower end of its 95 % interval, of paired images.
        high: Its upper end.
        p: Of the exact McNemar test, [0, 1]. On few images the interval alone is too narrow.
    """

    champion: str
    images: int
    test_images: int
    difference: float
    low: float
    high: float
    p: float

    @classmethod
    def of(cls, evaluation: Evaluation) -> "Difference | None":
        """Return what an evaluation saw of the champion that it compared with, None when it did not."""
        compared = evaluation.comparison
        return (
            None
            if compared is None
            else cls(
                champion=compared.champion,
                images=compared.images,
                test_images=evaluation.test_images,
                difference=compared.accuracy_difference,
                low=compared.accuracy_difference_low,
                high=compared.accuracy_difference_high,
                p=compared.mcnemar_p,
            )
        )

    @property
    def is_worse(self) -> bool:
        """Whether the model is worse than the champion, and not by chance."""
        return self.high < 0.0 and self.p < _CHANCE

    @property
    def where(self) -> str:
        """On which images, in words."""
        if self.images == self.test_images:
            return f"on the same {self.images:,} images"
        return f"on the {self.images:,} of its {self.test_images:,} test images that the champion was tested on too"


@dataclasses.dataclass(frozen=True)
class NotCompared:
    """Why nobody knows how a model does beside a champion.

    Attributes:
        champion: Version of the champion.
        reason: In words.
    """

    champion: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a model has to show.

    Attributes:
        accuracy: On the test split, [0, 1].
        accuracy_low: Lower end of its 95 % interval.
        accuracy_high: Its upper end.
        recalls: By class, [0, 1]; None for a class without test images.
        calibration_error: Expected calibration error of the probabilities that are served, [0, 1]; None when the
            evaluation does not say.
        beside: How it does beside a champion; None while there is none.
        broken_exports: What is wrong with exported files, a sentence each: they do not answer as the evaluated model.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    recalls: Mapping[str, float | None]
    calibration_error: float | None = None
    beside: Difference | NotCompared | None = None
    broken_exports: Sequence[str] = ()


def rejections(gate: Gate, scores: Scores, champion: str | None) -> list[str]:
    """Return why a model must not be used, a sentence each; an empty list lets it through.

    Args:
        gate: What is asked of it.
        scores: What it has to show.
        champion: Version of the champion, None without one.
    """
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
    beside = _beside(scores, champion)
    if isinstance(beside, Difference) and beside.is_worse:
        reasons.append(
            f"{beside.where} it is worse than champion {beside.champion} by {-beside.difference:.4f} "
            f"(95 % interval {-beside.high:.4f} to {-beside.low:.4f})"
        )
    return reasons


def stands_above(gate: Gate, scores: Scores, champion: str | None) -> tuple[bool, str]:
    """Return whether a model that passed should become the champion by itself, and why.

    A model that is worse than the champion within what chance explains stays a candidate: otherwise champions could
    get worse step by step. So does one that nobody could compare with it, until a person promotes it.
    """
    reached = f"test accuracy {scores.accuracy:.4f} reaches the required {gate.minimum_accuracy:.4f}"
    beside = _beside(scores, champion)
    if beside is None:
        return True, f"{reached}; there was no champion"
    if isinstance(beside, NotCompared):
        return False, f"{reached}, but stays a candidate, not compared with champion {champion}: {beside.reason}"
    if beside.difference < 0.0:
        return False, (
            f"{reached}, but stays a candidate: {beside.where} it is below champion {champion} by "
            f"{-beside.difference:.4f} (95 % interval of the difference {beside.low:.4f} to {beside.high:.4f}: "
            "chance may explain it)"
        )
    return True, f"{reached} and is not below champion {champion} {beside.where}"


def _beside(scores: Scores, champion: str | None) -> Difference | NotCompared | None:
    """Return how a model does beside the champion, None without one."""
    if champion is None:
        return None
    if scores.beside is None or scores.beside.champion != champion:
        return NotCompared(champion, "nobody tried")
    return scores.beside


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
