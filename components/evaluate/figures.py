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
"""Of more classes the matrix shows those that are mixed up most: cells of a pixel tell nothing."""
MOST_CONFUSED_CLASSES = 24
"""Then it shows so many."""
MOST_ROC_CLASSES = 7
"""Of more classes only those with the lowest AUC are drawn."""

_RIGHT, _WRONG = to_rgb(SERIES[0]), to_rgb(SERIES[3])
_LONGEST_NAME = 22
_SIDE_BY_SIDE_CLASSES = 12
_ANY_OTHER = "any other"


def confusion_figure(confusions: npt.NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """Draw images by true class (rows) and predicted class (columns), as counts and as a share of each row.

    Args:
        confusions: ``[classes, classes]``. Of more than ``MOST_NAMED_CLASSES``, ``most_confused`` are drawn.
        class_names: In label order.
    """
    names = [short_name(name) for name in class_names]
    rows, columns = names, names
    if len(names) > MOST_NAMED_CLASSES:
        chosen, confusions = most_confused(confusions)
        rows = [names[label] for label in chosen]
        columns = [*rows, _ANY_OTHER]
    classes = len(rows)
    totals = confusions.sum(axis=1, keepdims=True)
    shares = np.divide(confusions, totals, out=np.zeros(confusions.shape), where=totals > 0)
    side = min(max(4.4, 1.8 + 0.4 * classes), 11.0)
    if classes <= _SIDE_BY_SIDE_CLASSES:
        side = min(side, 7.0)
        figure = Figure(figsize=(2 * side, side))
        left, right = figure.subplots(1, 2)
    else:
        figure = Figure(figsize=(side, 2 * side))
        left, right = figure.subplots(2, 1)
    highest = max(int(confusions.max()), 1)
    _draw_matrix(left, confusions / highest, [[str(count) for count in row] for row in confusions], rows, columns)
    left.set_title("Images")
    texts = [
        [f"{share:.2f}" for share in row] if total else ["n/a"] * len(columns)
        for row, total in zip(shares, totals.ravel(), strict=True)
    ]
    _draw_matrix(right, shares, texts, rows, columns)
    right.set_title("Share of the true class")
    return figure


def most_confused(confusions: npt.NDArray[np.int64]) -> tuple[list[int], npt.NDArray[np.int64]]:
    """Return the classes that mistakes are made of or taken for most, and what they are taken for.

    Args:
        confusions: ``[classes, classes]``, more than ``MOST_CONFUSED_CLASSES``.

    Returns:
        The classes in label order, and int64 ``[chosen, chosen + 1]``, whose last column is any other class.
    """
    mistakes = confusions - np.diag(confusions.diagonal())
    involved = mistakes.sum(axis=0) + mistakes.sum(axis=1)
    chosen = np.sort(np.argsort(-involved, kind="stable")[:MOST_CONFUSED_CLASSES])
    among = confusions[np.ix_(chosen, chosen)]
    others = confusions[chosen].sum(axis=1) - among.sum(axis=1)
    return chosen.tolist(), np.column_stack([among, others])


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
    axes.set_xlabel("area, 0.5 is guessing")
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_matrix(
    axes: Axes,
    depths: npt.NDArray[np.float64],
    texts: list[list[str]],
    row_names: Sequence[str],
    column_names: Sequence[str],
) -> None:
    """Paint cells: hue says right or wrong, depth of colour (0 to 1, as opacity) how many.

    Args:
        axes: Where.
        depths: ``[rows, columns]``; the first columns are the classes of the rows.
        texts: Likewise.
        row_names: True classes.
        column_names: Predicted classes.
    """
    rows, columns = depths.shape
    cells = np.empty((rows, columns, 4))
    cells[..., :3] = _WRONG
    cells[np.arange(rows), np.arange(rows), :3] = _RIGHT
    # A single image among hundreds must still be seen.
    cells[..., 3] = np.where(depths > 0, 0.12 + 0.88 * depths, 0.0)
    axes.imshow(cells, interpolation="none")
    axes.set(xlabel="predicted class", ylabel="true class")
    slanted = columns > 4 or max(map(len, column_names)) > 10
    axes.set_xticks(range(columns), column_names, rotation=40 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(rows), row_names)
    if rows <= MOST_ANNOTATED_CLASSES:
        size = 11 if rows <= 6 else 8 if rows <= _SIDE_BY_SIDE_CLASSES else 6
        for row, column in np.ndindex(rows, columns):
            alpha = 1.0 if depths[row, column] > 0 else 0.4
            axes.text(column, row, texts[row][column], ha="center", va="center", fontsize=size, alpha=alpha)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(-0.5, columns), minor=True)
    axes.set_yticks(np.arange(-0.5, rows), minor=True)
    axes.grid(which="minor", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
