"""From labels and probabilities to scores; an undefined score is None or missing, never NaN in JSON."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from components.formats.evaluation import PER_CLASS_COLUMNS

Labels = npt.NDArray[np.int64]
"""``[images]``, indices of the true classes."""
Points = npt.NDArray[np.float64]
Probabilities = npt.NDArray[np.float32]
"""``[images, classes]``, each row adds up to 1."""

# 97.5 % quantile of the standard normal distribution: two-sided 95 %.
_NORMAL_QUANTILE = 1.959963984540054

# Pairs of image and class that are sorted at once: 16 MB.
_PAIRS_AT_ONCE = 4_000_000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A two-sided 95 % interval."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class RocCurve:
    """A receiver operating characteristic from (0, 0) to (1, 1); all values finite, thresholds falling.

    Attributes:
        false_positive_rate: Rising, [0, 1].
        true_positive_rate: Rising, [0, 1].
        threshold: Probability from which on an image counts as positive, falling, [0, 1].
        auc: Area under the curve before it was thinned.
    """

    false_positive_rate: list[float]
    true_positive_rate: list[float]
    threshold: list[float]
    auc: float


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion.

    It keeps its coverage for few images and for proportions near 0 and 1, where the usual p +- 1.96 sqrt(p(1-p)/n)
    fails. E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference,
    J. Am. Stat. Assoc. 22(158), 209-212.

    Args:
        correct: Successes, 0 to ``total``.
        total: Trials, at least 1.
    """
    share, square = correct / total, _NORMAL_QUANTILE**2
    centre = (share + square / (2 * total)) / (1 + square / total)
    half = _NORMAL_QUANTILE / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def count_confusions(labels: Labels, probabilities: Probabilities) -> npt.NDArray[np.int64]:
    """Return images by true class (rows) and predicted class (columns), int64 ``[classes, classes]``."""
    classes = range(probabilities.shape[1])
    return confusion_matrix(labels, probabilities.argmax(axis=1), labels=list(classes)).astype(np.int64)


def score_classes(
    labels: Labels, probabilities: Probabilities, class_names: list[str], recall_intervals: Sequence[Interval | None]
) -> pd.DataFrame:
    """Return precision, recall, F1, AUC and counts per class, in label order.

    Args:
        labels: ``[images]``.
        probabilities: ``[images, classes]``.
        class_names: In label order.
        recall_intervals: Likewise, None for a class without test images.

    Returns:
        ``PER_CLASS_COLUMNS``; missing where a class has no test image (and AUC also where it has all of them).
    """
    predicted = probabilities.argmax(axis=1)
    classes = list(range(len(class_names)))
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    table = pd.DataFrame(
        {
            "class_name": class_names,
            "precision": precision,
            "recall": recall,
            "recall_low": [None if one is None else one.low for one in recall_intervals],
            "recall_high": [None if one is None else one.high for one in recall_intervals],
            "f1": f1,
            "auc": [class_auc(labels, probabilities, label) for label in classes],
            "test_images": support,
            "predicted_images": np.bincount(predicted, minlength=len(classes)),
        }
    ).astype(dict(PER_CLASS_COLUMNS))
    table.loc[table["test_images"] == 0, ["precision", "recall", "f1"]] = np.nan
    return table


def class_auc(labels: Labels, probabilities: Probabilities, label: int) -> float | None:
    """Return the area under the ROC of one class against the rest, None when either side has no image."""
    ranked = _ranked_class(labels, probabilities, label)
    return None if ranked is None else ranked.area


def class_roc(labels: Labels, probabilities: Probabilities, label: int, maximum_points: int) -> RocCurve | None:
    """Return the ROC of one class against the rest, None when either side has no image."""
    ranked = _ranked_class(labels, probabilities, label)
    return None if ranked is None else _curve(ranked, maximum_points)


def micro_roc(labels: Labels, probabilities: Probabilities, maximum_points: int) -> RocCurve | None:
    """Return the ROC over all pairs of image and class: is this image of this class?"""
    images, classes = probabilities.shape
    if classes < 2 or not images:
        return None
    rows = max(1, _PAIRS_AT_ONCE // classes)

    def wrong_pairs() -> Iterator[Probabilities]:
        for begin in range(0, images, rows):
            part = probabilities[begin : begin + rows]
            yield part[np.arange(classes) != labels[begin : begin + rows, None]]

    return _curve(_rank(probabilities[np.arange(images), labels], wrong_pairs()), maximum_points)


def macro_roc(curves: list[RocCurve]) -> RocCurve | None:
    """Return the mean of curves at equal false positive rates, None of no curve.

    It belongs to no single threshold, so its thresholds are empty. Its area is the mean of the areas.
    """
    if not curves:
        return None
    grid = np.linspace(0.0, 1.0, 101)
    mean = np.mean([np.interp(grid, curve.false_positive_rate, curve.true_positive_rate) for curve in curves], axis=0)
    return RocCurve(
        false_positive_rate=[0.0, *grid.tolist()],
        true_positive_rate=[0.0, *mean.tolist()],
        threshold=[],
        auc=float(np.mean([curve.auc for curve in curves])),
    )


def mean_log_loss(labels: Labels, probabilities: npt.NDArray[np.floating]) -> float:
    """Return the mean negative logarithm of the true class's probability, see ``log_loss``."""
    return log_loss(probabilities[np.arange(len(labels)), labels].astype(np.float64))


def log_loss(true_class: npt.NDArray[np.float64]) -> float:
    """Return the mean negative logarithm of true classes' probabilities; a probability of 0 counts as 1e-7."""
    return float(-np.log(np.maximum(true_class, 1e-7)).mean())


@dataclasses.dataclass(frozen=True)
class _Ranked:
    """How scores of positives lie among those of negatives.

    Attributes:
        values: Distinct scores of positives, rising.
        positives: How many positives have each.
        below: int64, how many negatives score less.
        up_to: int64, how many negatives score no more.
        negatives: How many there are, at least 1.
    """

    values: Probabilities
    positives: npt.NDArray[np.int64]
    below: npt.NDArray[np.int64]
    up_to: npt.NDArray[np.int64]
    negatives: int

    @property
    def area(self) -> float:
        """The chance that a positive scores more than a negative, an equal score being half a chance."""
        beaten = (self.positives * (self.below + self.up_to)).sum() / 2
        return float(beaten / (self.positives.sum() * self.negatives))


def _ranked_class(labels: Labels, probabilities: Probabilities, label: int) -> _Ranked | None:
    positive, scores = labels == label, probabilities[:, label]
    if positive.all() or not positive.any():
        return None
    return _rank(scores[positive], [scores[~positive]])


def _rank(positive_scores: Probabilities, negative_scores: Iterable[Probabilities]) -> _Ranked:
    """Count negatives part by part: of a thousand classes and many images there are more than fit into memory twice."""
    values, positives = np.unique(positive_scores, return_counts=True)
    below, up_to, negatives = np.zeros(len(values), np.int64), np.zeros(len(values), np.int64), 0
    for part in negative_scores:
        ordered = np.sort(part)
        below += np.searchsorted(ordered, values, "left")
        up_to += np.searchsorted(ordered, values, "right")
        negatives += len(ordered)
    return _Ranked(values, positives, below, up_to, negatives)


def _curve(ranked: _Ranked, maximum_points: int) -> RocCurve:
    """Return the corners of the curve: just above each distinct score of positives, and at it."""
    falling = ranked.values[::-1].astype(np.float64)
    above = np.nextafter(ranked.values[::-1], np.float32(2)).astype(np.float64)
    reached = np.cumsum(ranked.positives[::-1])
    total, negatives = int(reached[-1]), ranked.negatives

    def by_turns(first: float, just_above: npt.NDArray[Any], at: npt.NDArray[Any], last: float) -> Points:
        return np.concatenate([[first], np.stack([just_above, at], axis=1).ravel(), [last]])

    true_positives = by_turns(0, reached - ranked.positives[::-1], reached, total) / total
    passed = negatives - ranked.up_to[::-1], negatives - ranked.below[::-1]
    false_positives = by_turns(0, *passed, negatives) / negatives
    thresholds = by_turns(1.0, above, falling, 0.0).clip(0.0, 1.0)
    travelled = false_positives + true_positives
    # Where the curve does not move on there is no corner; of equal points the last has the lowest threshold.
    corners = np.flatnonzero(np.append(np.diff(travelled) > 0, True))
    keep = corners[_spread_points(travelled[corners], maximum_points)]
    keep[0] = 0
    return RocCurve(
        false_positive_rate=false_positives[keep].tolist(),
        true_positive_rate=true_positives[keep].tolist(),
        threshold=thresholds[keep].tolist(),
        auc=ranked.area,
    )


def _spread_points(travelled: npt.NDArray[np.float64], maximum_points: int) -> npt.NDArray[np.int64]:
    """Pick points evenly along a curve, its ends among them.

    Args:
        travelled: Rising position of each point along the curve.
        maximum_points: At least 2.
    """
    if len(travelled) <= maximum_points:
        return np.arange(len(travelled))
    wanted = np.linspace(travelled[0], travelled[-1], maximum_points)
    return np.unique(np.searchsorted(travelled, wanted).clip(0, len(travelled) - 1))
