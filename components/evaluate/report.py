"""The evaluation as one self-contained HTML page."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup
from PIL import Image

from components.evaluate.figures import MOST_ROC_CLASSES
from components.formats.evaluation import Evaluation
from components.formats.splits import Splits
from components.formats.trained_model import TrainingRecord
from components.report.page import data_uri, write_page

MOST_MISTAKES_SHOWN = 48
MOST_RIGHT_SHOWN = 12
MOST_CONFUSIONS_LISTED = 12

_THUMBNAIL_PX = 176
# An interval of at least ten points says too little to compare two models that differ by a few.
_WIDE_INTERVAL = 0.10


@dataclasses.dataclass(frozen=True)
class Charts:
    """The page's charts as inline SVG."""

    confusion: Markup
    roc: Markup
    curves: Markup


@dataclasses.dataclass(frozen=True)
class Examples:
    """Test images to show, as positions in the table of predictions."""

    mistakes: list[int]
    right: list[int]

    @property
    def positions(self) -> set[int]:
        """All of them."""
        return {*self.mistakes, *self.right}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The page's first sentence and what colour it deserves."""

    tone: str
    sentence: str
    caution: str


def choose_examples(predictions: pd.DataFrame) -> Examples:
    """Choose the most confident mistakes, and right answers spread evenly over classes.

    Args:
        predictions: ``PREDICTION_COLUMNS``, one row per test image.
    """
    is_right = predictions["true_class"] == predictions["predicted_class"]
    table = predictions.assign(position=np.arange(len(predictions)))
    mistakes = table[~is_right].sort_values(["probability", "path"], ascending=[False, True])
    right = table[is_right].sort_values(["true_class", "path"])
    wanted = np.linspace(0, len(right) - 1, min(MOST_RIGHT_SHOWN, len(right))).round().astype(int)
    return Examples(
        mistakes=mistakes["position"].tolist()[:MOST_MISTAKES_SHOWN], right=right["position"].iloc[wanted].tolist()
    )


def judge(evaluation: Evaluation) -> Verdict:
    """Say in words how good the model is, against guessing and given the number of images."""
    e = evaluation
    images = "image" if e.test_images == 1 else "images"
    sentence = (
        f"{e.correct_images} of {e.test_images} test {images} right: accuracy {e.accuracy:.2f}; "
        f"a majority guess gets {e.majority_baseline:.2f}."
    )
    if e.accuracy <= e.majority_baseline:
        tone, sentence = "bad", f"{sentence} The model is no better than always answering “{e.majority_class}”."
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


def thumbnail(image: bytes) -> str:
    """Return an encoded image as a small JPEG in a data URI."""
    with Image.open(io.BytesIO(image), formats=["JPEG"]) as picture:
        small = picture.convert("RGB")
    small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return data_uri(buffer.getvalue(), "image/jpeg")


def common_confusions(confusions: npt.NDArray[np.int64], class_names: list[str]) -> list[tuple[str, str, int, int]]:
    """Return the most frequent mistakes as true class, predicted class, images, images of the true class."""
    mistakes = confusions * (1 - np.eye(len(class_names), dtype=np.int64))
    rows, columns = np.nonzero(mistakes)
    pairs = sorted(zip(rows.tolist(), columns.tolist(), strict=True), key=lambda pair: (-int(mistakes[pair]), pair))[
        :MOST_CONFUSIONS_LISTED
    ]
    return [
        (class_names[row], class_names[column], int(mistakes[row, column]), int(confusions[row].sum()))
        for row, column in pairs
    ]


def write_report(
    destination: Path,
    evaluation: Evaluation,
    per_class: pd.DataFrame,
    predictions: pd.DataFrame,
    charts: Charts,
    images: dict[int, bytes],
    examples: Examples,
    splits: Splits,
    training: TrainingRecord,
    *,
    matrix_in_metadata: bool,
) -> None:
    """Write the page.

    Args:
        destination: The file to publish.
        evaluation: All scores.
        per_class: ``PER_CLASS_COLUMNS``.
        predictions: ``PREDICTION_COLUMNS``.
        charts: Inline SVG.
        images: JPEG bytes of the examples by position.
        examples: Which images to show.
        splits: What was evaluated on.
        training: What was evaluated.
        matrix_in_metadata: Whether the pipeline's own metrics hold the confusion matrix too.
    """
    columns = ["path", "true_class", "predicted_class", "probability"]

    def cards(positions: list[int]) -> list[dict[str, object]]:
        rows = predictions.iloc[positions][columns].to_dict("records")
        return [
            {str(key): value for key, value in row.items()} | {"image": thumbnail(images[position])}
            for row, position in zip(rows, positions, strict=True)
        ]

    write_page(
        destination,
        Path(__file__).parent,
        "evaluation.html",
        e=evaluation,
        verdict=judge(evaluation),
        charts=charts,
        classes=per_class.astype(object).where(per_class.notna(), None).to_dict("records"),
        absent=per_class.loc[per_class["test_images"] == 0, "class_name"].tolist(),
        roc_classes=MOST_ROC_CLASSES,
        confusions=common_confusions(np.asarray(evaluation.confusion_matrix), evaluation.class_names),
        mistakes=cards(examples.mistakes),
        right=cards(examples.right),
        splits=splits,
        training=training,
        matrix_in_metadata=matrix_in_metadata,
    )
