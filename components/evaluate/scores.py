"""From labels and probabilities to scores; an undefined score is None or missing, never NaN in JSON."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score, roc_curve

from components.formats.evaluation import PER_CLASS_COLUMNS

Labels = npt.NDArray[np.int64]
"""``[images]``, indices of the true classes."""
Probabilities = npt.NDArray[np.float32]
"""``[images, classes]``, each row adds up to 1."""

# 97.5 % quantile of the standard normal distribution: two-sided 95 %.
_NORMAL_QUANTILE = 1.959963984540054


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
    positive = labels == label
    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, probabilities[:, label]))


def class_roc(labels: Labels, probabilities: Probabilities, label: int, maximum_points: int) -> RocCurve | None:
    """Return the ROC of one class against the rest, None when either side has no image."""
    return _roc(labels == label, probabilities[:, label], maximum_points)


def micro_roc(labels: Labels, probabilities: Probabilities, maximum_points: int) -> RocCurve | None:
    """Return the ROC over all pairs of image and class: is this image of this class?"""
    classes = np.arange(probabilities.shape[1])
    return _roc((labels[:, None] == classes).ravel(), probabilities.ravel(), maximum_points)


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
    """Return the mean negative logarithm of the true class's probability; a probability of 0 counts as 1e-7."""
    true_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(true_class, 1e-7)).mean())


def _roc(positive: npt.NDArray[np.bool_], scores: Probabilities, maximum_points: int) -> RocCurve | None:
    if positive.all() or not positive.any():
        return None
    false_positives, true_positives, thresholds = roc_curve(positive, scores)
    keep = _spread_points(false_positives + true_positives, maximum_points)
    return RocCurve(
        false_positive_rate=false_positives[keep].tolist(),
        true_positive_rate=true_positives[keep].tolist(),
        # scikit-learn's first threshold is infinite, "above every score", which JSON cannot say.
        threshold=np.clip(thresholds[keep].astype(np.float64), 0.0, 1.0).tolist(),
        auc=float(roc_auc_score(positive, scores)),
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
