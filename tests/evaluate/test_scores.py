"""Scores on cases small enough to check by hand, and the undefined ones."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from components.evaluate import scores


def soft(predicted: list[int], classes: int = 3) -> scores.Probabilities:
    """Return probabilities that prefer the given classes: 0.8, the rest shared."""
    rest = 0.2 / (classes - 1)
    return np.where(np.eye(classes, dtype=bool)[predicted], 0.8, rest).astype(np.float32)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (13, 16, 0.5699, 0.9341),  # statsmodels' proportion_confint(13, 16, method="wilson")
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (500, 1000, 0.4691, 0.5309),
    ],
)
def test_wilson_interval(correct: int, total: int, low: float, high: float) -> None:
    assert scores.wilson_interval(correct, total) == pytest.approx((low, high), abs=1e-4)


def test_rows_of_the_confusion_matrix_are_true_classes() -> None:
    confusions = scores.count_confusions(np.array([0, 0, 1, 2]), soft([0, 1, 1, 1]))
    assert confusions.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_scores_of_each_class() -> None:
    table = scores.score_classes(np.array([0, 0, 1, 2]), soft([0, 1, 1, 1]), ["a", "b", "c"], [None] * 3).set_index(
        "class_name"
    )
    assert list(table.loc["a", ["precision", "recall"]]) == [1.0, 0.5]
    assert table.loc["b", "precision"] == pytest.approx(1 / 3)
    assert list(table.loc["c", ["precision", "recall", "f1"]]) == [0.0, 0.0, 0.0], "never predicted"
    assert table["test_images"].tolist() == [2, 1, 1]
    assert table["predicted_images"].tolist() == [1, 3, 0]


def test_a_class_without_test_images_has_no_scores() -> None:
    table = scores.score_classes(np.array([0, 1, 1]), soft([0, 1, 2]), ["a", "b", "c"], [None] * 3)
    assert table.loc[2, ["precision", "recall", "f1", "auc"]].isna().all()
    assert table.loc[:1, ["precision", "recall", "f1", "auc"]].notna().all(axis=None)


def test_one_class_alone_has_no_auc() -> None:
    labels, probabilities = np.array([1, 1]), soft([1, 0])
    assert [scores.class_auc(labels, probabilities, label) for label in range(3)] == [None] * 3
    assert scores.class_roc(labels, probabilities, 1, 200) is None
    assert scores.macro_roc([]) is None
    assert scores.micro_roc(labels, probabilities, 200) is not None


def test_a_long_roc_is_thinned_without_moving_its_ends() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 5000)
    probabilities = random.dirichlet((1, 1, 1), 5000).astype(np.float32)
    probabilities[np.arange(5000), labels] += 0.3
    full = scores.class_roc(labels, probabilities, 0, 10**6)
    thin = scores.class_roc(labels, probabilities, 0, 200)
    assert full is not None
    assert thin is not None
    assert len(full.threshold) > 1000
    assert len(thin.threshold) <= 200
    assert thin.auc == full.auc
    assert np.trapezoid(thin.true_positive_rate, thin.false_positive_rate) == pytest.approx(full.auc, abs=2e-3)
    for curve in (thin, scores.micro_roc(labels, probabilities, 200)):
        assert curve is not None
        assert (curve.false_positive_rate[0], curve.true_positive_rate[0]) == (0.0, 0.0)
        assert (curve.false_positive_rate[-1], curve.true_positive_rate[-1]) == (1.0, 1.0)
        assert all(math.isfinite(threshold) for threshold in curve.threshold)
        assert (np.diff(curve.threshold) <= 0).all()
        assert (np.diff(curve.false_positive_rate) >= 0).all()
        assert (np.diff(curve.true_positive_rate) >= 0).all()


@pytest.mark.parametrize("digits", [1, 2, 9])
def test_curves_and_areas_are_those_of_scikit_learn(digits: int) -> None:
    """Of few digits many scores are equal, across both sides."""
    random = np.random.default_rng(digits)
    labels = random.integers(0, 4, 700)
    probabilities = random.dirichlet((1, 1, 1, 1), 700).astype(np.float32)
    probabilities[np.arange(700), labels] += 0.1
    probabilities = (probabilities / probabilities.max()).round(digits)
    for label in range(4):
        found = scores.class_roc(labels, probabilities, label, 10**6)
        assert_is_curve(found, labels == label, probabilities[:, label])
        assert found is not None
        assert scores.class_auc(labels, probabilities, label) == found.auc
    pairs = labels[:, None] == np.arange(4)
    assert_is_curve(scores.micro_roc(labels, probabilities, 10**6), pairs.ravel(), probabilities.ravel())


def test_pairs_are_ranked_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    labels, probabilities = random.integers(0, 3, 100), random.dirichlet((1, 1, 1), 100).astype(np.float32)
    whole = scores.micro_roc(labels, probabilities, 200)
    monkeypatch.setattr(scores, "_PAIRS_AT_ONCE", 7)
    assert scores.micro_roc(labels, probabilities, 200) == whole


def assert_is_curve(found: scores.RocCurve | None, positive: np.ndarray, values: np.ndarray) -> None:
    assert found is not None
    assert found.auc == pytest.approx(roc_auc_score(positive, values), abs=1e-12)
    assert np.trapezoid(found.true_positive_rate, found.false_positive_rate) == pytest.approx(found.auc, abs=1e-12)
    false_positives, true_positives, _ = roc_curve(positive, values, drop_intermediate=False)
    corners = set(zip(np.round(found.false_positive_rate, 9), np.round(found.true_positive_rate, 9), strict=True))
    assert corners <= set(zip(false_positives.round(9), true_positives.round(9), strict=True))
    for low, true_rate, threshold in zip(
        found.false_positive_rate, found.true_positive_rate, found.threshold, strict=True
    ):
        if 0 < low < 1:
            assert (values[positive] >= np.float32(threshold)).mean() == pytest.approx(true_rate)
            assert (values[~positive] >= np.float32(threshold)).mean() == pytest.approx(low)


def test_macro_roc_is_the_mean_of_curves() -> None:
    perfect = scores.RocCurve([0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.5, 0.0], 1.0)
    guessing = scores.RocCurve([0.0, 1.0], [0.0, 1.0], [1.0, 0.0], 0.5)
    macro = scores.macro_roc([perfect, guessing])
    assert macro is not None
    assert macro.auc == 0.75
    assert np.trapezoid(macro.true_positive_rate, macro.false_positive_rate) == pytest.approx(0.75)


def test_log_loss_of_certain_and_wrong_is_large_but_finite() -> None:
    assert scores.mean_log_loss(np.array([0]), np.array([[0.0, 1.0]], np.float32)) == pytest.approx(16.118, abs=1e-3)
    assert scores.mean_log_loss(np.array([1]), np.array([[0.0, 1.0]], np.float32)) == 0.0
