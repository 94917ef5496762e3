"""Of many classes the confusion matrix shows those that are mixed up, by name, and loses no image of them."""

import dataclasses

import numpy as np
import pytest

from components.evaluate.calibration import calibration_bins
from components.evaluate.evidence_figures import reliability_figure
from components.evaluate.figures import MOST_CONFUSED_CLASSES, MOST_NAMED_CLASSES, confusion_figure, most_confused
from components.evaluate.scores import wilson_interval
from components.formats.evaluation import Calibration
from components.report.charts import SERIES, chart_style, inline_svg

CLASSES = 200
NAMES = [f"kind {number}" for number in range(CLASSES)]


def mixed_up() -> np.ndarray:
    """Return counts of 200 classes, of which 30 and 150 are taken for each other, and 7 for a class of its own each."""
    confusions = np.diag(np.full(CLASSES, 50))
    confusions[30, 150], confusions[150, 30] = 20, 15
    confusions[7, 100:110] = 1
    return confusions


def test_the_most_confused_are_chosen_and_their_rows_are_whole() -> None:
    confusions = mixed_up()
    chosen, reduced = most_confused(confusions)
    assert len(chosen) == MOST_CONFUSED_CLASSES
    assert chosen == sorted(chosen)
    assert {7, 30, 150, *range(100, 110)} <= set(chosen)
    assert reduced.shape == (MOST_CONFUSED_CLASSES, MOST_CONFUSED_CLASSES + 1)
    assert reduced.sum(axis=1).tolist() == confusions[chosen].sum(axis=1).tolist()
    assert reduced[chosen.index(30), chosen.index(150)] == 20
    assert reduced[:, -1].sum() == 0
    confusions[7, 190] = 9
    confusions[160:190, 190] = 5
    chosen, reduced = most_confused(confusions)
    assert reduced[chosen.index(7), -1] == 10 + 9 - confusions[7, [label for label in chosen if label != 7]].sum()


def test_many_classes_are_drawn_by_name_with_numbers() -> None:
    with chart_style():
        for classes, rows in ((MOST_NAMED_CLASSES, MOST_NAMED_CLASSES), (CLASSES, MOST_CONFUSED_CLASSES)):
            figure = confusion_figure(mixed_up()[:classes, :classes], NAMES[:classes])
            for axes in figure.axes:
                assert len(axes.get_yticklabels()) == rows
            last = figure.axes[0].get_xticklabels()[-1].get_text()
            assert last == (NAMES[classes - 1] if rows == classes else "any other")
        texts = [text.get_text() for text in figure.axes[0].texts]
        assert {"50", "20", "15"} <= set(texts)
        assert len(texts) == MOST_CONFUSED_CLASSES * (MOST_CONFUSED_CLASSES + 1)


def test_bins_of_few_images_are_hollow_and_no_part_of_the_line() -> None:
    right = np.array([True] * 30 + [False] * 10 + [True])
    sure = np.array([0.95] * 40 + [0.2])
    calibration = dataclasses.replace(Calibration(), bins=calibration_bins(right, sure, sure))
    with chart_style():
        figure = reliability_figure(calibration)
        assert "fewer than 10 images" in inline_svg(figure, "reliability")
    axes = figure.axes[0]
    xy = {str(line.get_markerfacecolor()): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert xy[SERIES[1]] == [[pytest.approx(0.95), pytest.approx(0.75)]], "one bin of 40 images"
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "none" and np.size(line.get_xdata())]
    assert [np.asarray(line.get_xydata()).tolist() for line in hollow] == [[[pytest.approx(0.2), 1.0]]]
    bars = [np.asarray(line.get_xydata()) for line in axes.lines if line.get_marker() == "None"]
    low, high = wilson_interval(1, 1)
    assert any(bar.tolist() == [[pytest.approx(0.2), low], [pytest.approx(0.2), high]] for bar in bars)
