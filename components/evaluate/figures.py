"""Charts of an evaluation: confusion matrices and receiver operating characteristics."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from components.evaluate.scores import RocCurve
from components.report.charts import SERIES
from components.report.shown_text import shown

MOST_ANNOTATED_CLASSES = 25
"""A matrix of more classes is drawn without numbers in its cells."""
MOST_NAMED_CLASSES = 60
"""A matrix of more classes is drawn without their names."""
MOST_ROC_CLASSES = 7
"""Of more classes only those with the lowest AUC are drawn."""

_RIGHT, _WRONG = to_rgb(SERIES[0]), to_rgb(SERIES[3])
_LONGEST_NAME = 22
_SIDE_BY_SIDE_CLASSES = 12
# From this depth of colour on white digits read better than the page's ink, in light and in dark.
_DEEP = 0.6


def confusion_figure(confusions: npt.NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """Draw images by true class (rows) and predicted class (columns), as counts and as a share of each row.

    Args:
        confusions: ``[classes, classes]``.
        class_names: In label order.
    """
    classes = len(class_names)
    totals = confusions.sum(axis=1, keepdims=True)
    shares = np.divide(confusions, totals, out=np.zeros(confusions.shape), where=totals > 0)
    side = min(max(4.4, 1.8 + 0.4 * classes), 11.0)
    if classes <= _SIDE_BY_SIDE_CLASSES or classes > MOST_NAMED_CLASSES:
        side = min(side, 7.0)
        figure = Figure(figsize=(2 * side, side))
        left, right = figure.subplots(1, 2)
    else:
        figure = Figure(figsize=(side, 2 * side))
        left, right = figure.subplots(2, 1)
    highest = max(int(confusions.max()), 1)
    _draw_matrix(left, confusions / highest, [[str(count) for count in row] for row in confusions], class_names)
    left.set_title("Images")
    texts = [
        [f"{share:.2f}" for share in row] if total else ["n/a"] * classes
        for row, total in zip(shares, totals.ravel(), strict=True)
    ]
    _draw_matrix(right, shares, texts, class_names)
    right.set_title("Share of the true class")
    return figure


def roc_figure(curves: Sequence[RocCurve | None], macro: RocCurve | None, class_names: Sequence[str]) -> Figure:
    """Draw the curve of each class against the rest and their mean.

    Args:
        curves: Per class in label order, None where undefined.
        macro: Mean of the defined ones.
        class_names: In label order.
    """
    figure = Figure(figsize=(10.0, 4.6))
    axes, areas = figure.subplots(1, 2)
    defined = [(curve, name) for curve, name in zip(curves, class_names, strict=True) if curve is not None]
    if len(defined) > MOST_ROC_CLASSES:
        defined = sorted(defined, key=lambda pair: pair[0].auc)[:MOST_ROC_CLASSES]
    ink = axes.xaxis.label.get_color()
    bars: list[tuple[str, float, str]] = []
    for (curve, name), colour in zip(defined, SERIES, strict=False):
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=colour, linewidth=1.6)
        bars.append((short_name(name), curve.auc, colour))
    if macro is not None:
        axes.plot(macro.false_positive_rate, macro.true_positive_rate, color=ink, linewidth=2.2, linestyle="--")
        bars.append(("mean of classes", macro.auc, ink))
    axes.plot([0, 1], [0, 1], color=ink, linewidth=1.0, linestyle=":", alpha=0.7)
    axes.annotate("guessing", (0.78, 0.74), rotation=45, ha="center", va="top", fontsize=8, alpha=0.8)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title="One class against the rest")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.grid()
    _draw_areas(areas, bars)
    return figure


def short_name(name: str) -> str:
    """Return a class name in one line that fits beside a chart."""
    line = " ".join(shown(name).split())
    return line if len(line) <= _LONGEST_NAME else f"{line[: _LONGEST_NAME - 1]}…"


def _draw_areas(axes: Axes, bars: Sequence[tuple[str, float, str]]) -> None:
    """Draw one bar per name, area and colour: the curves' legend and their areas in one."""
    for position, (_, area, colour) in enumerate(bars):
        axes.barh(position, area, height=0.62, color=colour, alpha=0.85)
        axes.text(area + 0.015, position, f"{area:.3f}", va="center")
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.axvline(0.5, color=axes.xaxis.label.get_color(), linewidth=1.0, linestyle=":", alpha=0.7, zorder=0)
    # A few bars should not fill the height of the chart.
    axes.set(xlim=(0.0, 1.14), ylim=(max(len(bars), 6) - 0.4, -0.6), title="Area under the curve")
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_matrix(
    axes: Axes, depths: npt.NDArray[np.float64], texts: list[list[str]], class_names: Sequence[str]
) -> None:
    """Paint cells: hue says right or wrong, depth of colour (0 to 1, as opacity) how many."""
    classes = len(class_names)
    cells = np.empty((classes, classes, 4))
    cells[..., :3] = _WRONG
    cells[np.arange(classes), np.arange(classes), :3] = _RIGHT
    # A single image among hundreds must still be seen.
    cells[..., 3] = np.where(depths > 0, 0.12 + 0.88 * depths, 0.0)
    axes.imshow(cells, interpolation="none")
    numbered = ", numbered in label order" if classes > MOST_NAMED_CLASSES else ""
    axes.set(xlabel=f"predicted class{numbered}", ylabel=f"true class{numbered}")
    if classes <= MOST_NAMED_CLASSES:
        names = [short_name(name) for name in class_names]
        slanted = classes > 4 or max(map(len, names)) > 10
        axes.set_xticks(range(classes), names, rotation=40 if slanted else 0, ha="right" if slanted else "center")
        axes.set_yticks(range(classes), names)
    if classes <= MOST_ANNOTATED_CLASSES:
        size = 11 if classes <= 6 else 8 if classes <= _SIDE_BY_SIDE_CLASSES else 6
        for row, column in np.ndindex(classes, classes):
            colour = "white" if depths[row, column] > _DEEP else axes.xaxis.label.get_color()
            alpha = 1.0 if depths[row, column] > 0 else 0.4
            text = texts[row][column]
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size, alpha=alpha)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(-0.5, classes), minor=True)
    axes.set_yticks(np.arange(-0.5, classes), minor=True)
    if classes <= MOST_NAMED_CLASSES:
        axes.grid(which="minor", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
