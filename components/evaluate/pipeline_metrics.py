"""What of an evaluation goes into the pipeline's metadata: plain finite numbers, and few of them.

A step's inputs travel as one command-line argument of at most 128 KiB, the metadata of its input artifacts included,
and the cluster's launcher rejects NaN, Infinity and null.
"""

import json

from components.evaluate.scores import RocCurve
from components.formats.evaluation import Evaluation

MAXIMUM_ROC_POINTS = 200
MAXIMUM_MATRIX_BYTES = 24 * 1024
"""Of the confusion matrix as JSON; some 80 classes."""

_DIGITS = 6


def scalar_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Return the numbers for the metrics view; an undefined one is left out."""
    names = (
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "majority_baseline",
        "macro_precision",
        "macro_recall",
        "macro_f1",
        "macro_f1_low",
        "macro_f1_high",
        "auc_macro",
        "auc_micro",
        "log_loss",
        "test_images",
        "correct_images",
    )
    values = {name: getattr(evaluation, name) for name in names}
    values |= {name: getattr(evaluation.calibration, name) for name in ("temperature", "ece_before", "ece_after")}
    if (comparison := evaluation.comparison) is not None:
        values |= {
            "champion_accuracy": comparison.champion_accuracy,
            "champion_difference": comparison.accuracy_difference,
            "champion_mcnemar_p": comparison.mcnemar_p,
        }
    return {name: round(value, _DIGITS) for name, value in values.items() if value is not None}


def roc_points(curve: RocCurve) -> tuple[list[float], list[float], list[float]]:
    """Return false positive rates, true positive rates and thresholds."""

    def rounded(values: list[float]) -> list[float]:
        return [round(value, _DIGITS) for value in values]

    return rounded(curve.false_positive_rate), rounded(curve.true_positive_rate), rounded(curve.threshold)


def matrix_fits(evaluation: Evaluation) -> bool:
    """Return whether the confusion matrix is small enough for the metadata."""
    names = [{"displayName": name} for name in evaluation.class_names]
    rows = [{"row": row} for row in evaluation.confusion_matrix]
    return len(json.dumps([names, rows])) <= MAXIMUM_MATRIX_BYTES
