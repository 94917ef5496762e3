"""What is to be said of the model that a phase keeps."""

from collections.abc import Sequence

from components.formats.trained_model import FROZEN_PHASE


def chance_warning(accuracy: float, images_per_class: Sequence[int]) -> str:
    """Return a warning where a model is no better than one that names the largest class always, else nothing.

    Args:
        accuracy: On the validation images, [0, 1].
        images_per_class: Of the validation images.
    """
    largest = max(images_per_class) / sum(images_per_class)
    if not accuracy <= largest < 1.0:
        return ""
    return (
        f"validation accuracy {accuracy:.1%} is no better than the {largest:.1%} of always naming the largest class: "
        "look at the labels and at weights, lower the learning rate, or train longer"
    )


def course_sentence(phase: str, epochs: int, epochs_run: int, best_epoch: int, patience: int, *, compared: bool) -> str:
    """Return, after a space, whether a phase stopped early or had better gone on; empty where neither is known.

    Args:
        phase: ``frozen`` or ``fine_tune``.
        epochs: That were planned.
        epochs_run: Of them; fewer where it stopped early.
        best_epoch: From 1; 0 where none of them is kept.
        patience: For how many epochs it was no better before it stopped.
        compared: Whether it is known how good the model was before the first epoch.
    """
    name = "The frozen phase" if phase == FROZEN_PHASE else "Fine-tuning"
    if epochs_run < epochs:
        waited = f"{patience} epoch{'s' if patience > 1 else ''}"
        return f" {name} stopped after epoch {epochs_run} of {epochs}: no better for {waited}."
    if best_epoch == epochs and (epochs > 1 or compared):
        return f" {name} was still getting better at its last epoch: more epochs ({phase}_epochs) may help."
    return ""
