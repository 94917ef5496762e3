"""The evaluation as one self-contained HTML page."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from components.evaluate.figures import MOST_CONFUSED_CLASSES, MOST_NAMED_CLASSES, MOST_ROC_CLASSES
from components.evaluate.grad_cam import Heat
from components.evaluate.intervals import RESAMPLES
from components.evaluate.mistakes import Examples, common_confusions
from components.evaluate.pictures import decoded, heat_thumbnail, thumbnail
from components.evaluate.slices import LEAST_SLICE_IMAGES, is_worse
from components.evaluate.suspected_labels import SuspectedLabels
from components.formats.evaluation import Comparison, Evaluation
from components.formats.splits import Splits
from components.formats.trained_model import TrainingRecord
from components.report.page import write_page
from components.report.shown_text import shown, sureness

MOST_SUSPECTS_SHOWN = 24

# An interval of at least ten points says too little to compare two models that differ by a few.
_WIDE_INTERVAL = 0.10
# Of so many an interval of the accuracy may be two points wide.
_MANY_IMAGES = 2000
# The usual level of significance.
_SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True)
class Charts:
    """The page's charts as inline SVG; None where there is nothing to draw."""

    confusion: Markup
    roc: Markup
    curves: Markup
    reliability: Markup
    slices: Markup | None


@dataclasses.dataclass(frozen=True)
class Shown:
    """The images of the page.

    Attributes:
        examples: Which.
        images: JPEG bytes by position.
        heat: What the answers rest on, by position; empty when the model cannot be asked.
    """

    examples: Examples
    images: Mapping[int, bytes]
    heat: Mapping[int, Heat]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A sentence and what colour it deserves."""

    tone: str
    sentence: str
    caution: str


def judge(evaluation: Evaluation) -> Verdict:
    """Say in words how good the model is, against guessing and given the number of images."""
    e, digits = evaluation, score_digits(evaluation.test_images)
    images = "image" if e.test_images == 1 else "images"
    sentence = (
        f"{e.correct_images:,} of {e.test_images:,} test {images} right: accuracy {e.accuracy:.{digits}f}; "
        f"a majority guess gets {e.majority_baseline:.{digits}f}."
    )
    if e.accuracy <= e.majority_baseline:
        tone = "bad"
        sentence = f"{sentence} The model is no better than always answering “{shown(e.majority_class)}”."
    elif e.accuracy_low <= e.majority_baseline:
        tone, sentence = "warn", f"{sentence} The difference could be chance."
    else:
        tone = "good"
    caution = ""
    if e.accuracy_high - e.accuracy_low >= _WIDE_INTERVAL:
        caution = (
            f"The test set is small: with {e.test_images} {images} the true accuracy lies between "
            f"{e.accuracy_low:.2f} and {e.accuracy_high:.2f} (95 % Wilson interval)."
        )
    return Verdict(tone, sentence, caution)


def score_digits(images: int) -> int:
    """Return to how many decimals scores of so many images are shown: the ends of an interval shall differ."""
    return 3 if images >= _MANY_IMAGES else 2


def judge_comparison(comparison: Comparison, test_images: int) -> Verdict:
    """Say in words whether the model is better than the champion, by McNemar's test.

    Args:
        comparison: Of the two.
        test_images: How many images the model was tested on.
    """
    c, digits = comparison, score_digits(comparison.images)
    accuracy = c.champion_accuracy + c.accuracy_difference
    beside = f"accuracy {accuracy:.{digits}f}, the champion's is {c.champion_accuracy:.{digits}f}"
    if c.images < test_images:
        beside += f", on the {c.images:,} of {test_images:,} test images that it was tested on too"
    if c.only_model_right + c.only_champion_right == 0:
        return Verdict("", f"The model and the champion are right on the very same images: {beside}.", "")
    if c.mcnemar_p < _SIGNIFICANT:
        if c.only_model_right > c.only_champion_right:
            return Verdict("good", f"Better than the champion: {beside}.", "")
        return Verdict("bad", f"Worse than the champion: {beside}.", "")
    return Verdict("warn", f"No difference from the champion that could not be chance: {beside}.", "")


def write_report(
    destination: Path,
    evaluation: Evaluation,
    per_class: pd.DataFrame,
    slices: pd.DataFrame,
    predictions: pd.DataFrame,
    charts: Charts,
    pictures: Shown,
    splits: Splits,
    training: TrainingRecord,
    doubts: SuspectedLabels,
    suspect_images: Mapping[int, bytes],
    *,
    names: tuple[str, str],
    not_compared: str,
    matrix_in_metadata: bool,
) -> None:
    """Write the page.

    Args:
        destination: The file to publish.
        evaluation: All scores.
        per_class: ``PER_CLASS_COLUMNS``.
        slices: ``SLICE_COLUMNS``.
        predictions: ``PREDICTION_COLUMNS``.
        charts: Inline SVG.
        pictures: Which images to show.
        splits: What was evaluated on.
        training: What was evaluated.
        doubts: Labels of training images that are probably wrong.
        suspect_images: JPEG bytes of the first of them, by position.
        names: Of the model and of the run.
        not_compared: Why there is no comparison with a champion; empty when there is one.
        matrix_in_metadata: Whether the pipeline's own metrics hold the confusion matrix too.
    """
    examples = pictures.examples
    comparison = evaluation.comparison
    write_page(
        destination,
        Path(__file__).parent,
        "evaluation.html",
        e=evaluation,
        model_name=names[0],
        pipeline_run=names[1],
        verdict=judge(evaluation),
        charts=charts,
        digits=score_digits(evaluation.test_images),
        classes=_records(per_class),
        absent=[shown(name) for name in per_class.loc[per_class["test_images"] == 0, "class_name"]],
        roc_classes=MOST_ROC_CLASSES,
        matrix_classes=MOST_NAMED_CLASSES,
        confused_classes=MOST_CONFUSED_CLASSES,
        confusions=common_confusions(np.asarray(evaluation.confusion_matrix), evaluation.class_names),
        mistakes=_cards(examples.mistakes, predictions, pictures),
        hesitant=_cards(examples.hesitant, predictions, dataclasses.replace(pictures, heat={})),
        sampled=_cards(examples.sampled, predictions, pictures),
        explained=bool(pictures.heat),
        slices=_records(slices.assign(worse=is_worse(slices, evaluation.accuracy))),
        least_slice_images=LEAST_SLICE_IMAGES,
        doubts=doubts,
        suspects=_suspect_cards(doubts, suspect_images),
        comparison=comparison,
        compared=judge_comparison(comparison, evaluation.test_images) if comparison else None,
        not_compared=not_compared,
        resamples=RESAMPLES,
        splits=splits,
        training=training,
        matrix_in_metadata=matrix_in_metadata,
        shown=shown,
        sureness=sureness,
    )


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows for the page, None where a value is missing."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def _cards(positions: list[int], predictions: pd.DataFrame, pictures: Shown) -> list[dict[str, Any]]:
    cards = []
    for position in positions:
        row = predictions.iloc[position]
        pixels = decoded(pictures.images[position])
        heat = pictures.heat.get(position)
        cards.append(
            {
                "path": shown(row["path"]),
                "true_class": shown(row["true_class"], 40),
                "predicted_class": shown(row["predicted_class"], 40),
                "right": row["true_class"] == row["predicted_class"],
                "probability": float(row["probability"]),
                "image": thumbnail(pixels),
                "heat": "" if heat is None else heat_thumbnail(pixels, heat),
            }
        )
    return cards


def _suspect_cards(doubts: SuspectedLabels, images: Mapping[int, bytes]) -> list[dict[str, Any]]:
    return [
        {
            "path": shown(row["path"]),
            "label": shown(row["label"], 40),
            "suggested": shown(row["suggested"], 40),
            "confidence": row["confidence"],
            "suggested_confidence": row["suggested_confidence"],
            "image": thumbnail(decoded(images[row["position"]])),
        }
        for row in doubts.table.head(MOST_SUSPECTS_SHOWN).to_dict("records")
    ]
