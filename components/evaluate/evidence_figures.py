"""Charts of how far an evaluation is to be trusted: reliability diagram, accuracy of slices."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.evaluate.scores import wilson_interval
from components.formats.evaluation import Calibration
from components.report.charts import SERIES
from components.report.shown_text import counted

LEAST_BIN_IMAGES = 10
"""Fewer images than this say too little of how often answers of their bin are right."""

_RIGHT, _BEFORE, _AFTER, _WORSE = SERIES[0], SERIES[1], SERIES[2], SERIES[3]


def reliability_figure(calibration: Calibration) -> Figure:
    """Draw how often the model is right by how sure it is, and how often it is how sure.

    How often it is right has Wilson's interval: of one image that is right, a share of 1 says next to nothing. Bins of
    fewer than ``LEAST_BIN_IMAGES`` are hollow, and the line leaves them out.

    Args:
        calibration: Of the test split; after temperature scaling it is drawn only where a temperature was fitted.
    """
    figure = Figure(figsize=(10.0, 4.6))
    reliability, confidence = figure.subplots(1, 2)
    ink = reliability.xaxis.label.get_color()
    series = [("before", _BEFORE, "o")] + ([("after", _AFTER, "s")] if calibration.fitted else [])
    bins = calibration.bins
    width = bins[0].upper - bins[0].lower
    has_few = False
    for number, (name, colour, marker) in enumerate(series):
        label = {"before": "as the model is", "after": f"with temperature {calibration.temperature:.2f}"}[name]
        images = np.array([getattr(one, f"images_{name}") for one in bins])
        places = [
            (getattr(one, f"confidence_{name}"), getattr(one, f"accuracy_{name}"), int(count))
            for one, count in zip(bins, images, strict=True)
            if count
        ]
        has_few |= any(count < LEAST_BIN_IMAGES for _, _, count in places)
        _draw_bins(reliability, places, colour, marker, label)
        left = [one.lower + width * number / len(series) for one in bins]
        confidence.bar(left, images, width / len(series), align="edge", color=colour, linewidth=0)
    reliability.plot([0, 1], [0, 1], color=ink, linewidth=1.0, linestyle=":", alpha=0.7, label="right as often as sure")
    reliability.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title="Right by how sure")
    reliability.set(xlabel="mean probability of the answer", ylabel="share of answers that are right")
    reliability.grid()
    confidence.set(xlim=(0, 1), title="How sure", xlabel="probability of the answer", ylabel="test images")
    confidence.yaxis.get_major_locator().set_params(integer=True)
    confidence.grid(axis="y")
    if has_few:
        (hollow,) = reliability.plot([], [], color=ink, marker="o", markersize=5, linestyle="none")
        hollow.set(markerfacecolor="none", label=f"fewer than {LEAST_BIN_IMAGES} images")
    handles, names = reliability.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


def _draw_bins(axes: Axes, places: Sequence[tuple[float, float, int]], colour: str, marker: str, label: str) -> None:
    """Draw bins by mean probability, share of right answers and number of images."""
    many = [(sure, right) for sure, right, images in places if images >= LEAST_BIN_IMAGES]
    few = [(sure, right) for sure, right, images in places if images < LEAST_BIN_IMAGES]
    for sure, right, images in places:
        low, high = wilson_interval(round(right * images), images)
        faint = 0.5 if images >= LEAST_BIN_IMAGES else 0.25
        axes.plot([sure, sure], [low, high], color=colour, linewidth=1.2, alpha=faint, zorder=1.8)
    axes.plot(*_columns(many), color=colour, marker=marker, markersize=5, linewidth=1.6, label=label)
    (hollow,) = axes.plot(*_columns(few), color=colour, marker=marker, markersize=5, linestyle="none")
    hollow.set_markerfacecolor("none")


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def slices_figure(slices: pd.DataFrame, worse: Sequence[bool], accuracy: float) -> Figure:
    """Draw the accuracy of each slice with its interval, beside that of all test images.

    Args:
        slices: ``SLICE_COLUMNS``, at least one row.
        worse: One per row: whether its interval lies below ``accuracy``.
        accuracy: Of all test images.
    """
    figure = Figure(figsize=(10.0, 0.9 + 0.27 * (len(slices) + slices["measure"].nunique())))
    axes = figure.subplots()
    places = _places(slices["measure"].tolist())
    ink = axes.xaxis.label.get_color()
    axes.axvline(accuracy, color=ink, linewidth=1.0, linestyle="--", alpha=0.8)
    axes.annotate(
        f"all test images {accuracy:.2f}", (accuracy, 1.0), xycoords=("data", "axes fraction"), ha="center",
        va="bottom", fontsize=8, xytext=(0, 2), textcoords="offset points",
    )  # fmt: skip
    for place, row, is_worse in zip(places, slices.to_dict("records"), worse, strict=True):
        _draw_slice(axes, place, row, _WORSE if is_worse else _RIGHT)
    axes.set_yticks(places, slices["slice"].tolist())
    for measure, first in zip(slices["measure"], places, strict=True):
        if places[slices["measure"].tolist().index(measure)] == first:
            axes.annotate(
                measure, (0.0, first - 0.95), xycoords=("axes fraction", "data"), ha="right", va="center",
                fontsize=9, fontweight="bold", xytext=(-6, 0), textcoords="offset points",
            )  # fmt: skip
    # Most accuracies are high: what is below all of them only takes room.
    start = np.floor(10 * min([accuracy, *slices["low"].dropna()]) - 0.3) / 10
    start = min(max(start, 0.0), 0.8)
    axes.set(
        xlim=(start, 1.0 + 0.15 * (1.0 - start)),
        ylim=(places[-1] + 0.7, -1.5),
        xlabel="accuracy, with its 95 % interval",
    )
    axes.set_title("Accuracy by what the image is like", pad=16)
    axes.set_xticks(np.arange(round(10 * start), 11) / 10)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _places(measures: list[str]) -> list[float]:
    """Return where each slice stands, with room for a heading before each measure's first."""
    places, place = [], -1.0
    for number, measure in enumerate(measures):
        place += 1.0 if number and measures[number - 1] == measure else 2.0 if number else 1.0
        places.append(place)
    return places


def _draw_slice(axes: Axes, place: float, row: Mapping[Hashable, Any], colour: str) -> None:
    accuracy, low, high = (row[name] for name in ("accuracy", "low", "high"))
    if np.isnan(accuracy):
        few = f"too few to say: {counted(row['images'], 'image')}"
        axes.text(0.01, place, few, va="center", fontsize=8, alpha=0.75, transform=axes.get_yaxis_transform())
        return
    axes.plot([low, high], [place, place], color=colour, linewidth=2.4, alpha=0.55, solid_capstyle="butt")
    axes.plot([accuracy], [place], color=colour, marker="o", markersize=6)
    # Beside the marker of a slice that is all right.
    axes.annotate(
        f"{row['correct']} of {row['images']}", (1.0, place), va="center", fontsize=8, xytext=(9, 0),
        textcoords="offset points",
    )  # fmt: skip
