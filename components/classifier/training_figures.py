"""What a history says about speed, and what in it a person should look at."""

import numpy as np
import pandas as pd

# Less time than this says nothing about what a training spends its time on: graphs are built in it.
_LEAST_SECONDS = 10.0
_INPUT_BOUND_SHARE = 0.5
# What passes from the first batch of an epoch to its last; see HISTORY_COLUMNS.
_OF_TRAINING = ["input_seconds", "forward_seconds", "step_seconds"]
_OF_PASS = ["pass_input_seconds", "pass_forward_seconds", "pass_keeping_seconds"]


def measured_figures(history: pd.DataFrame) -> dict[str, float]:
    """Return figures of a phase by name, those that are known: speed, waiting, use of the machine.

    Args:
        history: ``HISTORY_COLUMNS`` of one phase, at least one row.
    """
    figures = {
        "images_per_second": _images(history) / max(_seconds(history, _OF_TRAINING), 1e-6),
        "pass_images_per_second": _pass_images_per_second(history),
        "input_share": _share(history, ["input_seconds", "pass_input_seconds"]),
        "forward_share": _share(history, ["forward_seconds", "pass_forward_seconds"]),
        "cpu_cores": _mean(history, "cpu_cores"),
        "gpu_percent": _mean(history, "gpu_percent"),
        "peak_memory_mb": _highest(history, "peak_memory_mb"),
        "peak_gpu_memory_mb": _highest(history, "peak_gpu_memory_mb"),
    }
    return {name: round(value, 3) for name, value in figures.items() if np.isfinite(value)}


def training_warnings(history: pd.DataFrame) -> list[str]:
    """Return sentences about what a person should look at in how training went; none when all is well.

    Args:
        history: ``HISTORY_COLUMNS`` of one phase, at least one row.
    """
    warnings = []
    share = _share(history, ["input_seconds", "pass_input_seconds"])
    if share > _INPUT_BOUND_SHARE and _seconds(history, _OF_TRAINING + _OF_PASS) > _LEAST_SECONDS:
        warnings.append(
            f"{share:.0%} of training was spent waiting for images: more processors, or less augmentation, would make "
            "it faster; a faster GPU would not"
        )
    return warnings


def _seconds(history: pd.DataFrame, columns: list[str]) -> float:
    return float(history[columns].sum().sum())


def _pass_images_per_second(history: pd.DataFrame) -> float:
    """Return how many images a second went through the frozen layers to be kept; not a number where none did."""
    images = float(history["pass_images"].sum())
    return images / max(_seconds(history, _OF_PASS), 1e-6) if images else float("nan")


def _images(history: pd.DataFrame) -> float:
    return float((history["images_per_second"] * history[_OF_TRAINING].sum(axis=1)).sum())


def _share(history: pd.DataFrame, columns: list[str]) -> float:
    """Of training from the first batch of an epoch to the last, and of the passes before."""
    return _seconds(history, columns) / max(_seconds(history, _OF_TRAINING + _OF_PASS), 1e-6)


def _mean(history: pd.DataFrame, column: str) -> float:
    """Weighted by how long each epoch took."""
    known = history[history[column].notna()]
    weight = known["seconds"].astype(float) + 1e-6
    return float((known[column].astype(float) * weight).sum() / weight.sum()) if len(known) else float("nan")


def _highest(history: pd.DataFrame, column: str) -> float:
    return float(history[column].astype(float).max())
