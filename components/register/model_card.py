"""The model card: what a person must know before using a model, as Markdown and as a page.

After Mitchell et al. 2019, "Model cards for model reporting".
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from components.formats.evaluation import (
    CONFUSION_MATRIX_FILE,
    CURVES_FILE,
    RELIABILITY_FILE,
    ROC_FILE,
    Evaluation,
)
from components.formats.splits import Splits
from components.formats.trained_model import KERAS_FILE, ONNX_FILE, SAVED_MODEL_FOLDER, TFLITE_FILE, TrainingRecord
from components.register.model_exports import Exports
from components.report.page import data_uri, render_page

_MARKUP = re.compile(r"([\\`*_\[\]<>|~#$&!])")
_CHARTS = {
    CONFUSION_MATRIX_FILE: "Confusion matrix",
    ROC_FILE: "Receiver operating characteristic",
    RELIABILITY_FILE: "Reliability of the probabilities",
    CURVES_FILE: "Learning curves",
}


@dataclasses.dataclass(frozen=True)
class Card:
    """What a card tells.

    Attributes:
        model_name: Name in the registry.
        version: Identity of the model.
        training: How it was trained.
        splits: On what.
        evaluation: How it does.
        per_class: ``PER_CLASS_COLUMNS``.
        slices: How it does on parts of the test split; None when nobody looked.
        lineage: Where it came from.
        exports: What was made of it, and how it answered.
        files: Of the bundle.
    """

    model_name: str
    version: str
    training: TrainingRecord
    splits: Splits
    evaluation: Evaluation
    per_class: pd.DataFrame
    slices: pd.DataFrame | None
    lineage: Mapping[str, Any]
    exports: Exports
    files: Sequence[str]


def summarize_cleaning(decisions: pd.DataFrame) -> dict[str, Any]:
    """Return how many images cleaning kept, and how many it dropped for each reason.

    Args:
        decisions: The catalog with ``DECISION_COLUMNS`` and ``DETAIL_COLUMNS``.
    """
    dropped = decisions[~decisions["keep"].astype(bool)]
    by_check = dropped["check"].fillna("deny_list").value_counts().sort_index()
    return {
        "images": len(decisions),
        "kept_images": len(decisions) - len(dropped),
        "fixed_images": int((decisions["action"] == "fix").sum()),
        "dropped_by_check": {str(check): int(count) for check, count in by_check.items()},
    }


def card_markdown(card: Card) -> str:
    """Return the card as Markdown."""
    slices = ["## Slices", _slice_table(card.slices)] if card.slices is not None else []
    sections = [
        f"# {literal(card.model_name)} {card.version}",
        _what(card.training),
        "## Results",
        _results(card),
        _class_table(card.per_class, card.training),
        *(f"![{title}]({file})" for file, title in _CHARTS.items() if file in card.files),
        *slices,
        "## Data",
        _list(_data(card)),
        "## Cleaning",
        _list(_cleaning(card.lineage)),
        "## Training",
        _list(_training(card)),
        "## Limits",
        _list(_limits(card.evaluation, card.per_class)),
        "## Use",
        _list(_use(card)),
        "## Exports",
        _export_table(card.exports),
        "## Lineage",
        _table(("what", "value"), [(name, f"`{value}`") for name, value in _lineage(card)]),
        "## Licence",
        _licence(card.lineage),
    ]
    return "\n\n".join(sections) + "\n"


def card_html(card: Card, files: Mapping[str, bytes | Path]) -> str:
    """Return the card as one self-contained page.

    Args:
        card: What it tells.
        files: Of the bundle: the charts among them are shown.
    """
    charts = {
        title: data_uri(data.read_bytes() if isinstance(data := files[file], Path) else data, "image/png")
        for file, title in _CHARTS.items()
        if file in files
    }
    classes = card.per_class.astype(object).where(card.per_class.notna(), None).to_dict("records")
    return render_page(
        Path(__file__).parent,
        "model_card.html",
        card=card,
        e=card.evaluation,
        training=card.training,
        charts=charts,
        classes=classes,
        slices=[]
        if card.slices is None
        else card.slices.astype(object).where(card.slices.notna(), None).to_dict("records"),
        what=_plain(_what(card.training)),
        data=_plain(_data(card)),
        cleaning=_plain(_cleaning(card.lineage)),
        trained=_plain(_training(card)),
        limits=_plain(_limits(card.evaluation, card.per_class)),
        use=_plain(_use(card)),
        lineage=_lineage(card),
        licence=_plain([_licence(card.lineage)])[0],
    )


def literal(text: str) -> str:
    """Return text that Markdown shows as it is, in one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _plain(lines: Sequence[str] | str) -> list[str]:
    """Return lines of Markdown as text: the page escapes in its own way."""
    given = lines.split("\n\n") if isinstance(lines, str) else lines
    return [re.sub(r"\\([\\`*_\[\]<>|~#$&!])", r"\1", line.replace("`", "")) for line in given]


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


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


def _results(card: Card) -> str:
    e = card.evaluation
    auc = "n/a" if e.auc_macro is None else f"{e.auc_macro:.3f}"
    rows = [
        ("Accuracy", f"{e.accuracy:.3f} ({e.correct_images} of {e.test_images} images)"),
        ("95 % interval (Wilson)", f"{e.accuracy_low:.3f} to {e.accuracy_high:.3f}"),
        ("Majority guess", f"{e.majority_baseline:.3f} (always {literal(e.majority_class)})"),
        ("Macro precision", f"{e.macro_precision:.3f}"),
        ("Macro recall", f"{e.macro_recall:.3f}"),
        ("Macro F1", f"{e.macro_f1:.3f}"),
        ("Macro AUC, one against the rest", auc),
        ("Log loss", f"{e.log_loss:.3f}"),
    ]
    for key, name in (("ece_before", "as trained"), ("ece_after", "with the temperature")):
        if (error := getattr(e.calibration, key)) is not None:
            rows.append((f"Calibration error, {name}", f"{error:.3f}"))
    rows.append(("Temperature applied", f"{card.exports.temperature:.3f}"))
    return "On a held-out test split:\n\n" + _table(("measure", "value"), rows)


def _number(value: float) -> str:
    return "n/a" if pd.isna(value) else f"{value:.3f}"


def _class_table(per_class: pd.DataFrame, training: TrainingRecord) -> str:
    rows = [
        (
            literal(row["class_name"]),
            *(_number(row[column]) for column in ("precision", "recall", "f1", "auc")),
            str(row["test_images"]),
            str(training.images_per_class.get(row["class_name"], 0)),
        )
        for row in per_class.to_dict("records")
    ]
    return _table(("class", "precision", "recall", "F1", "AUC", "test images", "training images"), rows)


def _slice_table(slices: pd.DataFrame) -> str:
    rows = [
        (
            literal(str(row["measure"])),
            literal(str(row["slice"])),
            str(row["images"]),
            _number(row["accuracy"]),
            "n/a" if pd.isna(row["accuracy"]) else f"{row['low']:.3f} to {row['high']:.3f}",
        )
        for row in slices.to_dict("records")
    ]
    return _table(("measure", "slice", "images", "accuracy", "95 % interval"), rows)


def _data(card: Card) -> list[str]:
    splits = card.splits
    counts = ", ".join(f"{split.images} {name}" for name, split in splits.splits.items())
    lines = [
        f"Source: {literal(str(card.lineage['source']))}",
        f"Images: {counts}; seed {splits.seed}; resized by {literal(splits.resize_policy)}",
        f"Dataset digest: `{splits.dataset_digest}`",
    ]
    if "groups_across_splits" in splits.certificate:
        lines.append(f"Groups of copies across splits: {splits.certificate['groups_across_splits']}")
    return lines


def _cleaning(lineage: Mapping[str, Any]) -> list[str]:
    cleaning = lineage["cleaning"]
    if not cleaning:
        return ["Not known: the model was registered without the decisions of a cleaning."]
    lines = [
        f"{cleaning['kept_images']} of {cleaning['images']} images were kept, {cleaning['fixed_images']} of them mended"
    ]
    lines += [f"Dropped for {literal(check)}: {count}" for check, count in cleaning["dropped_by_check"].items()]
    return lines


def _training(card: Card) -> list[str]:
    lines = [
        f"{literal(phase)}: " + ", ".join(f"{literal(name)} {literal(str(value))}" for name, value in settings.items())
        for phase, settings in card.training.settings.items()
    ]
    devices = ", ".join(literal(device) for device in card.training.devices)
    return [*lines, f"On {devices}, {card.lineage['training_seconds']:.0f} s in all epochs"]


def _limits(evaluation: Evaluation, per_class: pd.DataFrame) -> list[str]:
    lines = [
        "It always answers with one of its classes, also for an image that shows none of them.",
        "The results hold for images like those of the source; other cameras, places or seasons are untested.",
        f"With {evaluation.test_images} test images the accuracy is known to within "
        f"{evaluation.accuracy_low:.2f} to {evaluation.accuracy_high:.2f}.",
    ]
    untested = per_class.loc[per_class["test_images"] == 0, "class_name"].tolist()
    if untested:
        lines.append(f"Without any test image, so unknown: {', '.join(map(literal, untested))}.")
    weak = per_class[(per_class["test_images"] > 0) & (per_class["recall"] < 0.5)]["class_name"].tolist()
    if weak:
        lines.append(f"It misses more than half of: {', '.join(map(literal, weak))}.")
    return lines


def _use(card: Card) -> list[str]:
    size = card.training.image_size_px
    lines = [
        f"`{KERAS_FILE}` takes RGB images in [0, 255], `[batch, {size}, {size}, 3]`, and gives probabilities in the "
        "order of `labels.json`. Scaling happens inside the model."
    ]
    if any(file.startswith(f"{SAVED_MODEL_FOLDER}/") for file in card.files):
        lines.append(f"`{SAVED_MODEL_FOLDER}/` serves with TF Serving or KServe and takes encoded image files.")
    if TFLITE_FILE in card.files:
        lines.append(f"`{TFLITE_FILE}` takes what `{KERAS_FILE}` takes, its weights in half precision.")
    if ONNX_FILE in card.files:
        lines.append(f"`{ONNX_FILE}` takes float32 of what `{KERAS_FILE}` takes.")
    lines.append("`golden_batch.json` holds a predict request and what a server must answer to it.")
    lines.append("`manifest.json` holds the SHA-256 of every file, `lineage.json` the way here.")
    return lines


def _export_table(exports: Exports) -> str:
    rows = [
        (
            f"`{check.path}`",
            f"{check.largest_difference:.1e}",
            f"{check.tolerance:.0e}",
            "yes" if check.passed else "NO",
        )
        for check in exports.checks
    ]
    return f"Each was loaded in a fresh process and asked about {exports.golden_images} test images.\n\n" + _table(
        ("export", "largest difference of a probability", "allowed", "passed"), rows
    )


def _lineage(card: Card) -> list[tuple[str, str]]:
    lineage = card.lineage
    return [
        ("pipeline run", str(lineage["pipeline_run"])),
        ("source generation", str(lineage["source_fingerprint"] or "not told")),
        ("dataset", str(lineage["dataset"]["digest"])),
        ("splits", str(lineage["dataset"]["splits_sha256"])),
        ("settings", str(lineage["config_sha256"])),
        ("weights", str(lineage["model"]["weights_sha256"])),
        ("code revision", str(lineage["code_revision"])),
        ("image", str(lineage["image"])),
        ("packages", str(lineage["packages_sha256"])),
        ("hardware", ", ".join(card.training.devices)),
    ]


def _licence(lineage: Mapping[str, Any]) -> str:
    stated = lineage["licence"]
    own = f"{literal(stated)}." if stated else "Nobody stated one for this model."
    return f"{own} Those of the photos in the source and of the backbone's pretrained weights apply too."


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
