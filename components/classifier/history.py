"""How training went, epoch by epoch: as a table on disk and as curves."""

from pathlib import Path

import pandas as pd
from markupsafe import Markup

from components.formats.trained_model import CURVES_FILE, HISTORY_COLUMNS, HISTORY_FILE
from components.report.charts import chart_style, inline_svg, save_png
from components.report.training_curves import TrainingCurves


def write_history(curves: TrainingCurves, directory: Path) -> list[Markup]:
    """Write ``history.csv`` and ``curves.png`` and return the curves as inline SVG: of accuracy, and of loss.

    Args:
        curves: The history, of one phase or both, and what is marked in it.
        directory: The trained model's folder.
    """
    curves.history[list(HISTORY_COLUMNS)].to_csv(directory / HISTORY_FILE, index=False)
    with chart_style():
        save_png(curves.both(), directory / CURVES_FILE)
        return [
            inline_svg(curves.accuracy(), "Accuracy per epoch on training and validation images"),
            inline_svg(curves.loss(), "Loss per epoch on training and validation images"),
        ]


def read_history(directory: Path) -> pd.DataFrame:
    """Read ``history.csv`` of a trained model.

    Raises:
        FileNotFoundError: When there is none.
        ValueError: When it is no table of ``HISTORY_COLUMNS``, or one of them but the phase holds anything but numbers.
    """
    history = pd.read_csv(directory / HISTORY_FILE)
    if missing := [column for column in HISTORY_COLUMNS if column not in history]:
        raise ValueError(f"{HISTORY_FILE} has no column {missing[0]}")
    if history.empty:
        raise ValueError(f"{HISTORY_FILE} has no epochs")
    for column in HISTORY_COLUMNS[1:]:
        if not pd.api.types.is_numeric_dtype(history[column]):
            raise ValueError(f"{HISTORY_FILE}: {column} is not a number in every epoch")
    return history
