"""A tiny dataset and a model that classifies it by colour, written as the split and training steps write theirs."""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from components.formats.splits import Shard, Split, Splits, write_splits
from components.formats.tfrecords import serialize_example
from components.formats.trained_model import (
    HISTORY_COLUMNS,
    HISTORY_FILE,
    KERAS_FILE,
    SAVED_MODEL_FOLDER,
    TrainingRecord,
    write_training_record,
)

IMAGE_SIZE_PX = 32
CLASS_NAMES = ("ash", "birch", "cedar")
# 17 test images: no batch size but 1 and 17 divides it. Two cedars look like birches.
TEST_LABELS = (0,) * 8 + (1,) * 5 + (2,) * 4
LOOKS_LIKE = (*TEST_LABELS[:-2], 1, 1)


@dataclasses.dataclass(frozen=True)
class TinyProject:
    """Folders as a pipeline hands them over."""

    splits: Path
    model: Path


def class_colours(classes: int) -> np.ndarray:
    """Return one colour per class, float32 ``[classes, 3]`` in [0, 255], well apart."""
    return (
        np.random.default_rng(7)
        .permutation(np.stack(np.meshgrid(*[np.linspace(30, 225, 6)] * 3), axis=-1).reshape(-1, 3))[:classes]
        .astype(np.float32)
    )


def write_project(
    directory: Path,
    class_names: Sequence[str] = CLASS_NAMES,
    test_labels: Sequence[int] = TEST_LABELS,
    looks_like: Sequence[int] = LOOKS_LIKE,
    shards: int = 2,
) -> TinyProject:
    """Write splits and a model.

    Args:
        directory: An empty folder.
        class_names: In label order.
        test_labels: True label of each test image.
        looks_like: The class whose colour each test image has, and that the model will answer.
        shards: Of the test split.
    """
    project = TinyProject(directory / "splits", directory / "model")
    project.splits.mkdir()
    project.model.mkdir()
    colours = class_colours(len(class_names))
    random = np.random.default_rng(0)
    records = []
    for number, (label, look) in enumerate(zip(test_labels, looks_like, strict=True)):
        pixels = colours[look] + random.normal(0, 12, (IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3))
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
        path = f"{class_names[label]}/{number:03d}.jpg"
        md5 = hashlib.md5(buffer.getvalue(), usedforsecurity=False).hexdigest()
        records.append(serialize_example(buffer.getvalue(), label, class_names[label], path, md5))
    write_test_split(project.splits, class_names, test_labels, records, shards)
    write_model(project.model, class_names, colours)
    return project


def write_test_split(
    directory: Path, class_names: Sequence[str], labels: Sequence[int], records: Sequence[bytes], shards: int
) -> None:
    """Write the test shards and ``splits.json``."""
    written = []
    for number in range(shards):
        path = directory / f"test-{number:05d}-of-{shards:05d}.tfrecord"
        part = records[number * len(records) // shards : (number + 1) * len(records) // shards]
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in part:
                writer.write(record)
        written.append(Shard(path.name, len(part), hashlib.sha256(path.read_bytes()).hexdigest()))
    counts = {name: list(labels).count(label) for label, name in enumerate(class_names)}
    test = Split(images=len(records), images_per_class=counts, shards=written)
    splits = Splits(
        class_names=list(class_names),
        image_size_px=IMAGE_SIZE_PX,
        resize_policy="stretch",
        seed=17,
        fractions={"train": 0.8, "validation": 0.1, "test": 0.1},
        splits={"train": Split(0, {}, []), "validation": Split(0, {}, []), "test": test},
        dataset_digest="d" * 64,
        certificate={"groups": 4, "groups_across_splits": 0},
    )
    write_splits(splits, directory)


def write_model(directory: Path, class_names: Sequence[str], colours: np.ndarray) -> None:
    """Write a model that answers with the class of the nearest colour, with its records."""
    classes = len(class_names)
    model = keras.Sequential(
        [
            keras.Input((IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes, activation="softmax", name="head"),
        ]
    )
    scaled = colours / 255
    # Softmax of minus 40 times the squared distance to each colour; the term that all classes share cancels.
    model.get_layer("head").set_weights([80 * scaled.T, -40 * (scaled**2).sum(axis=1)])
    model.save(directory / KERAS_FILE)
    model.export(directory / SAVED_MODEL_FOLDER, verbose=False)
    rows = [
        ("frozen", 1, 1.1, 0.4, 1.2, 0.35, 1e-3, 2.0),
        ("frozen", 2, 0.7, 0.7, 0.9, 0.6, 1e-3, 2.0),
        ("fine_tune", 1, 0.4, 0.9, 0.6, 0.8, 1e-5, 5.0),
    ]
    pd.DataFrame(rows, columns=list(HISTORY_COLUMNS[:8])).to_csv(directory / HISTORY_FILE, index=False)
    write_training_record(
        TrainingRecord(
            backbone="tiny",
            weights="random",
            weights_sha256="",
            preprocessing="x / 255",
            class_names=list(class_names),
            image_size_px=IMAGE_SIZE_PX,
            resize_policy="stretch",
            dataset_digest="d" * 64,
            phase="fine_tune",
            best_phase="fine_tune",
            best_epoch=1,
            best_val_loss=0.6,
            best_val_accuracy=0.8,
            images_per_class=dict.fromkeys(class_names, 20),
            devices=["CPU"],
            settings={"frozen": {"epochs": 2}, "fine_tune": {"epochs": 1}},
        ),
        directory,
    )
