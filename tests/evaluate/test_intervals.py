"""Bootstrap intervals: those of resampling image by image, seeded, and honest where resampling is blind."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from components.evaluate.intervals import bootstrap_intervals
from components.evaluate.scores import count_confusions, wilson_interval

RANDOM = np.random.default_rng(3)
LABELS = RANDOM.integers(0, 3, 120)
ANSWERS = np.where(RANDOM.random(120) < 0.75, LABELS, RANDOM.integers(0, 3, 120))
CONFUSIONS = count_confusions(LABELS, np.eye(3, dtype=np.float32)[ANSWERS])


def test_they_are_those_of_resampling_images_one_by_one() -> None:
    accuracies, f1s, recalls = [], [], []
    for _ in range(800):
        drawn = RANDOM.integers(0, len(LABELS), len(LABELS))
        labels, answers = LABELS[drawn], ANSWERS[drawn]
        accuracies.append((labels == answers).mean())
        f1s.append(f1_score(labels, answers, average="macro"))
        recalls.append((answers[labels == 1] == 1).mean())
    found = bootstrap_intervals(CONFUSIONS, seed=0)
    recall = found.recall[1]
    assert recall is not None
    for interval, values in ((found.accuracy, accuracies), (found.macro_f1, f1s), (recall, recalls)):
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=0.03)


def test_the_seed_decides() -> None:
    assert bootstrap_intervals(CONFUSIONS, seed=1) == bootstrap_intervals(CONFUSIONS, seed=1)
    assert bootstrap_intervals(CONFUSIONS, seed=1) != bootstrap_intervals(CONFUSIONS, seed=2)


def test_a_class_that_is_all_right_is_not_certain_and_one_without_images_has_no_recall() -> None:
    found = bootstrap_intervals(np.array([[5, 0, 0], [0, 0, 0], [2, 0, 0]]), seed=0)
    perfect, absent, hopeless = found.recall
    assert perfect is not None
    assert hopeless is not None
    assert (perfect.low, perfect.high) == wilson_interval(5, 5)
    assert absent is None
    assert (hopeless.low, hopeless.high) == wilson_interval(0, 2)


def test_a_single_image() -> None:
    found = bootstrap_intervals(np.array([[1, 0], [0, 0]]), seed=0)
    assert found.accuracy is found.macro_f1 is None, "resampling answers that are all right knows no other"


def test_a_thousand_classes_fit() -> None:
    confusions = np.diag(np.full(1000, 9)) + np.eye(1000, k=1, dtype=np.int64)
    found = bootstrap_intervals(confusions, seed=0, resamples=200)
    assert found.accuracy is not None
    assert found.accuracy.low < confusions.trace() / confusions.sum() < found.accuracy.high
    assert all(interval is not None for interval in found.recall)
