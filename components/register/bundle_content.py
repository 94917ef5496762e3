"""What goes into a bundle: the files of training and evaluation, and what is known about them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components import __version__
from components.failures import UserError
from components.formats.evaluation import (
    CONFUSION_MATRIX_FILE,
    CURVES_FILE,
    METRICS_FILE,
    PER_CLASS_FILE,
    ROC_FILE,
    Evaluation,
    read_evaluation,
    read_per_class,
)
from components.formats.model_bundle import (
    LABELS_FILE,
    LABELS_TEXT_FILE,
    LINEAGE_FILE,
    MODEL_CARD_FILE,
    PREPROCESSING_FILE,
    describe_files,
    json_bytes,
)
from components.formats.splits import Splits, read_splits
from components.formats.trained_model import (
    HISTORY_FILE,
    KERAS_FILE,
    SAVED_MODEL_FOLDER,
    TrainingRecord,
    read_training_record,
)
from components.register.model_card import write_model_card
from components.register.version_identity import keras_content_sha256, version_of, weights_sha256

PACKAGE_NAME = "image-classification-components"


@dataclasses.dataclass(frozen=True)
class BundleContent:
    """A bundle before it is placed.

    Attributes:
        version: Identity of the model.
        files: Content, or a local file that holds it, by path inside the bundle.
        evaluation: The scores inside it.
    """

    version: str
    files: Mapping[str, bytes | Path]
    evaluation: Evaluation


def collect_bundle(
    model: Path, evaluation: Path, splits: Path, *, model_name: str, source: str, pipeline_run: str
) -> BundleContent:
    """Collect what makes up the bundle of a trained and evaluated model.

    Args:
        model: Folder of the trained model.
        evaluation: Folder of its evaluation.
        splits: Folder of the splits of both.
        model_name: Name in the registry.
        source: Where the images came from.
        pipeline_run: Name of the run that trained it.

    Raises:
        UserError: When a folder lacks a file, or the three do not belong together.
    """
    try:
        training, scores, contents = read_training_record(model), read_evaluation(evaluation), read_splits(splits)
        per_class = read_per_class(evaluation)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: give the outputs of the steps before this one") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"model, evaluation or splits are damaged ({error}): run the steps before this one") from error
    files = _copied_files(model, evaluation)
    _require_one_model(files, training, scores, contents)
    keras_file = model / KERAS_FILE
    preprocessing = preprocessing_contract(training)
    content_sha256 = keras_content_sha256(keras_file)
    version = version_of(content_sha256, training.class_names, preprocessing, training.dataset_digest)
    lineage = _lineage(training, contents, source, pipeline_run) | {
        "model": {"content_sha256": content_sha256, "weights_sha256": weights_sha256(keras_file)}
    }
    labels = "".join(f"{' '.join(name.splitlines())}\n" for name in training.class_names)
    card = write_model_card(model_name, version, training, contents, scores, per_class, lineage, sorted(files))
    served = any(path.startswith(f"{SAVED_MODEL_FOLDER}/") for path in files)
    written: dict[str, bytes | Path] = {
        LABELS_FILE: json_bytes({"class_names": training.class_names}),
        LABELS_TEXT_FILE: labels.encode(),
        PREPROCESSING_FILE: json_bytes(preprocessing | ({"saved_model": _SAVED_MODEL_CONTRACT} if served else {})),
        LINEAGE_FILE: json_bytes(lineage),
        MODEL_CARD_FILE: card.encode(),
    }
    return BundleContent(version, files | written, scores)


def preprocessing_contract(training: TrainingRecord) -> dict[str, Any]:
    """Return what an image must look like for the model, and what the model does with it itself."""
    size = training.image_size_px
    return {
        "image_size_px": size,
        "channels": "RGB",
        "resize_policy": training.resize_policy,
        "orientation": "upright: training images were turned by their EXIF orientation, callers must turn theirs",
        "inside_the_model": training.preprocessing,
        "model_keras": {
            "input": f"uint8 or float32 [batch, {size}, {size}, 3] in [0, 255]",
            "output": f"float32 [batch, {len(training.class_names)}], probabilities in label order",
        },
    }


_SAVED_MODEL_CONTRACT = {
    "signature": "serving_default",
    "input": "image_bytes: string [batch], encoded image files, upright; decoding and resizing happen inside",
    "output": "probabilities: float32 [batch, classes] in label order; label: string [batch], the likeliest class",
}


def _copied_files(model: Path, evaluation: Path) -> dict[str, bytes | Path]:
    """Return the files taken as they are."""
    required = [model / KERAS_FILE, model / HISTORY_FILE, evaluation / METRICS_FILE, evaluation / PER_CLASS_FILE]
    for path in required:
        if not path.is_file():
            raise UserError(f"{path} is missing: give the outputs of the steps before this one")
    charts = [evaluation / name for name in (CONFUSION_MATRIX_FILE, ROC_FILE, CURVES_FILE)]
    legacy = sorted(model.glob("*.h5"))
    files: dict[str, bytes | Path] = {path.name: path for path in [*required, *charts, *legacy] if path.is_file()}
    for path in sorted((model / SAVED_MODEL_FOLDER).rglob("*")):
        if path.is_file():
            files[path.relative_to(model).as_posix()] = path
    return files


def _require_one_model(
    files: Mapping[str, bytes | Path], training: TrainingRecord, evaluation: Evaluation, splits: Splits
) -> None:
    """Refuse scores of one model on the files of another."""
    if not training.dataset_digest == evaluation.dataset_digest == splits.dataset_digest:
        raise UserError("model, evaluation and splits are of different datasets: give the outputs of one run")
    if not training.class_names == evaluation.class_names == splits.class_names:
        raise UserError("model, evaluation and splits name different classes: give the outputs of one run")
    (keras,) = describe_files({KERAS_FILE: files[KERAS_FILE]})
    if keras.sha256 != evaluation.model_sha256:
        raise UserError(f"the evaluation is of another {KERAS_FILE}: evaluate this model before registering it")


def _lineage(training: TrainingRecord, splits: Splits, source: str, pipeline_run: str) -> dict[str, Any]:
    record = dataclasses.asdict(training)
    return {
        "source": source,
        "pipeline_run": pipeline_run,
        "dataset": {
            "digest": splits.dataset_digest,
            "seed": splits.seed,
            "fractions": splits.fractions,
            "images": {name: split.images for name, split in splits.splits.items()},
            "images_per_class": {name: split.images_per_class for name, split in splits.splits.items()},
            "certificate": splits.certificate,
        },
        "training": {key: value for key, value in record.items() if key not in {"class_names", "dataset_digest"}},
        "package": {"name": PACKAGE_NAME, "version": __version__},
    }
