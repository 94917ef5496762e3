"""What a history says about speed, and what in it a person should look at."""

import numpy as np
import pandas as pd

# Less time than this says nothing about what a training spends its time on: graphs are built in it.
_LEAST_SECONDS = 10.0
_INPUT_BOUND_SHARE = 0.5
# What passes from the first batch of an epoch to its last; see HISTORY_COLUMNS.
_OF_TRAINING = ["input_seconds", "forward_seconds", "step_seconds"]


def measured_figures(history: pd.DataFrame) -> dict[str, float]:
    """Return figures of a phase by name, those that are known: speed, waiting, use of the machine.

    Args:
        history: ``HISTORY_COLUMNS`` of one phase, at least one row.
    """
    figures = {
        "images_per_second": _images(history) / max(_training_seconds(history), 1e-6),
        "input_share": _share(history, "input_seconds"),
        "forward_share": _share(history, "forward_seconds"),
        "cpu_cores": _mean(history, "cpu_cores"),
        "gpu_percent": _mean(history, "gpu_percent"),
        "peak_memory_mb": _highest(history, "peak_memory_mb"),
        "peak_gpu_memory_mb": _highest(history, "peak_gpu_memory_mb"),
    }
    return {name: round(value, 3) for name, value in figures.items() if np.isfinite(value)}


def training_warnings(history: pd.DataFrame, val_accuracy: float, labels: np.ndarray) -> list[str]:
    """Return sentences about what a person should look at; none when all is well.

    Args:
        history: ``HISTORY_COLUMNS`` of one phase, at least one row.
        val_accuracy: Of the best epoch, [0, 1].
        labels: Of the validation images, int64 ``[images]``.
    """
    warnings = []
    majority = float(np.bincount(labels).max() / len(labels))
    if val_accuracy < majority:
        warnings.append(
            f"validation accuracy {val_accuracy:.1%} is below the {majority:.1%} of always naming the largest class: "
            "look at the labels and at weights, or train longer"
        )
    share = _share(history, "input_seconds")
    if share > _INPUT_BOUND_SHARE and _training_seconds(history) > _LEAST_SECONDS:
        warnings.append(
            f"{share:.0%} of training was spent waiting for images: more processors, or less augmentation, would make "
            "it faster; a faster GPU would not"
        )
    return warnings


def time_shares(history: pd.DataFrame) -> dict[str, float]:
    """Return seconds by what the time of a phase went into, in words; the rest is what none of the columns counts."""
    columns = {
        "features, preparation": "preparation_seconds",
        "waiting for images": "input_seconds",
        "frozen layers, in every epoch": "forward_seconds",
        "training steps": "step_seconds",
        "validation": "validation_seconds",
        "checkpoints": "checkpoint_seconds",
    }
    seconds = {words: float(history[column].sum()) for words, column in columns.items()}
    rest = float(history["seconds"].sum()) - sum(seconds.values())
    return {**seconds, "rest": max(rest, 0.0)}


def _training_seconds(history: pd.DataFrame) -> float:
    return float(history[_OF_TRAINING].sum().sum())


def _images(history: pd.DataFrame) -> float:
    return float((history["images_per_second"] * history[_OF_TRAINING].sum(axis=1)).sum())


def _share(history: pd.DataFrame, column: str) -> float:
    """Of training from the first batch of an epoch to the last."""
    return float(history[column].sum() / max(_training_seconds(history), 1e-6))


def _mean(history: pd.DataFrame, column: str) -> float:
    """Weighted by how long each epoch took."""
    known = history[history[column].notna()]
    weight = known["seconds"].astype(float) + 1e-6
    return float((known[column].astype(float) * weight).sum() / weight.sum()) if len(known) else float("nan")


def _highest(history: pd.DataFrame, column: str) -> float:
    return float(history[column].astype(float).max())
