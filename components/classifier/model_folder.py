"""Write and read the folder of a trained model, see ``components.formats.trained_model``."""

import zipfile
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from markupsafe import Markup

from components.classifier.history import read_history, write_history
from components.classifier.tensorboard_events import write_events
from components.failures import UserError
from components.formats.trained_model import (
    EVENTS_FOLDER,
    KERAS_FILE,
    TrainingRecord,
    read_training_record,
    write_training_record,
)

_PIXELS_AGREE_WITHIN = 1e-5


def write_trained_model(directory: Path, model: keras.Model, record: TrainingRecord, history: pd.DataFrame) -> Markup:
    """Write model, record, history, event files and curves into a folder; return the curves as inline SVG.

    Raises:
        RuntimeError: When the saved model, loaded again safely, does not predict what the model predicts.
    """
    model.save(directory / KERAS_FILE)
    _check_saved(directory / KERAS_FILE, model)
    write_training_record(record, directory)
    write_events(history, directory / EVENTS_FOLDER)
    return write_history(history, directory)


def _check_saved(path: Path, model: keras.Model) -> None:
    """Load what was written as its readers will: a model that cannot come back is no output."""
    again = keras.saving.load_model(path, compile=False, safe_mode=True)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *model.input_shape[1:])).astype(np.float32)
    if not np.allclose(model(pixels, training=False), again(pixels, training=False), atol=_PIXELS_AGREE_WITHIN):
        raise RuntimeError(f"{path.name} does not predict what the trained model predicts")


def read_trained_model(directory: Path) -> tuple[keras.Model, TrainingRecord, pd.DataFrame]:
    """Read a folder of this format; the model is loaded without running any code in it.

    Raises:
        UserError: When it is not such a folder, or the model is damaged or unsafe.
    """
    try:
        record = read_training_record(directory)
        history = read_history(directory)
        model = keras.saving.load_model(directory / KERAS_FILE, compile=False, safe_mode=True)
    except (FileNotFoundError, ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{directory} is not a readable trained model ({error}): give the output of train_frozen"
        ) from error
    return model, record, history
