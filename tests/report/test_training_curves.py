"""The learning curves say which phase an epoch belongs to, and where fine-tuning starts, however short training was."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from components.formats.trained_model import HISTORY_COLUMNS
from components.report.charts import chart_style, inline_svg
from components.report.training_curves import Before, TrainingCurves

BEFORE = Before(loss=0.6, accuracy=0.9)


def history_of(*phases: str) -> pd.DataFrame:
    rows = [
        (phase, epoch, 1.0 / epoch, 0.5, 1.2 / epoch, 0.4, 1e-3, 2.0) for epoch, phase in enumerate(phases, start=1)
    ]
    return pd.DataFrame(rows, columns=list(HISTORY_COLUMNS[:8]))


def points(axes: Axes) -> list[list[list[float]]]:
    return [np.asarray(line.get_xydata()).tolist() for line in axes.lines]


def test_both_phases_are_named_and_parted_by_a_line() -> None:
    with chart_style():
        figure = TrainingCurves(history_of("frozen", "frozen", "fine_tune"), ("frozen", 2)).both()
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["backbone frozen", "fine-tuning"]
        training, validation, tuning, tuning_validation, ring, boundary = points(axes)
        assert [x for x, _ in training] == [x for x, _ in validation] == [1, 2]
        assert [x for x, _ in tuning] == [x for x, _ in tuning_validation] == [3], "no line from one phase to the other"
        assert ring == [validation[1]]
        assert [x for x, _ in boundary] == [2.5, 2.5]


def test_fine_tuning_starts_from_what_was_measured_before_it_and_not_from_the_last_frozen_epoch() -> None:
    curves = TrainingCurves(history_of("frozen", "frozen", "fine_tune", "fine_tune"), ("fine_tune", 2), BEFORE)
    with chart_style():
        for figure, value, first in ((curves.loss(), 0.6, 0.4), (curves.accuracy(), 0.9, 0.4)):
            (axes,) = figure.axes
            assert [[2.5, value], [3.0, pytest.approx(first)]] in points(axes)
            assert [[2.5, value], [4.5, value]] in points(axes)
            assert [text.get_text() for text in figure.legends[0].get_texts()] == [
                "training", "validation", "validation before fine-tuning",
            ]  # fmt: skip


def test_a_start_above_all_epochs_is_within_the_chart() -> None:
    with chart_style():
        (axes,) = TrainingCurves(history_of("fine_tune"), ("fine_tune", 1), Before(7.0, 0.1)).loss().axes
    assert axes.get_ylim()[1] > 7.0


@pytest.mark.parametrize("phases", [(), ("frozen",), ("fine_tune",)], ids=["no epoch", "one frozen", "one fine-tune"])
def test_short_histories_have_no_boundary(phases: tuple[str, ...]) -> None:
    curves = TrainingCurves(history_of(*phases), ("frozen", 7))
    with chart_style():
        for figure in (curves.both(), curves.accuracy(), curves.loss()):
            assert "NaN" not in inline_svg(figure, "curves")
            assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "validation"]
            assert all(len(axes.lines) == 2 for axes in figure.axes)
