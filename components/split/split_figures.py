"""Chart of a split: how many images of each class went where."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from components.formats.splits import SPLIT_NAMES
from components.report.charts import SERIES

MOST_CLASSES_DRAWN = 40
SPLIT_COLOURS = dict(zip(SPLIT_NAMES, SERIES, strict=False))

_LONGEST_NAME = 22


def class_counts_figure(counts: Sequence[tuple[str, Sequence[int]]], fractions: Mapping[str, float]) -> Figure:
    """Draw a bar per class, once as images and once as shares beside the cuts that were asked for.

    Call it within ``components.report.charts.chart_style``, and save the figure there too.

    Args:
        counts: Name of each class and its images in the order of ``SPLIT_NAMES``, at most ``MOST_CLASSES_DRAWN``.
        fractions: What was asked for, by split name.
    """
    figure = Figure(figsize=(10.0, 1.5 + 0.27 * max(len(counts), 3)))
    left, right = figure.subplots(1, 2, sharey=True)
    images = np.array([of_class for _, of_class in counts])
    _draw_bars(left, images)
    _draw_bars(right, images / images.sum(axis=1, keepdims=True))
    left.set_yticks(range(len(counts)), [_short_name(name) for name, _ in counts])
    # A few bars should not fill the height of the chart.
    left.set_ylim(max(len(counts), 3) - 0.45, -0.55)
    left.set(title="Images", xlabel="images")
    left.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    right.set(title="Share of the class", xlabel="dashed: the fractions asked for", xlim=(0.0, 1.0))
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    for cut in np.cumsum([fractions[name] for name in SPLIT_NAMES])[:-1]:
        right.axvline(cut, color=right.xaxis.label.get_color(), linestyle="--", linewidth=1.0)
    for axes in (left, right):
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(SPLIT_NAMES))
    return figure


def _draw_bars(axes: Axes, lengths: np.ndarray) -> None:
    start = np.zeros(len(lengths))
    for column, (name, colour) in enumerate(SPLIT_COLOURS.items()):
        axes.barh(range(len(lengths)), lengths[:, column], left=start, height=0.7, color=colour, label=name)
        start += lengths[:, column]


def _short_name(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST_NAME else f"{line[: _LONGEST_NAME - 1]}…"
