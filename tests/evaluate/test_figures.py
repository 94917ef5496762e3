"""Of many classes the confusion matrix shows those that are mixed up, by name, and loses no image of them."""

import numpy as np

from components.evaluate.figures import MOST_CONFUSED_CLASSES, MOST_NAMED_CLASSES, confusion_figure, most_confused
from components.report.charts import chart_style

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
