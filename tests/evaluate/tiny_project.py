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

from components.evaluate.evaluation import evaluate_model
from components.formats.findings import FACTS_FILE, FINDING_COLUMNS, MEASUREMENT_COLUMNS, write_findings
from components.formats.splits import ASSIGNMENTS_FILE, Shard, Split, Splits, write_splits
from components.formats.tfrecords import serialize_example
from components.formats.trained_model import (
    HISTORY_COLUMNS,
    HISTORY_FILE,
    KERAS_FILE,
    TrainingRecord,
    write_training_record,
)
from components.publishing import write_json

IMAGE_SIZE_PX = 32
CLASS_NAMES = ("ash", "birch", "cedar")
# 17 test images: no batch size but 1 and 17 divides it. Two cedars look like birches.
TEST_LABELS = (0,) * 8 + (1,) * 5 + (2,) * 4
LOOKS_LIKE = (*TEST_LABELS[:-2], 1, 1)
# Of 40 validation images four look like another class.
VALIDATION_LABELS = (0,) * 16 + (1,) * 12 + (2,) * 12
VALIDATION_LOOKS_LIKE = (*VALIDATION_LABELS[:-4], 1, 1, 1, 0)
VALIDATION = (VALIDATION_LABELS, VALIDATION_LOOKS_LIKE)


@dataclasses.dataclass(frozen=True)
class TinyProject:
    """Folders as a pipeline hands them over."""

    splits: Path
    model: Path
    findings: Path
    frozen: Path


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
    training_labels: Sequence[int] = (),
    training_looks_like: Sequence[int] = (),
) -> TinyProject:
    """Write splits and a model.

    Args:
        directory: An empty folder.
        class_names: In label order.
        test_labels: True label of each test image.
        looks_like: The class whose colour each test image has, and that the model will answer.
        shards: Of the test split.
        training_labels: Likewise, of training images.
        training_looks_like: Likewise.
    """
    project = TinyProject(*(directory / name for name in ("splits", "model", "findings", "frozen")))
    for folder in (project.splits, project.model, project.findings, project.frozen):
        folder.mkdir()
    colours = class_colours(len(class_names))
    test = draw_images("", class_names, test_labels, looks_like, colours)
    # Of two classes the third's validation images are the second's.
    labels, looks = ([min(label, len(class_names) - 1) for label in of_images] for of_images in VALIDATION)
    validation = draw_images("validation-", class_names, labels, looks, colours)
    training = draw_images("train-", class_names, training_labels, training_looks_like, colours)
    write_all_splits(
        project.splits,
        class_names,
        write_shards(project.splits, "train", [image.record for image in training], 2),
        write_shards(project.splits, "test", [image.record for image in test], shards),
        write_shards(project.splits, "validation", [image.record for image in validation], 1),
        test_labels,
    )
    write_measurements(project.findings, [*test, *training])
    write_assignments(project.splits, training)
    write_model(project.model, class_names, colours, "fine_tune")
    write_model(project.frozen, class_names, colours, "frozen")
    return project


@dataclasses.dataclass(frozen=True)
class DrawnImage:
    """An image of one colour, and noise."""

    path: str
    label: str
    record: bytes
    md5: str
    brightness: float


def draw_images(
    prefix: str, class_names: Sequence[str], labels: Sequence[int], looks_like: Sequence[int], colours: np.ndarray
) -> list[DrawnImage]:
    """Draw one image per label, in the colour of the class it looks like."""
    random = np.random.default_rng(0)
    images = []
    for number, (label, look) in enumerate(zip(labels, looks_like, strict=True)):
        pixels = (colours[look] + random.normal(0, 12, (IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3))).clip(0, 255)
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=95)
        path = f"{class_names[label]}/{prefix}{number:03d}.jpg"
        md5 = hashlib.md5(buffer.getvalue(), usedforsecurity=False).hexdigest()
        record = serialize_example(buffer.getvalue(), label, class_names[label], path, md5)
        images.append(DrawnImage(path, class_names[label], record, md5, float(pixels.mean())))
    return images


def write_measurements(directory: Path, images: Sequence[DrawnImage]) -> None:
    """Write what an audit would have measured, and no finding."""
    measurements = pd.DataFrame(
        {
            "path": [image.path for image in images],
            "label": [image.label for image in images],
            "format": "JPEG",
            "mode": "RGB",
            "width_px": 64,
            "height_px": 48,
            "brightness": [image.brightness for image in images],
            "contrast": 12.0,
            "grayscale": False,
            "error": None,
            "blur": 0.4,
        }
    ).astype(dict(MEASUREMENT_COLUMNS))
    findings = pd.DataFrame({name: [] for name in FINDING_COLUMNS}).astype(dict(FINDING_COLUMNS))
    write_findings(findings, measurements, directory)
    write_json(directory / FACTS_FILE, {"images": len(images)})


def write_shards(directory: Path, split: str, records: Sequence[bytes], shards: int) -> Split:
    """Write the shards of a split."""
    written = []
    for number in range(shards):
        path = directory / f"{split}-{number:05d}-of-{shards:05d}.tfrecord"
        part = records[number * len(records) // shards : (number + 1) * len(records) // shards]
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in part:
                writer.write(record)
        written.append(Shard(path.name, len(part), hashlib.sha256(path.read_bytes()).hexdigest()))
    return Split(images=len(records), images_per_class={}, shards=written)


def write_assignments(directory: Path, training: Sequence[DrawnImage]) -> None:
    """Write which split training images are in; none is a copy of another."""
    table = pd.DataFrame({"path": [image.path for image in training], "label": [image.label for image in training]})
    groups = pd.Series(None, index=table.index, dtype="str")
    table.assign(split="train", duplicate_group=groups, pattern_group=groups).to_parquet(directory / ASSIGNMENTS_FILE)


def write_all_splits(
    directory: Path,
    class_names: Sequence[str],
    train: Split,
    test: Split,
    validation: Split,
    test_labels: Sequence[int],
) -> None:
    """Write ``splits.json``."""
    counts = {name: list(test_labels).count(label) for label, name in enumerate(class_names)}
    splits = Splits(
        class_names=list(class_names),
        image_size_px=IMAGE_SIZE_PX,
        resize_policy="stretch",
        seed=17,
        fractions={"train": 0.8, "validation": 0.1, "test": 0.1},
        splits={
            "train": train,
            "validation": validation,
            "test": dataclasses.replace(test, images_per_class=counts),
        },
        dataset_digest="d" * 64,
        certificate={"groups": 4, "groups_across_splits": 0},
    )
    write_splits(splits, directory)


def evaluate_project(
    project: TinyProject,
    evaluation: Path,
    report: Path,
    batch_size: int = 4,
    registry_uri: str = "",
    label_check_images: int = 1000,
) -> None:
    """Evaluate the model of a project; its findings come to lie beside the evaluation, as ``suspected``."""
    evaluate_model(
        project.splits,
        project.model,
        project.findings,
        evaluation,
        report,
        evaluation.with_name("suspected"),
        frozen_model=project.frozen,
        label_check_images=label_check_images,
        registry_uri=registry_uri,
        model_name="trees",
        pipeline_run="run-1",
        batch_size=batch_size,
        seed=20260,
    )


def write_model(directory: Path, class_names: Sequence[str], colours: np.ndarray, phase: str) -> None:
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
            phase=phase,
            best_phase=phase,
            best_epoch=1,
            best_val_loss=0.6,
            best_val_accuracy=0.8,
            images_per_class=dict.fromkeys(class_names, 20),
            devices=["CPU"],
            settings={"frozen": {"epochs": 2}, "fine_tune": {"epochs": 1}},
        ),
        directory,
    )
