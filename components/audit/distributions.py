"""The report's charts: how classes, sizes, shapes, light and colour are distributed, with the thresholds drawn in."""

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from components.audit.checks import Thresholds
from components.audit.checks.conditions import is_bright, is_dark, is_tiny, shows_something
from components.audit.checks.shape import size_limits_px
from components.report.charts import SERIES, chart_style, inline_svg

CLASSES_SHOWN = 30
"""So many classes have a bar each; of more, all are drawn by rank, and the ends of the ranking by name."""

CLASSES_AT_ENDS = 12

SKEWED = 20.0
"""The largest class over the median one, above which ranks are drawn on a logarithmic scale, to be seen at all."""

SIZES_SHOWN = 1500

ASPECT_REACH = 5.0
"""Base-2 logarithm of the most extreme shape that is drawn apart: 32 to 1."""

_BLUE, _AMBER, _GREEN, _RED = SERIES[:4]
_LINE: Any = {"color": _RED, "linestyle": (0, (4, 3)), "linewidth": 1.2}
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def class_chart(classes: pd.DataFrame) -> Markup:
    """Draw images per class: a bar each, or of many classes all by rank and the ends of the ranking.

    Args:
        classes: Indexed by the name to show; columns ``usable`` and ``unusable``, images; largest class first.
    """
    with chart_style():
        if len(classes) <= CLASSES_SHOWN:
            figure = Figure(figsize=(11.2, 1.4 + 0.3 * len(classes)))
            axes = figure.subplots()
            _class_bars(axes, classes, f"Images per class, {len(classes):,} {_classes(len(classes))}")
        else:
            figure = Figure(figsize=(11.2, 6.6))
            places = figure.subplot_mosaic([["all", "all"], ["largest", "smallest"]], height_ratios=[1.0, 1.25])
            axes = places["all"]
            _class_ranks(axes, classes)
            _class_bars(places["largest"], classes.head(CLASSES_AT_ENDS), f"The {CLASSES_AT_ENDS} largest")
            _class_bars(places["smallest"], classes.tail(CLASSES_AT_ENDS), f"The {CLASSES_AT_ENDS} smallest")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return inline_svg(figure, f"Bar chart of images per class, {len(classes)} classes")


def _classes(count: int) -> str:
    return "class" if count == 1 else "classes"


def _class_bars(axes: Axes, classes: pd.DataFrame, title: str) -> None:
    classes = classes[::-1]
    places = np.arange(len(classes))
    axes.barh(places, classes["usable"], color=_BLUE, height=0.7, label="images without an error")
    axes.barh(places, classes["unusable"], left=classes["usable"], color=_RED, height=0.7, label="with an error")
    for place, images in zip(places, classes["images"], strict=True):
        axes.annotate(f"{images:,}", (images, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, classes.index)
    axes.set(title=title, xlabel="images", ylim=(-0.6, len(classes) - 0.4))
    axes.set_xlim(0, max(classes["images"].max() * 1.1, 1))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def _class_ranks(axes: Axes, classes: pd.DataFrame) -> None:
    """Draw every class as a step of a staircase, however many there are, in at most a thousand steps."""
    step = -(-len(classes) // 1000)
    drawn = classes.iloc[::step]
    edges = np.append(np.arange(0, len(classes), step), len(classes)) + 0.5
    axes.stairs(drawn["images"], edges, fill=True, color=_RED, label="with an error")
    axes.stairs(drawn["usable"], edges, fill=True, color=_BLUE, label="images without an error")
    median = classes["images"].median()
    axes.axhline(
        median, color=_AMBER, linewidth=1.4, linestyle=(0, (1, 1)), label=f"median class, {median:,.0f} images"
    )
    axes.set(title=f"Images per class, {len(classes):,} classes", xlabel="rank of the class", ylabel="images")
    axes.set(xlim=(0.5, len(classes) + 0.5), ylim=(0, max(classes["images"].max() * 1.05, 1)))
    if classes["images"].max() > SKEWED * median:
        axes.set(yscale="log", ylabel="images, logarithmic", ylim=(0.8, classes["images"].max() * 1.5))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(_THOUSANDS)
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def dimensions_chart(table: pd.DataFrame, odd: pd.Series, thresholds: Thresholds) -> Markup:
    """Draw width against height of each distinct size, with the limits of usual sizes and shapes.

    Args:
        table: Readable images.
        odd: Which of them a check of size or shape found.
        thresholds: What these checks compare with.
    """
    sizes = table.assign(odd=odd).groupby(["width_px", "height_px"])["odd"].agg(["size", "max"]).reset_index()
    distinct = len(sizes)
    # Shuffled first: of equally frequent sizes, those with the smallest widths would be all that is drawn.
    sizes = sizes.sample(frac=1, random_state=0).sort_values("size", ascending=False, kind="stable").head(SIZES_SHOWN)
    title = "Dimensions" if len(sizes) == distinct else f"Dimensions, {len(sizes):,} of {distinct:,} sizes"
    with chart_style():
        figure = Figure(figsize=(5.6, 4.2))
        axes = figure.subplots()
        axes.set(xscale="log", yscale="log", xlabel="width, px", ylabel="height, px", title=title)
        for is_odd, color, label in ((False, _BLUE, "usual"), (True, _RED, "tiny, or unusual size or shape")):
            some = sizes[sizes["max"] == is_odd]
            if len(some):
                # Few marker sizes: the page names each once and refers to it.
                area = 30 * 2 ** np.floor(np.log10(some["size"]))
                for marker_area, dots in some.groupby(area):
                    x, y = dots["width_px"], dots["height_px"]
                    axes.plot(x, y, "o", color=color, alpha=0.65, markersize=np.sqrt(marker_area), markeredgewidth=0)
                axes.plot([], [], "o", color=color, label=label)
        _draw_size_limits(axes, size_limits_px(table, thresholds), thresholds)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid()
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=3)
        return inline_svg(figure, f"Scatter plot of width against height, {len(sizes)} distinct sizes")


def _draw_size_limits(axes: Axes, limits_px: tuple[float, float], thresholds: Thresholds) -> None:
    low = min(axes.get_xlim()[0], axes.get_ylim()[0])
    high = max(axes.get_xlim()[1], axes.get_ylim()[1])
    # The same decades on both axes: a square image lies on the diagonal.
    axes.set(xlim=(low, high), ylim=(low, high))
    widths = np.array([low, high])
    label: str | None = "limits of size and shape"
    for limit in limits_px:
        if 0 < limit < float("inf"):
            axes.plot(widths, limit**2 / widths, label=label, **_LINE)
            label = None
    for ratio in (thresholds.aspect_outlier, 1 / thresholds.aspect_outlier):
        axes.plot(widths, widths * ratio, label=label, **_LINE)
        label = None


def aspect_chart(table: pd.DataFrame, thresholds: Thresholds) -> Markup:
    """Draw a histogram of width over height of readable images."""
    limit = float(np.log2(thresholds.aspect_outlier))
    logs = np.clip(np.log2(table["width_px"].to_numpy() / table["height_px"].to_numpy()), -ASPECT_REACH, ASPECT_REACH)
    reach = max(np.abs(logs).max(initial=1.0), limit) * 1.05
    with chart_style():
        figure = Figure(figsize=(5.6, 4.2))
        axes = figure.subplots()
        _histogram(axes, logs, np.linspace(-reach, reach, 62).tolist(), color=_BLUE)
        for one in (-limit, limit):
            axes.axvline(one, **_LINE)
        _name(axes, limit, f"unusual above {thresholds.aspect_outlier:g} to 1", left=reach < 2 * limit)
        sides = (1, 2, 4, 8, 16, 32) if reach > 2.5 else (1, 4 / 3, 2, 3, 4)
        wide = {"4:3" if side == 4 / 3 else f"{side}:1": float(np.log2(side)) for side in sides}
        named = {**{":".join(name.split(":")[::-1]): -place for name, place in wide.items()}, **wide}
        axes.set_xticks(list(named.values()), list(named), fontsize=8)
        axes.set(title="Shapes", xlabel="width : height", xlim=(-reach, reach))
        _count_axis(axes)
        return inline_svg(figure, "Histogram of width over height")


def brightness_chart(table: pd.DataFrame, thresholds: Thresholds) -> Markup:
    """Draw histograms of the 5th percentile, mean and 95th percentile of luma of readable images."""
    bins = _bins(len(table), 255)
    with chart_style():
        figure = Figure(figsize=(5.6, 4.2))
        axes = figure.subplots()
        _histogram(axes, table["brightness"], bins, color=_BLUE, alpha=0.35, label="mean")
        outline: Any = {"fill": False, "linewidth": 1.5}
        _histogram(axes, table["luma_p5"], bins, color=_GREEN, label="darkest 5 % end at", **outline)
        _histogram(axes, table["luma_p95"], bins, color=_AMBER, label="brightest 5 % begin at", **outline)
        axes.axvline(thresholds.dark_brightness, **_LINE)
        axes.axvline(thresholds.bright_brightness, **_LINE)
        _name(axes, thresholds.dark_brightness, "dark if the amber\nvalue is below", left=False)
        _name(axes, thresholds.bright_brightness, "bright if the green\nvalue is above", left=True)
        axes.set(title="Brightness", xlabel="luma, 0 black to 255 white", xlim=(0, 255))
        _count_axis(axes)
        figure.legend(loc="outside lower center", ncols=3)
        return inline_svg(figure, "Histograms of the mean and of the 5th and 95th percentile of luma")


def contrast_chart(table: pd.DataFrame, thresholds: Thresholds) -> Markup:
    """Draw a histogram of the standard deviation of luma of readable images that the check of it looks at."""
    table = table[~is_dark(table, thresholds) & ~is_bright(table, thresholds) & ~is_tiny(table, thresholds)]
    with chart_style():
        figure = Figure(figsize=(5.6, 4.2))
        axes = figure.subplots()
        _histogram(axes, table["contrast"], _bins(len(table), 127.5), color=_BLUE)
        axes.axvline(thresholds.low_contrast, **_LINE)
        _name(axes, thresholds.low_contrast, f"blank below {thresholds.low_contrast:g}", left=False)
        axes.set(title="Contrast", xlabel="standard deviation of luma", xlim=(0, 127.5))
        _count_axis(axes)
        return inline_svg(figure, "Histogram of the standard deviation of luma")


def sharpness_chart(table: pd.DataFrame, thresholds: Thresholds) -> Markup:
    """Draw a histogram of how much detail a slight blur leaves, of images that show something."""
    table = table[shows_something(table, thresholds)]
    with chart_style():
        figure = Figure(figsize=(5.6, 4.2))
        axes = figure.subplots()
        values = np.clip(table["blur"].to_numpy(dtype=float), 0, 1)
        _histogram(axes, values, _bins(len(table), 1), color=_BLUE)
        axes.axvline(thresholds.blur_ratio, **_LINE)
        _name(axes, thresholds.blur_ratio, f"blurry above {thresholds.blur_ratio:g}", left=thresholds.blur_ratio > 0.5)
        axes.set(
            title="Sharpness", xlabel="share of detail that a 3 x 3 blur leaves: 0 sharp to 1 blurred", xlim=(0, 1)
        )
        _count_axis(axes)
        return inline_svg(figure, "Histogram of the share of detail that a slight blur leaves")


def information_chart(table: pd.DataFrame, thresholds: Thresholds) -> Markup:
    """Draw a histogram of the entropy of luma of images that show something."""
    table = table[shows_something(table, thresholds)]
    with chart_style():
        figure = Figure(figsize=(5.6, 4.2))
        axes = figure.subplots()
        _histogram(axes, table["entropy"], _bins(len(table), 8), color=_BLUE)
        axes.axvline(thresholds.low_entropy_bits, **_LINE)
        limit = thresholds.low_entropy_bits
        _name(axes, limit, f"hardly any information\nbelow {limit:g} bits", left=limit > 4)
        axes.set(title="Information", xlabel="entropy of luma, bits", xlim=(0, 8))
        _count_axis(axes)
        return inline_svg(figure, "Histogram of the entropy of luma")


def counts_chart(counts: pd.Series, title: str) -> Markup:
    """Draw a few counts as bars, the first one on top; the index names them."""
    counts = counts[::-1]
    with chart_style():
        figure = Figure(figsize=(5.6, 0.95 + 0.34 * len(counts)))
        axes = figure.subplots()
        places = np.arange(len(counts))
        axes.barh(places, counts, color=_BLUE, height=0.65)
        for place, count in zip(places, counts, strict=True):
            share = count / counts.sum()
            axes.annotate(
                f"{count:,} ({share:.1%})", (count, place), xytext=(4, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(places, counts.index)
        axes.set(title=title, xlim=(0, counts.max() * 1.3), ylim=(-0.6, len(counts) - 0.4), xlabel="images")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(_THOUSANDS)
        return inline_svg(figure, f"{title}: " + ", ".join(f"{name} {count}" for name, count in counts[::-1].items()))


def _histogram(axes: Axes, values: Any, bins: list[float], *, fill: bool = True, **style: Any) -> None:
    """Draw a histogram as one shape, where ``hist`` draws a rectangle for each bin."""
    counts, edges = np.histogram(np.asarray(values, dtype=float), bins)
    # Without a baseline, an outline has no sides of its own.
    axes.stairs(counts, edges, fill=fill, **style)


def _bins(values: int, most: float) -> list[float]:
    """Return the edges of bins from 0: fewer where few values would make a comb of them."""
    return [float(edge) for edge in np.linspace(0, most, int(np.clip(3 * values**0.5, 20, 51)) + 1)]


def _count_axis(axes: Axes) -> None:
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(_THOUSANDS)
    axes.set_ylim(0, max(axes.get_ylim()[1] * 1.18, 1))  # room for the names of the limits
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _name(axes: Axes, place: float, text: str, *, left: bool) -> None:
    axes.annotate(
        text,
        (place, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if left else 5, -3),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top",
        color=_RED,
        fontsize=8,
    )
