"""What is to be said of the model that a phase keeps."""

from collections.abc import Sequence

from components.formats.trained_model import FROZEN_PHASE

_NOTABLE_SHARE = 0.2
_NOTABLE_PART = 0.05


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


def course_sentence(
    phase: str, epochs: int, val_losses: Sequence[float], best_epoch: int, patience: int, before: float | None = None
) -> str:
    """Return, after a space, whether a phase stopped early or had better gone on; empty where neither is known.

    Where the learning rate ends near 0, as the cosine's does, the last epoch is nearly always the best by a hair, which
    says nothing. So more epochs are advised only where the second half of them still lowered the loss notably: by at
    least ``_NOTABLE_SHARE`` of all that the phase lowered it, and by at least ``_NOTABLE_PART`` of where it ended. Of a
    loss that falls exponentially towards its limit, a fifth of the way in the second half means that as much training
    again would gain a sixteenth more; of one that is there by then, the second half shares nothing. The other bound is
    for what learned hardly anything, and so at an even pace.

    Args:
        phase: ``frozen`` or ``fine_tune``.
        epochs: That were planned.
        val_losses: Validation loss of each epoch that ran; fewer than were planned where it stopped early.
        best_epoch: From 1; 0 where none of them is kept.
        patience: For how many epochs it was no better before it stopped.
        before: Validation loss before the first epoch; None where it is not known.
    """
    name = "The frozen phase" if phase == FROZEN_PHASE else "Fine-tuning"
    if len(val_losses) < epochs:
        waited = f"{patience} epoch{'s' if patience > 1 else ''}"
        return f" {name} stopped after epoch {len(val_losses)} of {epochs}: no better for {waited}."
    course = [*([] if before is None else [before]), *val_losses]
    late = max(1, len(val_losses) // 2)
    if best_epoch != epochs or len(course) <= late:
        return ""
    earlier, lowest = min(course[:-late]), val_losses[-1]
    gained, all_gained = earlier - lowest, course[0] - lowest
    if not (gained >= _NOTABLE_SHARE * all_gained and gained >= _NOTABLE_PART * lowest):
        return ""
    over = "epoch" if late == 1 else f"{late} epochs"
    return (
        f" {name} was still getting better when it ended (validation loss {earlier:.4f} to {lowest:.4f} in the last "
        f"{over}): more epochs ({phase}_epochs) may help."
    )
