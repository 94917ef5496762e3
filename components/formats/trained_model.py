"""A trained model: what the training steps hand to evaluation and registration.

The folder:

    model/
      model.keras             takes uint8 or float images in [0, 255], [batch, size, size, 3]; returns probabilities
      training.json           TrainingRecord
      history.csv             HISTORY_COLUMNS, one row per epoch, both phases
      curves.png
      tensorboard/            event files, a folder per phase and within it for training and validation
      *.h5                    fine_tune only, when asked for
      training_features.npz   train_frozen only, where it had a cache: see components.formats.training_features
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from components.formats.json_records import record_of
from components.formats.splits import Splits
from components.publishing import write_json

KERAS_FILE = "model.keras"
RECORD_FILE = "training.json"
HISTORY_FILE = "history.csv"
CURVES_FILE = "curves.png"
EVENTS_FOLDER = "tensorboard"
# What register exports it to; it is not in the folder.
SAVED_MODEL_FOLDER = "saved_model/1"
TFLITE_FILE = "model.tflite"
ONNX_FILE = "model.onnx"

FROZEN_PHASE, FINE_TUNE_PHASE = "frozen", "fine_tune"
PHASES = (FROZEN_PHASE, FINE_TUNE_PHASE)

HISTORY_COLUMNS = (
    "phase",  # one of PHASES
    "epoch",  # from 1, counted within the phase
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",  # mean over the epoch's steps
    "seconds",  # all of the epoch, and of it:
    # Until its batches could be asked for and the graph of frozen layers was built, the first time from when training
    # was planned.
    "preparation_seconds",
    "pass_images",  # that went through the frozen layers meanwhile, to keep what they give; and of preparation:
    "pass_input_seconds",  # waiting for these images
    "pass_forward_seconds",  # frozen layers
    "pass_keeping_seconds",  # compressing and writing what they give
    "input_seconds",  # waiting for batches
    "forward_seconds",  # frozen layers, where every epoch goes through them; see preparation_seconds where it does not
    "step_seconds",  # training steps on what they give
    "validation_seconds",
    "checkpoint_seconds",  # keeping the state, after the epoch before and during this one
    "images_per_second",  # while waiting for batches and training on them
    "cpu_cores",  # how many were busy on average
    "gpu_percent",  # how much of the time GPUs were busy; empty without one
    "peak_memory_mb",  # of the process so far
    "peak_gpu_memory_mb",  # of the fullest GPU so far; empty without one
)
"""Every column of the history."""

TIMING_COLUMNS = HISTORY_COLUMNS[HISTORY_COLUMNS.index("seconds") :]
"""Those that differ from run to run."""


@dataclasses.dataclass(frozen=True)
class Resumption:
    """Where an attempt at a phase went on with what earlier ones had kept.

    Attributes:
        epoch: The last one that was finished, from 1; 0 before the first.
        batches: Of the next one that had been trained on.
    """

    epoch: int
    batches: int

    @property
    def in_words(self) -> str:
        """``after epoch 1 and batch 10 of the next`` for example."""
        return f"after epoch {self.epoch}{f' and batch {self.batches} of the next' if self.batches else ''}"


@dataclasses.dataclass(frozen=True)
class TrainingRecord:
    """What ``training.json`` says.

    Attributes:
        backbone: Name of the backbone, ``inception_v3`` for example.
        weights: What the user asked for: ``imagenet``, ``random``, a path or a URI.
        weights_sha256: Digest of the weights file; empty for random weights.
        preprocessing: How the backbone scales pixels, in words; it happens inside the model.
        class_names: In label order.
        image_size_px: Height and width the model takes.
        resize_policy: How an image of another size is brought to it.
        dataset_digest: Of the splits it was trained on.
        phase: The phase this folder was written by.
        best_phase: The phase whose model is kept, by validation loss.
        best_epoch: Its epoch, from 1.
        best_val_loss: Validation loss of that model as it is saved, in float32.
        best_val_accuracy: Its validation accuracy, [0, 1].
        images_per_class: Of the training split.
        devices: What it ran on, for example ``["CPU"]``.
        settings: Every parameter of both phases, by phase.
        shards_digest: See ``trained_shards_digest``; empty in a record of before it was kept.
        training_val_loss: What training measured at that epoch, in the precision it computed in; the history has it
            too. None in a record of before it was kept.
        seconds: Wall time of each phase until its model was ready to be written, in all attempts together; what an
            attempt did after its last checkpoint is not counted. Empty in a record of before it was kept.
        resumed: By phase, where each attempt went on that did not begin at the beginning; likewise.
        frozen_val_loss: Validation loss that fine-tuning starts from: of the frozen phase's kept model, measured before
            the first step in the precision of training, as the history's are; None after the frozen phase.
        frozen_val_accuracy: Likewise, validation accuracy.
    """

    backbone: str
    weights: str
    weights_sha256: str
    preprocessing: str
    class_names: list[str]
    image_size_px: int
    resize_policy: str
    dataset_digest: str
    phase: str
    best_phase: str
    best_epoch: int
    best_val_loss: float
    best_val_accuracy: float
    images_per_class: dict[str, int]
    devices: list[str]
    settings: dict[str, dict[str, Any]]
    shards_digest: str = ""
    training_val_loss: float | None = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    resumed: dict[str, list[Resumption]] = dataclasses.field(default_factory=dict)
    frozen_val_loss: float | None = None
    frozen_val_accuracy: float | None = None

    @property
    def all_seconds(self) -> float | None:
        """Of all phases, None where they were not recorded."""
        return sum(self.seconds.values()) if self.seconds.keys() == self.settings.keys() else None

    def is_of(self, splits: Splits) -> bool:
        """Return whether the model was trained on these very splits, pixels and their order included."""
        return (
            self.dataset_digest == splits.dataset_digest
            and self.class_names == splits.class_names
            and self.image_size_px == splits.image_size_px
            and self.resize_policy == splits.resize_policy
            and (not self.shards_digest or self.shards_digest == trained_shards_digest(splits))
        )


def trained_shards_digest(splits: Splits) -> str:
    """Return the digest of the shards that a training sees: which pixels it learns from and is chosen by."""
    return splits.shards_digest("train", "validation")


def write_training_record(record: TrainingRecord, directory: Path) -> None:
    """Write ``training.json``."""
    write_json(directory / RECORD_FILE, dataclasses.asdict(record))


def read_training_record(directory: Path) -> TrainingRecord:
    """Read ``training.json``.

    Raises:
        FileNotFoundError: When the folder holds no trained model.
        ValueError: When the file is not what ``write_training_record`` writes.
    """
    value = json.loads((directory / RECORD_FILE).read_text(encoding="utf-8"))
    return record_of(TrainingRecord, value, RECORD_FILE)
