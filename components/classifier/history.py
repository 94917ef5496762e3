"""How training went, epoch by epoch: as a table on disk and as curves."""

from pathlib import Path

import pandas as pd
from markupsafe import Markup

from components.formats.trained_model import CURVES_FILE, HISTORY_COLUMNS, HISTORY_FILE
from components.report.charts import chart_style, inline_svg, save_png
from components.report.training_curves import training_curves_figure


def write_history(history: pd.DataFrame, kept: tuple[str, int], directory: Path) -> Markup:
    """Write ``history.csv`` and ``curves.png`` and return the curves as inline SVG.

    Args:
        history: ``HISTORY_COLUMNS``, one row per epoch; one phase or both.
        kept: Phase and epoch of the model that is kept.
        directory: The trained model's folder.
    """
    history[list(HISTORY_COLUMNS)].to_csv(directory / HISTORY_FILE, index=False)
    with chart_style():
        figure = training_curves_figure(history, kept)
        save_png(figure, directory / CURVES_FILE)
        return inline_svg(figure, "Accuracy and loss per epoch on training and validation images")


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
