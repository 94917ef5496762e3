"""Event files hold both phases, epochs counted over both, in the format that TensorFlow itself reads."""

from pathlib import Path

import pandas as pd
import pytest
import tensorflow as tf

from components.classifier.tensorboard_events import write_events
from components.formats.trained_model import HISTORY_COLUMNS


def row(phase: str, epoch: int, val_loss: float) -> dict[str, object]:
    figures = dict.fromkeys(HISTORY_COLUMNS, 0.5)
    return {**figures, "phase": phase, "epoch": epoch, "val_loss": val_loss, "seconds": 3.0, "gpu_percent": None}


def read(run: Path) -> list[tuple[int, float, dict[str, float]]]:
    """Return step, time and figures of each event after the first, which names the format."""
    [path] = run.iterdir()
    assert "tfevents" in path.name
    first, *events = tf.compat.v1.train.summary_iterator(str(path))
    assert first.file_version == "brain.Event:2"
    return [
        (event.step, event.wall_time, {value.tag: value.simple_value for value in event.summary.value})
        for event in events
    ]


def test_both_phases_are_runs_of_training_and_validation(tmp_path: Path) -> None:
    history = pd.DataFrame([row("frozen", 1, 0.9), row("frozen", 2, 0.8), row("fine_tune", 1, 0.7)])

    write_events(history, tmp_path / "tensorboard")

    runs = sorted(path.relative_to(tmp_path / "tensorboard").as_posix() for path in tmp_path.glob("*/*/*"))
    assert runs == ["fine_tune/train", "fine_tune/validation", "frozen/train", "frozen/validation"]
    frozen = read(tmp_path / "tensorboard" / "frozen" / "validation")
    assert [step for step, _, _ in frozen] == [1, 2]
    assert frozen[1][1] - frozen[0][1] == pytest.approx(3.0)
    [(step, _, figures)] = read(tmp_path / "tensorboard" / "fine_tune" / "validation")
    assert (step, figures) == (3, {"loss": pytest.approx(0.7), "accuracy": 0.5})
    [(_, _, trained)] = read(tmp_path / "tensorboard" / "fine_tune" / "train")
    assert {"loss", "accuracy", "learning_rate", "images_per_second", "input_seconds"} <= trained.keys()
    assert "gpu_percent" not in trained
