"""The learning curves say which phase an epoch belongs to, however short the training was."""

import numpy as np
import pandas as pd
import pytest

from components.formats.trained_model import HISTORY_COLUMNS
from components.report.charts import chart_style, inline_svg
from components.report.training_curves import training_curves_figure


def history_of(*phases: str) -> pd.DataFrame:
    rows = [
        (phase, epoch, 1.0 / epoch, 0.5, 1.2 / epoch, 0.4, 1e-3, 2.0) for epoch, phase in enumerate(phases, start=1)
    ]
    return pd.DataFrame(rows, columns=list(HISTORY_COLUMNS[:8]))


def test_both_phases_are_named_and_parted_by_a_line() -> None:
    with chart_style():
        figure = training_curves_figure(history_of("frozen", "frozen", "fine_tune"), ("frozen", 2))
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["backbone frozen", "fine-tuning"]
        training, validation, ring, boundary = axes.lines
        assert np.asarray(ring.get_xydata()).tolist() == [np.asarray(validation.get_xydata())[1].tolist()]
        assert np.asarray(training.get_xdata()).tolist() == np.asarray(validation.get_xdata()).tolist() == [1, 2, 3]
        assert np.asarray(boundary.get_xdata()).tolist() == [2.5, 2.5]


@pytest.mark.parametrize("phases", [(), ("frozen",), ("fine_tune",)], ids=["no epoch", "one frozen", "one fine-tune"])
def test_short_histories_have_no_boundary(phases: tuple[str, ...]) -> None:
    with chart_style():
        figure = training_curves_figure(history_of(*phases), ("frozen", 7))
        assert "NaN" not in inline_svg(figure, "curves")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "validation"]
    assert all(len(axes.lines) == 2 for axes in figure.axes)
