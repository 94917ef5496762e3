"""Validation figures of the model that is saved, which computes in float32 whatever training did."""

import dataclasses

import keras

from components.classifier.input_pipeline import Batching, SplitImages, read_labels, stored_batches
from components.classifier.training import Validation, measure

_SAVED_PRECISION = "float32"
_BATCH_SIZE = 32  # in float32 layers take twice the memory that training in half precision found enough for its batches


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a model comes to on the validation images.

    Attributes:
        loss: Cross-entropy, 0 or more.
        accuracy: [0, 1].
    """

    loss: float
    accuracy: float


def computes_as_saved(precision: str) -> bool:
    """Return whether what is measured at a precision of devices holds for the saved model too."""
    return precision == _SAVED_PRECISION


def figures_of(model: keras.Model, images: SplitImages) -> Figures:
    """Measure a whole model, float32 for one device, on the validation images."""
    return Figures(*measure(model, Validation(stored_batches(images, Batching(_BATCH_SIZE, 1)), read_labels(images))))


def both_precisions(precision: str, trained: Figures, saved: Figures) -> str:
    """Return what training measured and what the saved model gives, for the log.

    >>> both_precisions("mixed_bfloat16", Figures(0.5433, 0.75), Figures(0.5366, 0.8))
    'validation loss in bfloat16, while training, 0.5433 (accuracy 75.0%); of the saved model, float32, 0.5366 (80.0%)'
    """
    return (
        f"validation loss in {_in_words(precision)}, while training, {trained.loss:.4f} (accuracy "
        f"{trained.accuracy:.1%}); of the saved model, {_SAVED_PRECISION}, {saved.loss:.4f} ({saved.accuracy:.1%})"
    )


def training_sentence(precision: str, trained: Figures) -> str:
    """Return, after a space, what training measured, for a reader who has been told the saved model's figures.

    >>> training_sentence("mixed_bfloat16", Figures(0.5433, 0.75))
    ' That is the saved model, in float32; in bfloat16, while training, its loss was 0.5433 and its accuracy 75.0%.'
    """
    return (
        f" That is the saved model, in {_SAVED_PRECISION}; in {_in_words(precision)}, while training, its loss was "
        f"{trained.loss:.4f} and its accuracy {trained.accuracy:.1%}."
    )


def _in_words(precision: str) -> str:
    return precision.removeprefix("mixed_")
