"""The learning curves of both training phases: one drawing for the training steps and for evaluation."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.formats.trained_model import PHASES
from components.report.charts import SERIES

_PHASE_TITLES = dict(zip(PHASES, ("backbone frozen", "fine-tuning"), strict=True))
_TRAINING_COLOUR, _VALIDATION_COLOUR = SERIES[0], SERIES[1]


def training_curves_figure(history: pd.DataFrame, kept: tuple[str, int]) -> Figure:
    """Draw accuracy and loss per epoch side by side, with a line where fine-tuning begins and the kept epoch ringed.

    Call it within ``components.report.charts.chart_style``, and save the figure there too.

    Args:
        history: ``HISTORY_COLUMNS``, one row per epoch in the order they were trained; one phase or both.
        kept: Phase and epoch of the model that is kept. One that the history lacks is not marked.
    """
    figure = Figure(figsize=(10.0, 3.6))
    accuracy, loss = figure.subplots(1, 2)
    epochs = range(1, len(history) + 1)
    _draw_pair(accuracy, epochs, history["accuracy"], history["val_accuracy"])
    _draw_pair(loss, epochs, history["loss"], history["val_loss"])
    is_kept = ((history["phase"] == kept[0]) & (history["epoch"] == kept[1])).to_numpy()
    _ring(accuracy, epochs, history["val_accuracy"].to_numpy(), is_kept)
    _ring(loss, epochs, history["val_loss"].to_numpy(), is_kept)
    for axes, title in ((accuracy, "Accuracy"), (loss, "Loss")):
        axes.set_title(title, pad=18)  # the phases' names stand between title and plot
    accuracy.set(ylabel="share of images right", ylim=(0.0, 1.03))
    highest_loss = float(history[["loss", "val_loss"]].to_numpy(dtype=float).max(initial=0.0))
    loss.set(ylabel="loss", ylim=(0.0, 1.08 * highest_loss if highest_loss > 0.0 else 1.0))
    for axes in (accuracy, loss):
        axes.set_xlabel("epoch, counted over both phases")
        axes.set_xlim(0.5, max(len(history), 1) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(axis="y")
        _mark_phases(axes, history["phase"].tolist())
    handles, names = accuracy.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def _draw_pair(axes: Axes, epochs: range, training: pd.Series, validation: pd.Series) -> None:
    """Draw with a marker per epoch, so that a phase of one epoch is still seen."""
    axes.plot(epochs, training, color=_TRAINING_COLOUR, marker="o", markersize=3.5, label="training")
    axes.plot(epochs, validation, color=_VALIDATION_COLOUR, marker="s", markersize=3.5, label="validation")


def _ring(axes: Axes, epochs: range, validation: npt.NDArray[np.float64], is_kept: npt.NDArray[np.bool_]) -> None:
    """Draw a ring around the validation figure by which the kept epoch was chosen."""
    ink = axes.xaxis.label.get_color()
    for epoch, value in zip(np.asarray(epochs)[is_kept], validation[is_kept], strict=True):
        (ring,) = axes.plot([epoch], [value], color=ink, marker="o", linestyle="none", zorder=4, label="kept epoch")
        ring.set(markersize=10.0, markerfacecolor="none", markeredgewidth=1.4)
        # Highest accuracies lie at the upper edge, which would cut the ring.
        ring.set_clip_on(False)


def _mark_phases(axes: Axes, phases: Iterable[str]) -> None:
    """Name each run of epochs of one phase above the plot, and rule a line between two runs."""
    first = 1
    epochs_of_phase: list[tuple[str, int, int]] = []
    for epoch, phase in enumerate(phases, start=1):
        if epochs_of_phase and epochs_of_phase[-1][0] == phase:
            epochs_of_phase[-1] = (phase, first, epoch)
        else:
            first = epoch
            epochs_of_phase.append((phase, first, epoch))
    for phase, start, end in epochs_of_phase:
        axes.text(
            (start + end) / 2,
            1.0,
            _PHASE_TITLES.get(phase, phase),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
        )
        if start > 1:
            axes.axvline(start - 0.5, color=axes.xaxis.label.get_color(), linestyle="--", linewidth=1.0, alpha=0.6)
