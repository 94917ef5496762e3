"""What goes into a bundle: the files of training and evaluation, and what is known about them."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from components import __version__
from components.failures import UserError
from components.formats.champion import Champion
from components.formats.decisions import read_decisions
from components.formats.evaluation import (
    CONFUSION_MATRIX_FILE,
    CURVES_FILE,
    METRICS_FILE,
    PER_CLASS_FILE,
    PREDICTIONS_FILE,
    RELIABILITY_FILE,
    ROC_FILE,
    SLICES_FILE,
    Evaluation,
    predictions_to_keep,
    read_answers,
    read_evaluation,
    read_per_class,
    read_slices,
)
from components.formats.model_bundle import (
    LABELS_FILE,
    LABELS_TEXT_FILE,
    LINEAGE_FILE,
    MODEL_CARD_FILE,
    MODEL_CARD_PAGE,
    PACKAGES_FILE,
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
from components.register.beside_champion import beside_champion
from components.register.lineage import Origin, code_revision, image_reference, installed_packages, value_sha256
from components.register.model_card import (
    Card,
    card_html,
    card_markdown,
    summarize_cleaning,
)
from components.register.model_exports import Exports, exported_files, read_exports
from components.register.promotion_gate import Difference, NotCompared, Scores
from components.register.version_identity import keras_content_sha256, version_of, weights_sha256

PACKAGE_NAME = "image-classification-components"

MOST_PREDICTIONS_BYTES = 16 * 1024**2
"""Of the predictions in a bundle with the probabilities of all classes: 4 million of them."""


@dataclasses.dataclass(frozen=True)
class BundleContent:
    """A bundle before it is placed.

    Attributes:
        version: Identity of the model.
        files: Content, or a local file that holds it, by path inside the bundle.
        scores: What the model has to show at the gate.
        dataset_digest: Of the splits it was trained and tested on.
        predictions: ``components.formats.evaluation.PREDICTION_COLUMNS`` of its test split.
    """

    version: str
    files: Mapping[str, bytes | Path]
    scores: Scores
    dataset_digest: str
    predictions: pd.DataFrame

    def beside(self, champion: Champion) -> Difference | NotCompared:
        """Compare the model with a champion, see ``beside_champion``."""
        return beside_champion(self.predictions, self.dataset_digest, champion)


def collect_bundle(
    model: Path,
    evaluation: Path,
    splits: Path,
    exports: Path,
    decisions: Path | None,
    *,
    model_name: str,
    origin: Origin,
) -> BundleContent:
    """Collect what makes up the bundle of a trained, evaluated and exported model.

    Args:
        model: Folder of the trained model.
        evaluation: Folder of its evaluation.
        splits: Folder of the splits of both.
        exports: Folder of its exports, from ``model_exports.write_exports``.
        decisions: Folder of what cleaning decided about the images; None when there was no cleaning.
        model_name: Name in the registry.
        origin: Where it comes from.

    Raises:
        UserError: When a folder lacks a file, or they do not belong together.
    """
    files = _copied_files(model, evaluation)
    try:
        training, scores, contents = read_training_record(model), read_evaluation(evaluation), read_splits(splits)
        per_class, history = read_per_class(evaluation), pd.read_csv(model / HISTORY_FILE)
        slices, predictions = read_slices(evaluation), read_answers(evaluation / PREDICTIONS_FILE)
        cleaning = None if decisions is None else summarize_cleaning(read_decisions(decisions))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: give the outputs of the steps before this one") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"model, evaluation or splits are damaged ({error}): run the steps before this one") from error
    exported = read_exports(exports)
    keras_file = model / KERAS_FILE
    _require_one_model(keras_file, training, scores, contents)
    if exported.model_sha256 != scores.model_sha256:
        raise UserError(f"the exports are of another {KERAS_FILE}: export this model before registering it")
    files |= exported_files(exports)
    preprocessing = preprocessing_contract(training, exported)
    content_sha256 = keras_content_sha256(keras_file)
    version = version_of(content_sha256, training.class_names, preprocessing, training.dataset_digest)
    lineage = _lineage(training, contents, origin) | {
        "cleaning": cleaning,
        "training_seconds": _training_seconds(training, history),
        "model": {
            "content_sha256": content_sha256,
            "weights_sha256": weights_sha256(keras_file),
            "evaluated_keras_sha256": scores.model_sha256,
        },
        "calibration": dataclasses.asdict(scores.calibration) | {"applied_temperature": exported.temperature},
    }
    labels = "".join(f"{' '.join(name.splitlines())}\n" for name in training.class_names)
    card = Card(model_name, version, training, contents, scores, per_class, slices, lineage, exported, sorted(files))
    served = any(path.startswith(f"{SAVED_MODEL_FOLDER}/") for path in files)
    written: dict[str, bytes | Path] = {
        LABELS_FILE: json_bytes({"class_names": training.class_names}),
        LABELS_TEXT_FILE: labels.encode(),
        PREPROCESSING_FILE: json_bytes(preprocessing | ({"saved_model": _SAVED_MODEL_CONTRACT} if served else {})),
        LINEAGE_FILE: json_bytes(lineage),
        PACKAGES_FILE: installed_packages().encode(),
        MODEL_CARD_FILE: card_markdown(card).encode(),
        MODEL_CARD_PAGE: card_html(card, evaluation).encode(),
    }
    return BundleContent(
        version, files | written, _shown(scores, per_class, exported), training.dataset_digest, predictions
    )


def _shown(evaluation: Evaluation, per_class: pd.DataFrame, exports: Exports) -> Scores:
    recalls = per_class.set_index("class_name")["recall"]
    calibration = evaluation.calibration
    return Scores(
        accuracy=evaluation.accuracy,
        accuracy_low=evaluation.accuracy_low,
        accuracy_high=evaluation.accuracy_high,
        recalls={str(name): None if pd.isna(recall) else float(recall) for name, recall in recalls.items()},
        # Uncalibrated probabilities are served where the temperature is not applied.
        calibration_error=calibration.ece_before if exports.temperature == 1.0 else calibration.ece_after,
        beside=Difference.of(evaluation),
        broken_exports=exports.broken,
    )


def preprocessing_contract(training: TrainingRecord, exports: Exports) -> dict[str, Any]:
    """Return what an image must look like for the model, and what the model does with it itself."""
    size = training.image_size_px
    return {
        "image_size_px": size,
        "channels": "RGB",
        "resize_policy": training.resize_policy,
        "orientation": "upright: training images were turned by their EXIF orientation, callers must turn theirs",
        "inside_the_model": training.preprocessing,
        "temperature": exports.temperature,
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
    """Return the files taken as they are, but for predictions that are too large."""
    required = [model / HISTORY_FILE, *(evaluation / name for name in (METRICS_FILE, PER_CLASS_FILE, PREDICTIONS_FILE))]
    for path in (model / KERAS_FILE, *required):
        if not path.is_file():
            raise UserError(f"{path} is missing: give the outputs of the steps before this one")
    names = (CONFUSION_MATRIX_FILE, ROC_FILE, CURVES_FILE, RELIABILITY_FILE, SLICES_FILE)
    copied = {path.name: path for path in [*required, *(evaluation / name for name in names)] if path.is_file()}
    return copied | {PREDICTIONS_FILE: predictions_to_keep(evaluation, MOST_PREDICTIONS_BYTES)}


def _require_one_model(keras_file: Path, training: TrainingRecord, evaluation: Evaluation, splits: Splits) -> None:
    """Refuse scores of one model on the files of another."""
    if not training.dataset_digest == evaluation.dataset_digest == splits.dataset_digest:
        raise UserError("model, evaluation and splits are of different datasets: give the outputs of one run")
    if not training.class_names == evaluation.class_names == splits.class_names:
        raise UserError("model, evaluation and splits name different classes: give the outputs of one run")
    (keras,) = describe_files({KERAS_FILE: keras_file})
    if keras.sha256 != evaluation.model_sha256:
        raise UserError(f"the evaluation is of another {KERAS_FILE}: evaluate this model before registering it")


def _training_seconds(training: TrainingRecord, history: pd.DataFrame) -> float:
    """Return the wall time of all training steps, in all their attempts; of a record without it, that of the epochs."""
    known = training.all_seconds
    return round(float(history["seconds"].sum()) if known is None else known, 1)


def _lineage(training: TrainingRecord, splits: Splits, origin: Origin) -> dict[str, Any]:
    record, read = dataclasses.asdict(training), splits.source
    return {
        "source": origin.source or (read.uri if read else ""),
        # What ingest read counts; a run knows it beforehand only where it was told at submission.
        "source_fingerprint": read.fingerprint if read else origin.source_fingerprint,
        "source_generation": read.generation if read else 0,
        "source_files": read.files if read else None,
        "pipeline_run": origin.pipeline_run,
        "licence": origin.licence,
        "image": image_reference(),
        "code_revision": code_revision(),
        "packages_sha256": hashlib.sha256(installed_packages().encode()).hexdigest(),
        "dataset": {
            "digest": splits.dataset_digest,
            "splits_sha256": value_sha256(dataclasses.asdict(splits)),
            "seed": splits.seed,
            "fractions": splits.fractions,
            "images": {name: split.images for name, split in splits.splits.items()},
            "images_per_class": {name: split.images_per_class for name, split in splits.splits.items()},
            "certificate": splits.certificate,
        },
        "training": {key: value for key, value in record.items() if key not in {"class_names", "dataset_digest"}},
        "config_sha256": value_sha256(training.settings),
        "package": {"name": PACKAGE_NAME, "version": __version__},
    }
