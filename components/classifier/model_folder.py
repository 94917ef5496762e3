"""Write and read the folder of a trained model, see ``components.formats.trained_model``."""

import contextlib
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from markupsafe import Markup

from components.classifier.history import read_history, write_history
from components.classifier.model_writing import write_keras
from components.classifier.tensorboard_events import write_events
from components.failures import UserError
from components.formats.trained_model import (
    EVENTS_FOLDER,
    KERAS_FILE,
    PHASES,
    RECORD_FILE,
    TrainingRecord,
    read_training_record,
    write_training_record,
)
from components.memory import give_back_memory
from components.report.training_curves import TrainingCurves


def write_trained_model(
    directory: Path, model: keras.Model, record: TrainingRecord, history: pd.DataFrame
) -> list[Markup]:
    """Write model, record, history, event files and curves into a folder; return the curves as inline SVG.

    Raises:
        RuntimeError: When the saved model, loaded again safely, has other layers or weights.
    """
    _save(model, directory / KERAS_FILE)
    give_back_memory()
    write_training_record(record, directory)
    write_events(history, directory / EVENTS_FOLDER)
    return write_history(TrainingCurves.of(record, history), directory)


def _save(model: keras.Model, path: Path) -> None:
    """Write Keras' own format and try what was written, unpacked: a model that cannot come back is no output.

    Keras' own reader of the file holds all of it in memory, beside the model that it makes of it.
    """
    write_keras(model, path)
    folder = path.with_suffix("")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)  # which compares checksums
    again = keras.saving.load_model(folder, compile=False, safe_mode=True)
    if again.to_json() != model.to_json() or not all(map(_same, again.weights, model.weights)):
        raise RuntimeError(f"{path.name} is not the model that was trained")
    shutil.rmtree(folder)


def _same(one: keras.Variable, other: keras.Variable) -> bool:
    return np.array_equal(*(keras.ops.convert_to_numpy(variable) for variable in (one, other)))


def read_training(directory: Path) -> tuple[TrainingRecord, pd.DataFrame]:
    """Read what a folder of this format says about its model: the record and the history.

    Raises:
        UserError: When it is not such a folder.
    """
    with _readable(directory):
        record = read_training_record(directory)
        _require_head(record)
        return record, read_history(directory)


def _require_head(record: TrainingRecord) -> None:
    """Raise ``ValueError`` unless a record says what head the frozen phase made."""
    frozen = record.settings.get(PHASES[0], {})
    units, dropout = frozen.get("head_units"), frozen.get("dropout")
    if not isinstance(units, int) or units < 1:
        raise ValueError(f"{RECORD_FILE} tells no head_units of the frozen phase")
    if not isinstance(dropout, int | float) or not 0.0 <= dropout < 1.0:
        raise ValueError(f"{RECORD_FILE} tells no dropout of the frozen phase")


def read_model(directory: Path) -> keras.Model:
    """Read the model of a folder of this format, without running any code in it.

    Raises:
        UserError: When it is not such a folder, or the model is damaged or unsafe.
    """
    with _readable(directory):
        path = directory / KERAS_FILE
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):  # of which Keras says that there is no such file
                raise ValueError(f"{path.name} is cut short or damaged")
        return keras.saving.load_model(path, compile=False, safe_mode=True)


@contextlib.contextmanager
def _readable(directory: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError:  # says enough itself
        raise
    except (FileNotFoundError, ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{directory} is not a readable trained model ({error}): give the output of train_frozen"
        ) from error
