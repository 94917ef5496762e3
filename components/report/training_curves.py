"""The learning curves of both training phases: one drawing for the training steps and for evaluation."""

import dataclasses

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.formats.trained_model import FINE_TUNE_PHASE, PHASES, TrainingRecord
from components.report.charts import SERIES

PHASE_TITLES = dict(zip(PHASES, ("backbone frozen", "fine-tuning"), strict=True))
"""Names of the phases above epochs."""

_TRAINING_COLOUR, _VALIDATION_COLOUR = SERIES[0], SERIES[1]
_TITLES = {"accuracy": "Accuracy", "loss": "Loss"}


@dataclasses.dataclass(frozen=True)
class Before:
    """What validation came to before fine-tuning, with the kept epoch of the frozen phase: where fine-tuning starts."""

    loss: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class TrainingCurves:
    """Figures of training and validation by epoch, ready to draw.

    Draw within ``components.report.charts.chart_style``, and save the figures there too.

    Attributes:
        history: ``HISTORY_COLUMNS``, one row per epoch in the order they were trained; one phase or both.
        kept: Phase and epoch of the model that is kept. One that the history lacks is not marked.
        before: Where fine-tuning starts; None where nobody measured it.
    """

    history: pd.DataFrame
    kept: tuple[str, int]
    before: Before | None = None

    @classmethod
    def of(cls, record: TrainingRecord, history: pd.DataFrame) -> "TrainingCurves":
        """Return the curves of a trained model."""
        loss, accuracy = record.frozen_val_loss, record.frozen_val_accuracy
        before = None if loss is None or accuracy is None else Before(loss, accuracy)
        return cls(history, (record.best_phase, record.best_epoch), before)

    def both(self) -> Figure:
        """Draw accuracy and loss side by side, under one legend."""
        figure = Figure(figsize=(10.0, 3.8))
        for axes, quantity in zip(figure.subplots(1, 2), _TITLES, strict=True):
            self._draw(axes, quantity)
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
        return figure

    def accuracy(self) -> Figure:
        """Draw accuracy alone, for a page as narrow as a telephone."""
        return self._alone("accuracy")

    def loss(self) -> Figure:
        """Draw loss alone, likewise."""
        return self._alone("loss")

    def _alone(self, quantity: str) -> Figure:
        figure = Figure(figsize=(4.6, 3.6))
        axes = figure.subplots()
        self._draw(axes, quantity)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2)
        return figure

    def _draw(self, axes: Axes, quantity: str) -> None:
        """Draw a quantity, each phase by itself: between them the model goes back to the kept epoch of the first."""
        runs = self._runs()
        validation = self.history[f"val_{quantity}"].tolist()
        training = self.history[quantity].tolist()
        # The first draws an empty line where there is no epoch, for the legend.
        for phase, first, last in runs or [("", 1, 0)]:
            epochs, rows = range(first, last + 1), slice(first - 1, last)
            # A marker per epoch, so that a phase of one epoch is still seen.
            (line,) = axes.plot(epochs, training[rows], color=_TRAINING_COLOUR, marker="o", markersize=3.5)
            (of_validation,) = axes.plot(epochs, validation[rows], color=_VALIDATION_COLOUR, marker="s", markersize=3.5)
            if first == 1:
                line.set_label("training")
                of_validation.set_label("validation")
            if phase == FINE_TUNE_PHASE and self.before is not None:
                self._mark_start(axes, getattr(self.before, quantity), first, last, validation[first - 1])
        self._ring_kept(axes, validation)
        axes.set_title(_TITLES[quantity], pad=18)  # the phases' names stand between title and plot
        if quantity == "accuracy":
            axes.set(ylabel="share of images right", ylim=(0.0, 1.03))
        else:
            highest = max([*training, *validation, self.before.loss if self.before else 0.0], default=0.0)
            axes.set(ylabel="loss", ylim=(0.0, 1.08 * highest if highest > 0.0 else 1.0))
        axes.set_xlabel("epoch, counted over both phases" if len(runs) > 1 else "epoch")
        axes.set_xlim(0.5, max(len(self.history), 1) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(axis="y")
        _name_phases(axes, runs)

    def _runs(self) -> list[tuple[str, int, int]]:
        """Return runs of epochs of one phase: its name, first and last epoch counted over all from 1."""
        runs: list[tuple[str, int, int]] = []
        for epoch, phase in enumerate(self.history["phase"], start=1):
            if runs and runs[-1][0] == phase:
                runs[-1] = (phase, runs[-1][1], epoch)
            else:
                runs.append((phase, epoch, epoch))
        return runs

    def _mark_start(self, axes: Axes, value: float, first: int, last: int, of_first: float) -> None:
        """Mark validation before a phase's first epoch, joined to that epoch, and rule it on for comparison."""
        start = first - 0.5
        axes.plot([start, first], [value, of_first], color=_VALIDATION_COLOUR, linewidth=1.0)
        (line,) = axes.plot([start, last + 0.5], [value, value], label="validation before fine-tuning")
        line.set(color=_VALIDATION_COLOUR, linestyle=":", linewidth=1.4, marker="D", markersize=5.0, markevery=[0])
        line.set(markerfacecolor="none", markeredgewidth=1.4, zorder=3.5)
        line.set_clip_on(False)  # what starts at the first epoch of the page lies on its edge

    def _ring_kept(self, axes: Axes, validation: list[float]) -> None:
        """Draw a ring around the validation figure by which the kept epoch was chosen."""
        is_kept = (self.history["phase"] == self.kept[0]) & (self.history["epoch"] == self.kept[1])
        for epoch, (kept, value) in enumerate(zip(is_kept, validation, strict=True), start=1):
            if not kept:
                continue
            ink = axes.xaxis.label.get_color()
            (ring,) = axes.plot([epoch], [value], color=ink, marker="o", linestyle="none", zorder=4, label="kept epoch")
            ring.set(markersize=10.0, markerfacecolor="none", markeredgewidth=1.4)
            # Highest accuracies lie at the upper edge, which would cut the ring.
            ring.set_clip_on(False)


def _name_phases(axes: Axes, runs: list[tuple[str, int, int]]) -> None:
    """Name each run of epochs of one phase above the plot, and rule a line between two runs."""
    for phase, start, end in runs:
        axes.text(
            (start + end) / 2,
            1.0,
            PHASE_TITLES.get(phase, phase),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
        )
        if start > 1:
            axes.axvline(start - 0.5, color=axes.xaxis.label.get_color(), linestyle="--", linewidth=1.0, alpha=0.6)
