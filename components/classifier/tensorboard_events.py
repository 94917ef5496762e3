"""A history as event files of TensorBoard: ``tensorboard --logdir model/tensorboard``.

They are written without TensorBoard, which training images do without: an event file holds ``Event`` messages in the
framing of TFRecords, see tensorflow/core/util/event.proto and events_writer.h.
"""

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

from components.formats.trained_model import HISTORY_COLUMNS

_FORMAT = "brain.Event:2"
# TensorBoard draws the same tag of two runs into one chart, as here training's and validation's.
_VALIDATION_PREFIX = "val_"
_NO_FIGURES = ("phase", "epoch")


def write_events(history: pd.DataFrame, directory: Path) -> None:
    """Write a run for training and one for validation of each phase; steps are epochs, counted over both phases.

    Args:
        history: ``HISTORY_COLUMNS`` in the order they were trained.
        directory: To be made.
    """
    began = time.time() - float(history["seconds"].sum())
    rows = history.assign(step=range(1, len(history) + 1), ended=began + history["seconds"].cumsum())
    for phase, of_phase in rows.groupby("phase", sort=False):
        for validation, run in ((False, "train"), (True, "validation")):
            path = directory / str(phase) / run / f"events.out.tfevents.{int(began):010d}.{phase}"
            path.parent.mkdir(parents=True)
            with tf.io.TFRecordWriter(str(path)) as writer:
                writer.write(tf.compat.v1.Event(wall_time=began, file_version=_FORMAT).SerializeToString())
                for row in of_phase.to_dict("records"):
                    values = [
                        tf.compat.v1.Summary.Value(tag=tag, simple_value=value)
                        for tag, value in _figures(row, validation)
                    ]
                    event = tf.compat.v1.Event(
                        wall_time=row["ended"], step=row["step"], summary=tf.compat.v1.Summary(value=values)
                    )
                    writer.write(event.SerializeToString())


def _figures(row: Mapping[Any, Any], validation: bool) -> Iterator[tuple[str, float]]:
    for column in HISTORY_COLUMNS:
        if column in _NO_FIGURES or column.startswith(_VALIDATION_PREFIX) != validation:
            continue
        value = row[column]
        if value is not None and math.isfinite(value):
            yield column.removeprefix(_VALIDATION_PREFIX), float(value)
