"""The model card: what a person must know before using a model, as Markdown and as a page.

After Mitchell et al. 2019, "Model cards for model reporting".
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from components.formats.evaluation import (
    CONFUSION_MATRIX_FILE,
    CURVES_FILE,
    RELIABILITY_FILE,
    ROC_FILE,
    Comparison,
    Evaluation,
    svg_of,
)
from components.formats.model_bundle import (
    GOLDEN_FILE,
    LABELS_FILE,
    LINEAGE_FILE,
    MANIFEST_FILE,
    PREPROCESSING_FILE,
)
from components.formats.splits import Splits
from components.formats.trained_model import FINE_TUNE_PHASE, SAVED_MODEL_FOLDER, TrainingRecord
from components.register.markdown import literal, literal_code
from components.register.model_exports import Exports
from components.register.usage import Program, image_rule, programs
from components.report.page import data_uri, render_page
from components.report.shown_text import MESSAGE_CHARACTERS, shown

_COMMANDS = "python -m components.register"
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
    words, e = _MARKDOWN, card.evaluation
    slices = ["## Slices", _slice_table(card.slices)] if card.slices is not None else []
    guess = f"Always answering {literal(e.majority_class)} gets {e.majority_baseline:.3f}."
    sections = [
        f"# {literal(card.model_name)} {card.version}",
        "This file never changes; whether the gate accepts the version, and which one is the champion, may. The "
        f"registry tells: {literal_code(f'{_COMMANDS} show REGISTRY {card.model_name} {card.version}')}",
        *_what(card.training, words),
        "## Results",
        f"On a held-out test split. {guess}",
        _table(("measure", "value"), _results(e, words)),
        _class_table(card.per_class, card.training),
        "### Probabilities",
        _probability_table(card),
        *(f"![{title}]({file})" for file, title in _CHARTS.items() if file in card.files),
        *slices,
        "## Data",
        _list(_data(card, words)),
        "## Cleaning",
        _list(_cleaning(card.lineage, words)),
        "## Training",
        _list(_training(card, words)),
        "## Limits",
        _list(_limits(card.evaluation, card.per_class, words)),
        "## Use",
        _list(_use(card, words)),
        *_program_sections(card),
        "## Exports",
        _export_table(card),
        "## Lineage",
        _table(("what", "value"), [(name, literal_code(value)) for name, value in _lineage(card)]),
        "## Licence",
        _licence(card.lineage, words),
    ]
    return "\n\n".join(sections) + "\n"


def card_html(card: Card, evaluation: Path) -> str:
    """Return the card as one self-contained page.

    Args:
        card: What it tells.
        evaluation: Folder of the evaluation, whose charts are shown: as SVG, which follow the page into the dark, and
            those of earlier versions, which lack it, as PNG.
    """
    charts: list[tuple[str, Markup | None, str]] = []
    for file, title in _CHARTS.items():
        picture, drawing = evaluation / file, evaluation / svg_of(file)
        if drawing.is_file():
            svg = Markup(drawing.read_text(encoding="utf-8"))  # noqa: S704 - of our own step, whose texts are escaped
            charts.append((title, svg, ""))
        elif picture.is_file():
            charts.append((title, None, data_uri(picture.read_bytes(), "image/png")))
    words = _PLAIN
    return render_page(
        Path(__file__).parent,
        "model_card.html",
        card=card,
        e=card.evaluation,
        training=card.training,
        results=_results(card.evaluation, words),
        probabilities=_probabilities(card.evaluation, card.exports.temperature),
        charts=charts,
        programs=_programs(card),
        classes=_rows(card.per_class),
        slices=[] if card.slices is None else _rows(card.slices),
        what=_what(card.training, words),
        data=_data(card, words),
        cleaning=_cleaning(card.lineage, words),
        trained=_training(card, words),
        limits=_limits(card.evaluation, card.per_class, words),
        use=_use(card, words),
        tried=_tried(card),
        lineage=_lineage(card),
        licence=_licence(card.lineage, words),
        shown=shown,
        whole=_whole,
    )


def _rows(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return the rows of a table, with None for what is missing."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


@dataclasses.dataclass(frozen=True)
class _Words:
    """How text from outside gets into sentences.

    Attributes:
        name: Returns a name.
        text: Returns what may be longer than a name.
        code: Returns it as code.
    """

    name: Callable[[str], str]
    text: Callable[[str], str]
    code: Callable[[str], str]


def _whole(text: str) -> str:
    return shown(text, MESSAGE_CHARACTERS)


_MARKDOWN = _Words(literal, lambda text: literal(text, MESSAGE_CHARACTERS), literal_code)
_PLAIN = _Words(shown, _whole, _whole)
"""Of the page, whose template escapes."""


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _what(training: TrainingRecord, words: _Words) -> list[str]:
    names = ", ".join(words.name(name) for name in training.class_names[:50])
    more = f" and {len(training.class_names) - 50} more" if len(training.class_names) > 50 else ""
    phase = "fine-tuning" if training.best_phase == FINE_TUNE_PHASE else "the frozen phase"
    return [
        f"Says which of {len(training.class_names)} classes an image shows: {names}{more}.",
        f"Transfer learning on {words.name(training.backbone)} (weights: {words.name(training.weights)}) at "
        f"{training.image_size_px} x {training.image_size_px} pixels; kept is epoch {training.best_epoch} of {phase}, "
        f"validation accuracy {training.best_val_accuracy:.3f}.",
    ]


def _results(e: Evaluation, words: _Words) -> list[tuple[str, str]]:
    """Return what was measured on the test split, of the model as it was trained, and its value."""
    auc = "n/a" if e.auc_macro is None else f"{e.auc_macro:.3f}"
    f1 = f"{e.macro_f1:.3f}"
    if e.macro_f1_low is not None and e.macro_f1_high is not None and e.macro_f1_low < e.macro_f1_high:
        f1 += f" (95 % interval {e.macro_f1_low:.3f} to {e.macro_f1_high:.3f}, bootstrap)"
    rows = [
        ("Accuracy", f"{e.accuracy:.3f} ({e.correct_images} of {e.test_images} images)"),
        ("95 % interval (Wilson)", f"{e.accuracy_low:.3f} to {e.accuracy_high:.3f}"),
        ("Macro precision", f"{e.macro_precision:.3f}"),
        ("Macro recall", f"{e.macro_recall:.3f}"),
        ("Macro F1", f1),
        ("Macro AUC, one against the rest", auc),
    ]
    if e.comparison is not None:
        rows.append(
            (f"Accuracy beside champion {words.name(e.comparison.champion)}", _beside(e.comparison, e.test_images))
        )
    return rows


def _beside(c: Comparison, test_images: int) -> str:
    """Return how a model did beside the champion of its time, on the test images that both were tested on."""
    where = "" if c.images == test_images else f", on the {c.images:,} of {test_images:,} images it was tested on too"
    if not c.only_model_right + c.only_champion_right:
        return f"the same: both were right on the very same test images{where}"
    p = f"{c.mcnemar_p:.3f}" if c.mcnemar_p >= 0.001 else "below 0.001"
    return (
        f"{c.accuracy_difference:+.3f} (95 % interval {c.accuracy_difference_low:+.3f} to "
        f"{c.accuracy_difference_high:+.3f}; McNemar's exact test: p {p}){where}"
    )


def _probabilities(e: Evaluation, temperature: float) -> list[tuple[str, float | None, float | None, bool]]:
    """Return how far probabilities can be believed: whose, calibration error, log loss, and whether they are served."""
    calibration = e.calibration
    # Evaluations of earlier versions know no calibration, and so no temperature.
    trained = calibration.log_loss_before if calibration.log_loss_before is not None else e.log_loss
    rows: list[tuple[str, float | None, float | None, bool]] = [
        ("as trained", calibration.ece_before, trained, temperature == 1.0)
    ]
    if calibration.fitted or temperature != 1.0:
        scaled = f"with temperature {calibration.temperature:.3f}"
        rows.append((scaled, calibration.ece_after, calibration.log_loss_after, temperature != 1.0))
    return rows


def _probability_table(card: "Card") -> str:
    rows = [
        (whose, _number(error), _number(loss), "yes" if served else "no")
        for whose, error, loss, served in _probabilities(card.evaluation, card.exports.temperature)
    ]
    reason = card.evaluation.calibration.reason
    told = f"\n\nNo temperature was fitted: {literal(reason, MESSAGE_CHARACTERS)}." if reason else ""
    return _table(("probabilities", "calibration error", "log loss", "exports give these"), rows) + told


def _number(value: float | None) -> str:
    return "n/a" if value is None or pd.isna(value) else f"{value:.3f}"


def _interval(value: float, low: float, high: float) -> str:
    return "n/a" if pd.isna(value) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _class_table(per_class: pd.DataFrame, training: TrainingRecord) -> str:
    rows = [
        (
            literal(row["class_name"]),
            _number(row["precision"]),
            _interval(row["recall"], row["recall_low"], row["recall_high"]),
            *(_number(row[column]) for column in ("f1", "auc")),
            str(row["test_images"]),
            str(training.images_per_class.get(row["class_name"], 0)),
        )
        for row in per_class.to_dict("records")
    ]
    return _table(("class", "precision", "recall (95 % interval)", "F1", "AUC", "test images", "training images"), rows)


def _slice_table(slices: pd.DataFrame) -> str:
    rows = [
        (
            literal(str(row["measure"])),
            literal(str(row["slice"])),
            str(row["images"]),
            *(
                ("too few images", "")
                if pd.isna(row["accuracy"])
                else (f"{row['accuracy']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}")
            ),
        )
        for row in slices.to_dict("records")
    ]
    return _table(("measure", "slice", "images", "accuracy", "95 % interval"), rows)


def _data(card: Card, words: _Words) -> list[str]:
    splits = card.splits
    counts = ", ".join(f"{split.images} {name}" for name, split in splits.splits.items())
    lines = [
        f"Source: {words.text(str(card.lineage['source']))}",
        f"Images: {counts}; seed {splits.seed}; resized by {words.name(splits.resize_policy)}",
        f"Dataset digest: {words.code(splits.dataset_digest)}",
    ]
    if "groups_across_splits" in splits.certificate:
        lines.append(f"Groups of copies across splits: {splits.certificate['groups_across_splits']}")
    return lines


def _cleaning(lineage: Mapping[str, Any], words: _Words) -> list[str]:
    cleaning = lineage["cleaning"]
    if not cleaning:
        return ["Not known: the model was registered without the decisions of a cleaning."]
    lines = [
        f"{cleaning['kept_images']} of {cleaning['images']} images were kept, {cleaning['fixed_images']} of them mended"
    ]
    lines += [f"Dropped for {words.name(check)}: {count}" for check, count in cleaning["dropped_by_check"].items()]
    return lines


def _training(card: Card, words: _Words) -> list[str]:
    lines = [
        f"{words.name(phase)}: "
        + ", ".join(f"{words.name(name)} {words.name(str(value))}" for name, value in settings.items())
        for phase, settings in card.training.settings.items()
    ]
    devices = ", ".join(words.name(device) for device in card.training.devices)
    return [*lines, f"On {devices}, {card.lineage['training_seconds']:.0f} s of training in all attempts"]


def _limits(evaluation: Evaluation, per_class: pd.DataFrame, words: _Words) -> list[str]:
    lines = [
        "It always answers with one of its classes, also for an image that shows none of them.",
        "The results hold for images like those of the source; other cameras, places or seasons are untested.",
        f"With {evaluation.test_images} test images the accuracy is known to within "
        f"{evaluation.accuracy_low:.2f} to {evaluation.accuracy_high:.2f}.",
    ]
    untested = per_class.loc[per_class["test_images"] == 0, "class_name"].tolist()
    if untested:
        lines.append(f"Without any test image, so unknown: {', '.join(map(words.name, untested))}.")
    weak = per_class[(per_class["test_images"] > 0) & (per_class["recall"] < 0.5)]["class_name"].tolist()
    if weak:
        lines.append(f"It misses more than half of: {', '.join(map(words.name, weak))}.")
    return lines


def _program_sections(card: Card) -> list[str]:
    sections = []
    for program in _programs(card):
        sections += [
            f"### {program.title}",
            _list(
                [
                    f"{literal_code(program.file)} takes {literal_code(program.takes)}",
                    f"gives {literal_code(program.gives)}",
                ]
            ),
            *([f"```sh\n{program.command}\n```"] if program.command else []),
            f"```python\n{program.code}```",
        ]
    return sections


def _programs(card: Card) -> list[Program]:
    return programs(
        card.files,
        {check.path: (check.input_name, check.output_name) for check in card.exports.checks if check.input_name},
        model_name=card.model_name,
        size_px=card.training.image_size_px,
        resize_policy=card.training.resize_policy,
        classes=len(card.training.class_names),
    )


def _use(card: Card, words: _Words) -> list[str]:
    training = card.training
    fetch = f"{_COMMANDS} fetch REGISTRY {card.model_name} {card.version} FOLDER"
    rule = image_rule(training.image_size_px, training.resize_policy)
    lines = [
        f"{words.code(fetch)} copies this version, every byte checked. Each program below runs in that folder.",
        f"What the model sees is a photo in RGB, upright by its EXIF orientation, transparency on white, {rule}, "
        f"bilinear with antialiasing, as {words.code(PREPROCESSING_FILE)} says. Scaling to what the backbone expects "
        f"happens in the model. Every export gives probabilities in the order of {words.code(LABELS_FILE)}.",
        "Where a program decodes a photo itself, what Pillow opens will do: JPEG, PNG, BMP, TIFF, GIF and WebP (of an "
        "animation the first frame); bring 16 bits a channel to 8 first. A file that is no image stops the program "
        "before the model is asked.",
    ]
    if any(file.startswith(f"{SAVED_MODEL_FOLDER}/") for file in card.files):
        lines.append(
            "The SavedModel decodes JPEG, PNG, GIF (first frame) and BMP, resizes as above, and turns nothing; a BMP "
            "with a palette, a gray PNG of fewer than 8 bits and a see-through GIF it misreads. So the programs send "
            "upright JPEG files as they are, and all else as PNG. One image that it cannot decode fails the whole "
            "request, and nobody is told which: where that may be, send them one by one."
        )
    lines.append(f"{words.code(GOLDEN_FILE)} holds a predict request and what a server must answer to it.")
    lines.append(
        f"{words.code(MANIFEST_FILE)} holds the SHA-256 of every file, {words.code(LINEAGE_FILE)} the way here."
    )
    return lines


def _tried(card: Card) -> list[str]:
    """Return how the exports were tried: on which bytes, and what files of any size are answered with."""
    exports, size = card.exports, card.training.image_size_px
    lines = [
        f"Each export was loaded in a fresh process and asked about {exports.golden_images} test images as the split "
        f"step stored them, {size} x {size} pixels: the SavedModel about those JPEG files, the others about their "
        "pixels. So was the evaluated model itself. Numbers are the largest difference of any probability."
    ]
    if (check := exports.originals) is not None:
        unread = f" It could not read {check.unread} of them." if check.unread else ""
        lines.append(
            f"The SavedModel was also sent {check.images} test images as they were in the source, of any size: "
            f"{check.same_answers} of {check.images} got the answer that was evaluated.{unread} Probabilities were off "
            f"the evaluated ones by {check.largest_difference:.3f} at most and {check.median_difference:.3f} in the "
            f"median image: as the server resizes them, pixels are {check.pixel_difference:.1f} of 255 gray levels off "
            "those that the split step resized, stored as JPEG and gave to the evaluation. To its own pixels the "
            f"SavedModel answers as the model itself does, within {max(check.from_model, 1e-7):.0e}."
        )
    elif any(file.startswith(f"{SAVED_MODEL_FOLDER}/") for file in card.files):
        lines.append("Nobody tried it on files as they were in the source: the splits bring none along.")
    return lines


def _export_table(card: Card) -> str:
    exports = card.exports
    rows = [
        (
            literal_code(check.path),
            f"{check.largest_difference:.1e}",
            f"{check.from_model:.1e}",
            f"{check.tolerance:.0e}",
            "yes" if check.passed else "NO",
        )
        for check in exports.checks
    ]
    told = "\n\n".join(_tried(card))
    header = ("export", "off the evaluated probabilities by", "off the model itself by", "allowed", "passed")
    return f"{told}\n\n{_table(header, rows)}"


def _lineage(card: Card) -> list[tuple[str, str]]:
    lineage = card.lineage
    return [
        ("pipeline run", str(lineage["pipeline_run"])),
        ("source", str(lineage["source"])),
        ("source generation", _source_generation(lineage)),
        ("source fingerprint", str(lineage["source_fingerprint"] or "not told")),
        ("dataset", str(lineage["dataset"]["digest"])),
        ("splits", str(lineage["dataset"]["splits_sha256"])),
        ("settings", str(lineage["config_sha256"])),
        ("weights", str(lineage["model"]["weights_sha256"])),
        ("code revision", str(lineage["code_revision"])),
        ("image", str(lineage["image"])),
        ("packages", str(lineage["packages_sha256"])),
        ("hardware", ", ".join(card.training.devices)),
    ]


def _source_generation(lineage: Mapping[str, Any]) -> str:
    """Return the generation of one object, and of what has none, or many, why the fingerprint stands for it."""
    files = lineage["source_files"]
    if lineage["source_generation"]:
        return str(lineage["source_generation"])
    if files is None:
        return "not told"
    return f"none of its own, {files:,} file{'' if files == 1 else 's'}: see the fingerprint"


def _licence(lineage: Mapping[str, Any], words: _Words) -> str:
    stated = lineage["licence"]
    own = f"{words.text(stated)}." if stated else "Nobody stated one for this model."
    return f"{own} Those of the photos in the source and of the backbone's pretrained weights apply too."


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
