"""The model card: what a person must know before using a model, in one page of Markdown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from components.formats.evaluation import CONFUSION_MATRIX_FILE, CURVES_FILE, ROC_FILE, Evaluation
from components.formats.splits import Splits
from components.formats.trained_model import KERAS_FILE, SAVED_MODEL_FOLDER, TrainingRecord

_MARKUP = re.compile(r"([\\`*_\[\]<>|~#$&!])")
_CHARTS = {
    CONFUSION_MATRIX_FILE: "Confusion matrix",
    ROC_FILE: "Receiver operating characteristic",
    CURVES_FILE: "Learning curves",
}


def write_model_card(
    model_name: str,
    version: str,
    training: TrainingRecord,
    splits: Splits,
    evaluation: Evaluation,
    per_class: pd.DataFrame,
    lineage: Mapping[str, Any],
    files: Sequence[str],
) -> str:
    """Return the card.

    Args:
        model_name: Name in the registry.
        version: Identity of the model.
        training: How it was trained.
        splits: On what.
        evaluation: How it does.
        per_class: ``PER_CLASS_COLUMNS``.
        lineage: Where it came from.
        files: Of the bundle.
    """
    sections = [
        f"# {literal(model_name)} {version}",
        _what(training),
        "## Results",
        _results(evaluation),
        _class_table(per_class, training),
        *(f"![{title}]({file})" for file, title in _CHARTS.items() if file in files),
        "## Data",
        _data(splits, lineage),
        "## Limits",
        _limits(evaluation, per_class),
        "## Use",
        _use(training, files),
    ]
    return "\n\n".join(sections) + "\n"


def literal(text: str) -> str:
    """Return text that Markdown shows as it is, in one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _what(training: TrainingRecord) -> str:
    names = ", ".join(literal(name) for name in training.class_names[:50])
    more = f" and {len(training.class_names) - 50} more" if len(training.class_names) > 50 else ""
    phase = "fine-tuning" if training.best_phase == "fine_tune" else "the frozen phase"
    return (
        f"Says which of {len(training.class_names)} classes an image shows: {names}{more}.\n\n"
        f"Transfer learning on {literal(training.backbone)} (weights: {literal(training.weights)}) at "
        f"{training.image_size_px} x {training.image_size_px} pixels; kept is epoch {training.best_epoch} of {phase}, "
        f"validation accuracy {training.best_val_accuracy:.3f}."
    )


def _results(evaluation: Evaluation) -> str:
    auc = "n/a" if evaluation.auc_macro is None else f"{evaluation.auc_macro:.3f}"
    rows = [
        ("Accuracy", f"{evaluation.accuracy:.3f} ({evaluation.correct_images} of {evaluation.test_images} images)"),
        ("95 % interval (Wilson)", f"{evaluation.accuracy_low:.3f} to {evaluation.accuracy_high:.3f}"),
        ("Majority guess", f"{evaluation.majority_baseline:.3f} (always {literal(evaluation.majority_class)})"),
        ("Macro precision", f"{evaluation.macro_precision:.3f}"),
        ("Macro recall", f"{evaluation.macro_recall:.3f}"),
        ("Macro F1", f"{evaluation.macro_f1:.3f}"),
        ("Macro AUC, one against the rest", auc),
        ("Log loss", f"{evaluation.log_loss:.3f}"),
    ]
    return "On a held-out test split:\n\n" + _table(("measure", "value"), rows)


def _class_table(per_class: pd.DataFrame, training: TrainingRecord) -> str:
    def number(value: float) -> str:
        return "n/a" if pd.isna(value) else f"{value:.3f}"

    rows = [
        (
            literal(row["class_name"]),
            *(number(row[column]) for column in ("precision", "recall", "f1", "auc")),
            str(row["test_images"]),
            str(training.images_per_class.get(row["class_name"], 0)),
        )
        for row in per_class.to_dict("records")
    ]
    return _table(("class", "precision", "recall", "F1", "AUC", "test images", "training images"), rows)


def _data(splits: Splits, lineage: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{split.images} {name}" for name, split in splits.splits.items())
    lines = [
        f"- Source: {literal(str(lineage['source']))}",
        f"- Images: {counts}; seed {splits.seed}; resized by {literal(splits.resize_policy)}",
        f"- Dataset digest: `{splits.dataset_digest}`",
    ]
    if "groups_across_splits" in splits.certificate:
        lines.append(f"- Groups of copies across splits: {splits.certificate['groups_across_splits']}")
    return "\n".join(lines)


def _limits(evaluation: Evaluation, per_class: pd.DataFrame) -> str:
    lines = [
        "- It always answers with one of its classes, also for an image that shows none of them.",
        "- The results hold for images like those of the source; other cameras, places or seasons are untested.",
        f"- With {evaluation.test_images} test images the accuracy is known to within "
        f"{evaluation.accuracy_low:.2f} to {evaluation.accuracy_high:.2f}.",
    ]
    untested = per_class.loc[per_class["test_images"] == 0, "class_name"].tolist()
    if untested:
        lines.append(f"- Without any test image, so unknown: {', '.join(map(literal, untested))}.")
    weak = per_class[(per_class["test_images"] > 0) & (per_class["recall"] < 0.5)]["class_name"].tolist()
    if weak:
        lines.append(f"- It misses more than half of: {', '.join(map(literal, weak))}.")
    return "\n".join(lines)


def _use(training: TrainingRecord, files: Sequence[str]) -> str:
    size = training.image_size_px
    lines = [
        f"- `{KERAS_FILE}` takes RGB images in [0, 255], `[batch, {size}, {size}, 3]`, and gives probabilities in the "
        "order of `labels.json`. Scaling happens inside the model."
    ]
    if any(file.startswith(f"{SAVED_MODEL_FOLDER}/") for file in files):
        lines.append(f"- `{SAVED_MODEL_FOLDER}/` serves with TF Serving or KServe and takes encoded image files.")
    lines.append("- `manifest.json` holds the SHA-256 of every file, `lineage.json` the way here.")
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
