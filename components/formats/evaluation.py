"""An evaluation: how a trained model does on the held-out test split.

The folder:

    evaluation/
      metrics.json           Evaluation
      per_class.csv          PER_CLASS_COLUMNS, one row per class in label order
      predictions.parquet    PREDICTION_COLUMNS, then ``probability_<class>`` per class; one row per test image
      confusion_matrix.png
      roc.png
      curves.png
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.publishing import published_file, write_json

METRICS_FILE = "metrics.json"
PER_CLASS_FILE = "per_class.csv"
PREDICTIONS_FILE = "predictions.parquet"
CONFUSION_MATRIX_FILE = "confusion_matrix.png"
ROC_FILE = "roc.png"
CURVES_FILE = "curves.png"

PER_CLASS_COLUMNS: Mapping[str, str] = {
    "class_name": "str",
    "precision": "float64",  # [0, 1]; 0 when the class was never predicted, missing when it has no test image
    "recall": "float64",  # [0, 1]; missing when the class has no test image
    "f1": "float64",  # likewise
    "auc": "float64",  # one against the rest; missing when either side has no test image
    "test_images": "int64",  # of this class: the support
    "predicted_images": "int64",  # that the model gave this class
}

PREDICTION_COLUMNS: Mapping[str, str] = {
    "path": "str",  # the image's name: its path inside the source
    "true_class": "str",
    "predicted_class": "str",
    "probability": "float32",  # of the predicted class
}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What ``metrics.json`` says. Values are in [0, 1] unless stated; None where a value is undefined.

    Attributes:
        class_names: In label order.
        dataset_digest: Of the splits, whose test split was used.
        model_sha256: Of the file ``model.keras`` that was evaluated.
        test_images: How many images were evaluated: every image of the test split, once.
        correct_images: How many of them the model got right.
        accuracy: ``correct_images / test_images``.
        accuracy_low: Lower end of the 95 % interval for the accuracy (Wilson).
        accuracy_high: Its upper end.
        majority_class: The most frequent class of the test split, the first in label order among equals.
        majority_baseline: Accuracy of always answering ``majority_class``: no constant answer does better.
        macro_precision: Mean over the classes that have test images.
        macro_recall: Likewise.
        macro_f1: Likewise.
        auc_macro: Mean of the one-against-the-rest AUC of the classes where it is defined.
        auc_micro: AUC over all pairs of image and class.
        log_loss: Mean negative logarithm of the probability given to the true class, at least 0.
        confusion_matrix: Images by true class (rows) and predicted class (columns).
    """

    class_names: list[str]
    dataset_digest: str
    model_sha256: str
    test_images: int
    correct_images: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    majority_class: str
    majority_baseline: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    auc_macro: float | None
    auc_micro: float | None
    log_loss: float
    confusion_matrix: list[list[int]]


def write_evaluation(evaluation: Evaluation, directory: Path) -> None:
    """Write ``metrics.json``.

    Raises:
        ValueError: When a value is not finite; an undefined one is None.
    """
    write_json(directory / METRICS_FILE, dataclasses.asdict(evaluation))


def read_evaluation(directory: Path) -> Evaluation:
    """Read ``metrics.json``.

    Raises:
        FileNotFoundError: When the folder holds no evaluation.
    """
    return Evaluation(**json.loads((directory / METRICS_FILE).read_text(encoding="utf-8")))


def write_per_class(per_class: pd.DataFrame, directory: Path) -> None:
    """Write ``per_class.csv``; an undefined value is an empty field."""
    with published_file(directory / PER_CLASS_FILE) as path:
        per_class[list(PER_CLASS_COLUMNS)].to_csv(path, index=False, float_format="%.6f", lineterminator="\n")


def read_per_class(directory: Path) -> pd.DataFrame:
    """Read ``per_class.csv``; a class may be called ``NA`` or ``007``, so names are never interpreted."""
    table = pd.read_csv(directory / PER_CLASS_FILE, dtype=str, keep_default_na=False)
    numbers = table.columns.difference(["class_name"])
    table[numbers] = table[numbers].replace("", "nan")
    return table.astype(dict(PER_CLASS_COLUMNS))


def write_predictions(
    paths: list[str],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    class_names: list[str],
    directory: Path,
) -> pd.DataFrame:
    """Write ``predictions.parquet`` and return it.

    Args:
        paths: Of the images.
        labels: ``[images]``, indices into ``class_names``.
        probabilities: ``[images, classes]``.
        class_names: In label order.
        directory: The evaluation's folder.
    """
    names = np.asarray(class_names, dtype=object)
    columns = {
        "path": paths,
        "true_class": names[labels],
        "predicted_class": names[probabilities.argmax(axis=1)],
        "probability": probabilities.max(axis=1),
    }
    by_class = pd.DataFrame(probabilities, columns=[f"probability_{name}" for name in class_names])
    predictions = pd.concat([pd.DataFrame(columns).astype(dict(PREDICTION_COLUMNS)), by_class], axis=1)
    with published_file(directory / PREDICTIONS_FILE) as path:
        predictions.to_parquet(path, index=False)
    return predictions


def read_predictions(directory: Path) -> pd.DataFrame:
    """Read ``predictions.parquet``."""
    return pd.read_parquet(directory / PREDICTIONS_FILE)
