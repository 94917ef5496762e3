"""An evaluation: how a trained model does on the held-out test split.

The folder:

    evaluation/
      metrics.json           Evaluation, with the object ``calibration``; the confusion matrix without its zeros, as
                             images by true class by predicted class, for of a thousand classes it is nearly empty
      per_class.csv          PER_CLASS_COLUMNS, one row per class in label order
      predictions.parquet    PREDICTION_COLUMNS, then ``probability_<class>`` per class; one row per test image
      slices.csv             SLICE_COLUMNS, one row per slice of the test split
      confusion_matrix.png
      roc.png
      curves.png
      reliability.png
      *.svg                  each of the four, for a page that sets the colours --ink and --muted to take in
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from components.publishing import published_file, write_json

METRICS_FILE = "metrics.json"
PER_CLASS_FILE = "per_class.csv"
PREDICTIONS_FILE = "predictions.parquet"
SLICES_FILE = "slices.csv"
CONFUSION_MATRIX_FILE = "confusion_matrix.png"
ROC_FILE = "roc.png"
CURVES_FILE = "curves.png"
RELIABILITY_FILE = "reliability.png"

_CONFUSIONS = "confusion_matrix"


def svg_of(chart: str) -> str:
    """Return the file name of a chart as SVG, of its name as PNG."""
    return chart.removesuffix(".png") + ".svg"


PER_CLASS_COLUMNS: Mapping[str, str] = {
    "class_name": "str",
    "precision": "float64",  # [0, 1]; 0 when the class was never predicted, missing when it has no test image
    "recall": "float64",  # [0, 1]; missing when the class has no test image
    "recall_low": "float64",  # lower end of its 95 % interval, see ``components.evaluate.intervals``; likewise
    "recall_high": "float64",  # its upper end
    "f1": "float64",  # likewise
    "auc": "float64",  # one against the rest; missing when either side has no test image
    "test_images": "int64",  # of this class: the support
    "predicted_images": "int64",  # that the model gave this class
}

PREDICTION_COLUMNS: Mapping[str, str] = {
    "path": "str",  # the image's name: its path inside the source
    "md5": "str",  # of its original bytes; evaluations of earlier versions lack it
    "true_class": "str",
    "predicted_class": "str",
    "probability": "float32",  # of the predicted class
}


SLICE_COLUMNS: Mapping[str, str] = {
    "measure": "str",  # what the test split was sliced by: brightness, sharpness, colour, ...
    "slice": "str",  # which values, in words
    "images": "int64",
    "correct": "int64",
    "accuracy": "float64",  # [0, 1]; missing, as is its interval, for a slice of too few images to say
    "low": "float64",  # lower end of its 95 % interval (Wilson)
    "high": "float64",  # its upper end
}

LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""A probability below this counts as this where ``with_temperature``, and whatever repeats it, takes its logarithm."""


@dataclasses.dataclass(frozen=True)
class CalibrationBin:
    """Test images whose most probable class has a probability in ``(lower, upper]``; None where there are none.

    Attributes:
        lower: Lower end of the bin, outside it.
        upper: Upper end of the bin, inside it.
        images_before: How many images are in it before temperature scaling.
        confidence_before: Their mean probability.
        accuracy_before: The share of them that is right.
        images_after: How many are in it after temperature scaling.
        confidence_after: Their mean probability.
        accuracy_after: The share of them that is right.
    """

    lower: float
    upper: float
    images_before: int
    confidence_before: float | None
    accuracy_before: float | None
    images_after: int
    confidence_after: float | None
    accuracy_after: float | None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How far the model's probabilities are to be believed, before and after ``with_temperature``.

    Attributes:
        temperature: Fitted on the validation split, above 0; 1.0, which changes nothing, when it was not fitted.
        fitted: Whether it was fitted.
        reason: Why not, in words; empty when it was.
        validation_images: How many images it was fitted on, or would have been.
        ece_before: Expected calibration error of the test split as the model is, [0, 1].
        ece_after: Likewise with the temperature.
        log_loss_before: Mean negative logarithm of the true class's probability on the test split.
        log_loss_after: Likewise with the temperature.
        bins: Of equal width, from 0 to 1.
    """

    temperature: float = 1.0
    fitted: bool = False
    reason: str = ""
    validation_images: int = 0
    ece_before: float | None = None
    ece_after: float | None = None
    log_loss_before: float | None = None
    log_loss_after: float | None = None
    bins: list[CalibrationBin] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A model beside the champion of its registry, on the same images. Differences are model minus champion.

    Attributes:
        champion: Version of the champion.
        champion_accuracy: Its accuracy on these images.
        images: How many test images both were tested on: all of the test split, or fewer.
        both_right: Images that both get right.
        only_model_right: Images that the model alone gets right.
        only_champion_right: Images that the champion alone gets right.
        both_wrong: Images that both get wrong.
        accuracy_difference: Of the accuracies, [-1, 1].
        accuracy_difference_low: Lower end of its 95 % interval, by paired bootstrap.
        accuracy_difference_high: Its upper end.
        macro_f1_difference: Of the macro F1, [-1, 1].
        macro_f1_difference_low: Lower end of its 95 % interval, by paired bootstrap.
        macro_f1_difference_high: Its upper end.
        mcnemar_p: Two-sided p-value of the exact McNemar test, [0, 1]: how often chance alone would part two equally
            good models at least so far.
    """

    champion: str
    champion_accuracy: float
    images: int
    both_right: int
    only_model_right: int
    only_champion_right: int
    both_wrong: int
    accuracy_difference: float
    accuracy_difference_low: float
    accuracy_difference_high: float
    macro_f1_difference: float
    macro_f1_difference_low: float
    macro_f1_difference_high: float
    mcnemar_p: float


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
        accuracy_bootstrap_low: Lower end of the 95 % bootstrap interval for the accuracy; None, as are the next three,
            where all images are right or all wrong: resampling such answers tells nothing.
        accuracy_bootstrap_high: Its upper end.
        macro_f1_low: Lower end of the 95 % bootstrap interval for the macro F1.
        macro_f1_high: Its upper end.
        calibration: How far its probabilities are to be believed. All other numbers are of the model as it is.
        comparison: Beside the champion; None without one that was tested on enough of the same images.
        test_digest: ``digest_of_tested`` of the test images.

    What follows the confusion matrix has defaults, because bundles of earlier versions lack it.
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
    accuracy_bootstrap_low: float | None = None
    accuracy_bootstrap_high: float | None = None
    macro_f1_low: float | None = None
    macro_f1_high: float | None = None
    calibration: Calibration = Calibration()
    comparison: Comparison | None = None
    test_digest: str = ""


def with_temperature(probabilities: npt.NDArray[np.floating], temperature: float) -> npt.NDArray[np.float64]:
    """Return probabilities made less sure (temperature above 1) or surer (below 1); the most probable class stays.

    They are softmax(log p / T): the softmax's own input is log p but for a constant that the softmax cancels, so this
    is the temperature scaling of Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        probabilities: ``[images, classes]``.
        temperature: T, above 0; 1 changes nothing.

    Returns:
        ``[images, classes]``, each row adds up to 1.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), LEAST_PROBABILITY)) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


def write_evaluation(evaluation: Evaluation, directory: Path) -> None:
    """Write ``metrics.json``.

    Raises:
        ValueError: When a value is not finite; an undefined one is None.
    """
    value = dataclasses.asdict(dataclasses.replace(evaluation, confusion_matrix=[]))
    value[_CONFUSIONS] = _without_zeros(evaluation.confusion_matrix, evaluation.class_names)
    write_json(directory / METRICS_FILE, value)


def read_evaluation(directory: Path) -> Evaluation:
    """Read ``metrics.json``.

    Raises:
        FileNotFoundError: When the folder holds no evaluation.
    """
    value = json.loads((directory / METRICS_FILE).read_text(encoding="utf-8"))
    # Evaluations of earlier versions list every cell.
    if isinstance(value[_CONFUSIONS], dict):
        value[_CONFUSIONS] = _with_zeros(value[_CONFUSIONS], value["class_names"])
    if "calibration" in value:
        bins = [CalibrationBin(**one) for one in value["calibration"].pop("bins")]
        value["calibration"] = Calibration(**value["calibration"], bins=bins)
    if value.get("comparison") is not None:
        value["comparison"] = Comparison(**value["comparison"])
    return Evaluation(**value)


def _without_zeros(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return images by true class and predicted class, where there are any."""
    return {
        true: {predicted: images for predicted, images in zip(names, row, strict=True) if images}
        for true, row in zip(names, matrix, strict=True)
    }


def _with_zeros(confusions: Mapping[str, Mapping[str, int]], names: Sequence[str]) -> list[list[int]]:
    """Return the matrix, rows and columns in label order, see ``_without_zeros``."""
    return [[confusions[true].get(predicted, 0) for predicted in names] for true in names]


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


def write_slices(slices: pd.DataFrame, directory: Path) -> None:
    """Write ``slices.csv``; what too few images cannot tell is an empty field."""
    with published_file(directory / SLICES_FILE) as path:
        slices[list(SLICE_COLUMNS)].to_csv(path, index=False, float_format="%.6f", lineterminator="\n")


def read_slices(directory: Path) -> pd.DataFrame | None:
    """Read ``slices.csv``, ``SLICE_COLUMNS``; None where there is none, as in evaluations of earlier versions."""
    if not (directory / SLICES_FILE).is_file():
        return None
    table = pd.read_csv(directory / SLICES_FILE, dtype=str, keep_default_na=False)
    numbers = table.columns.difference(["measure", "slice"])
    table[numbers] = table[numbers].replace("", "nan")
    return table.astype(dict(SLICE_COLUMNS))


def digest_of_tested(predictions: pd.DataFrame) -> str:
    """Return SHA-256 over path, class and digest of the bytes of every test image, by path: what was tested on.

    It is the same wherever the same images are tested on, whatever was trained on.

    Args:
        predictions: ``path``, ``true_class`` and ``md5``.
    """
    digest = hashlib.sha256()
    for row in predictions.sort_values("path")[["path", "true_class", "md5"]].itertuples(index=False):
        digest.update("\0".join(row).encode() + b"\n")
    return digest.hexdigest()


def write_predictions(
    paths: list[str],
    digests: list[str],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    class_names: list[str],
    directory: Path,
) -> pd.DataFrame:
    """Write ``predictions.parquet`` and return it.

    Args:
        paths: Of the images.
        digests: MD5 of their original bytes, hexadecimal.
        labels: ``[images]``, indices into ``class_names``.
        probabilities: ``[images, classes]``.
        class_names: In label order.
        directory: The evaluation's folder.
    """
    names = np.asarray(class_names, dtype=object)
    columns = {
        "path": paths,
        "md5": digests,
        "true_class": names[labels],
        "predicted_class": names[probabilities.argmax(axis=1)],
        "probability": probabilities.max(axis=1),
    }
    by_class = pd.DataFrame(probabilities, columns=[f"probability_{name}" for name in class_names])
    predictions = pd.concat([pd.DataFrame(columns).astype(dict(PREDICTION_COLUMNS)), by_class], axis=1)
    with published_file(directory / PREDICTIONS_FILE) as path:
        # Probabilities hardly repeat: a dictionary of them takes half as much again as themselves.
        predictions.to_parquet(path, index=False, use_dictionary=list(PREDICTION_COLUMNS))
    return predictions


def read_predictions(directory: Path) -> pd.DataFrame:
    """Read ``predictions.parquet``."""
    return pd.read_parquet(directory / PREDICTIONS_FILE)


def read_answers(file: Path | io.BytesIO) -> pd.DataFrame:
    """Read ``predictions.parquet`` without the probabilities of all classes, which are a thousand times as much.

    Returns:
        ``PREDICTION_COLUMNS``, without those that earlier versions did not write.
    """
    known = pq.read_schema(file).names
    return pd.read_parquet(file, columns=[name for name in PREDICTION_COLUMNS if name in known])


def predictions_to_keep(directory: Path, most_bytes: int) -> bytes | Path:
    """Return ``predictions.parquet``; of more than ``most_bytes``, its content with ``PREDICTION_COLUMNS`` alone.

    The probabilities of all classes, of which these are without, outgrow the model where images and classes are many.
    """
    path = directory / PREDICTIONS_FILE
    if path.stat().st_size <= most_bytes:
        return path
    return pd.read_parquet(path, columns=list(PREDICTION_COLUMNS)).to_parquet(index=False)
