"""What is written is read back, whatever a class is called."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.formats.evaluation import (
    METRICS_FILE,
    PER_CLASS_COLUMNS,
    PREDICTION_COLUMNS,
    PREDICTIONS_FILE,
    SLICE_COLUMNS,
    SLICES_FILE,
    Calibration,
    CalibrationBin,
    Comparison,
    Evaluation,
    digest_of_tested,
    predictions_to_keep,
    read_evaluation,
    read_per_class,
    read_predictions,
    read_slices,
    write_evaluation,
    write_per_class,
    write_predictions,
    write_slices,
)

EVALUATION = Evaluation(
    class_names=["NA", "007"],
    dataset_digest="d" * 64,
    model_sha256="a" * 64,
    test_images=3,
    correct_images=2,
    accuracy=2 / 3,
    accuracy_low=0.2,
    accuracy_high=0.9,
    majority_class="NA",
    majority_baseline=1.0,
    macro_precision=1.0,
    macro_recall=2 / 3,
    macro_f1=0.8,
    auc_macro=None,
    auc_micro=0.9,
    log_loss=0.4,
    confusion_matrix=[[2, 1], [0, 0]],
)


def test_evaluation_round_trip_in_strict_json(tmp_path: Path) -> None:
    write_evaluation(EVALUATION, tmp_path)
    assert read_evaluation(tmp_path) == EVALUATION
    text = (tmp_path / METRICS_FILE).read_text()
    assert json.loads(text)["auc_macro"] is None
    assert json.loads(text)["confusion_matrix"] == {"NA": {"NA": 2, "007": 1}, "007": {}}
    assert "NaN" not in text


def test_a_thousand_classes_take_no_more_than_what_was_mixed_up(tmp_path: Path) -> None:
    names = [f"n{number:08d}_a_rather_long_name" for number in range(1000)]
    drawn = np.random.default_rng(7)
    labels = np.arange(50_000) % 1000
    answers = np.where(drawn.random(50_000) < 0.6, labels, drawn.integers(0, 1000, 50_000))
    matrix = np.zeros((1000, 1000), np.int64)
    np.add.at(matrix, (labels, answers), 1)
    evaluation = dataclasses.replace(EVALUATION, class_names=names, confusion_matrix=matrix.tolist())
    write_evaluation(evaluation, tmp_path)
    assert read_evaluation(tmp_path) == evaluation
    assert (tmp_path / METRICS_FILE).stat().st_size < 1_500_000


def test_calibration_and_comparison_round_trip(tmp_path: Path) -> None:
    bins = [CalibrationBin(0.0, 0.5, 0, None, None, 1, 0.4, 1.0), CalibrationBin(0.5, 1.0, 3, 0.9, 2 / 3, 2, 0.8, 0.5)]
    calibration = Calibration(1.5, True, "", 40, 0.2, 0.1, 0.4, 0.3, bins)
    comparison = Comparison("abc", 0.5, 3, 1, 1, 0, 1, 1 / 3, -0.1, 0.6, 0.3, -0.1, 0.5, 1.0)
    evaluation = dataclasses.replace(EVALUATION, calibration=calibration, comparison=comparison, macro_f1_low=0.1)
    write_evaluation(evaluation, tmp_path)
    assert read_evaluation(tmp_path) == evaluation


def test_an_evaluation_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    write_evaluation(EVALUATION, tmp_path)
    value = json.loads((tmp_path / METRICS_FILE).read_text())
    for name in ("calibration", "comparison", "macro_f1_low", "macro_f1_high"):
        del value[name]
    value["confusion_matrix"] = EVALUATION.confusion_matrix
    (tmp_path / METRICS_FILE).write_text(json.dumps(value))
    assert read_evaluation(tmp_path) == EVALUATION
    assert EVALUATION.calibration.temperature == 1.0


def test_slices_have_gaps_where_too_few_images_tell_nothing(tmp_path: Path) -> None:
    rows = [("shape", "all: 1", 3, 2, np.nan, np.nan, np.nan), ("colour", "gray", 40, 30, 0.75, 0.6, 0.86)]
    write_slices(pd.DataFrame(rows, columns=list(SLICE_COLUMNS)), tmp_path)
    assert (tmp_path / SLICES_FILE).read_text().splitlines()[1:] == [
        "shape,all: 1,3,2,,,",
        "colour,gray,40,30,0.750000,0.600000,0.860000",
    ]


def test_slices_round_trip_keeps_names_and_gaps(tmp_path: Path) -> None:
    assert read_slices(tmp_path) is None
    rows = [("NA", "007", 3, 2, np.nan, np.nan, np.nan), ("colour", "", 40, 30, 0.75, 0.5, 0.875)]
    table = pd.DataFrame(rows, columns=list(SLICE_COLUMNS)).astype(dict(SLICE_COLUMNS))
    write_slices(table, tmp_path)
    read = read_slices(tmp_path)
    assert read is not None
    pd.testing.assert_frame_equal(read, table)


def test_a_value_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_evaluation(dataclasses.replace(EVALUATION, log_loss=float("nan")), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_per_class_round_trip_keeps_names_and_gaps(tmp_path: Path) -> None:
    names = ["NA", "007", "", 'a,"b"', "鳥"]
    table = pd.DataFrame(
        {
            "class_name": names,
            "precision": [1.0, np.nan, 0.5, 0.25, 0.0],
            "recall": [1.0, np.nan, 0.5, 0.25, 0.0],
            "recall_low": [0.5, np.nan, 0.25, 0.0, 0.0],
            "recall_high": [1.0, np.nan, 1.0, 0.5, 0.75],
            "f1": [1.0, np.nan, 0.5, 0.25, 0.0],
            "auc": [np.nan] * 5,
            "test_images": [3, 0, 2, 4, 1],
            "predicted_images": [3, 0, 2, 4, 0],
        }
    ).astype(dict(PER_CLASS_COLUMNS))
    write_per_class(table, tmp_path)
    pd.testing.assert_frame_equal(read_per_class(tmp_path), table)


def test_what_was_tested_on_is_told_by_its_images_in_whatever_order(tmp_path: Path) -> None:
    probabilities = np.array([[0.75, 0.25], [0.25, 0.75]], np.float32)
    names = ["NA", "007"]
    table = write_predictions(["x.jpg", "y.jpg"], ["d1", "d2"], np.array([0, 0]), probabilities, names, tmp_path)
    digest = digest_of_tested(table)
    other = probabilities[::-1]
    swapped = write_predictions(["y.jpg", "x.jpg"], ["d2", "d1"], np.array([0, 0]), other, names, tmp_path)
    assert digest_of_tested(swapped) == digest
    for change in ({"md5": "d3"}, {"path": ["x.jpg", "z.jpg"]}, {"true_class": "007"}):
        assert digest_of_tested(table.assign(**change)) != digest


def test_predictions_round_trip(tmp_path: Path) -> None:
    probabilities = np.array([[0.75, 0.25], [0.25, 0.75]], np.float32)
    names = ["NA", "007"]
    written = write_predictions(["x.jpg", "y.jpg"], ["d1", "d2"], np.array([0, 0]), probabilities, names, tmp_path)
    table = read_predictions(tmp_path)
    pd.testing.assert_frame_equal(table, written)
    assert table["predicted_class"].tolist() == ["NA", "007"]
    assert table["probability"].tolist() == [0.75, 0.75]
    assert table[["probability_NA", "probability_007"]].to_numpy().tolist() == probabilities.tolist()


def test_large_predictions_are_kept_without_the_probabilities_of_every_class(tmp_path: Path) -> None:
    probabilities = np.random.default_rng(3).dirichlet(np.ones(300), 40).astype(np.float32)
    names = [f"class {number}" for number in range(300)]
    paths = [f"{number}.jpg" for number in range(40)]
    written = write_predictions(paths, paths, np.arange(40), probabilities, names, tmp_path)
    size = (tmp_path / PREDICTIONS_FILE).stat().st_size
    assert predictions_to_keep(tmp_path, size) == tmp_path / PREDICTIONS_FILE
    kept = predictions_to_keep(tmp_path, size - 1)
    assert isinstance(kept, bytes)
    assert len(kept) < size / 10
    (tmp_path / PREDICTIONS_FILE).write_bytes(kept)
    pd.testing.assert_frame_equal(read_predictions(tmp_path), written[list(PREDICTION_COLUMNS)])
    assert digest_of_tested(read_predictions(tmp_path)) == digest_of_tested(written)
