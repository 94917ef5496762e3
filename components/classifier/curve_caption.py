"""What the learning curves show, in words: how training and validation differ in what they measure."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from components.formats.trained_model import FROZEN_PHASE, PHASES

_PHASE_NAMES = dict(zip(PHASES, ("the frozen phase", "fine-tuning"), strict=True))


def curve_caption(settings: Mapping[str, Mapping[str, Any]], history: pd.DataFrame) -> str:
    """Return sentences about the curves of one phase or both.

    Args:
        settings: Of ``TrainingRecord``: by phase.
        history: ``HISTORY_COLUMNS``.
    """
    phases = [phase for phase in PHASES if phase in settings]
    dropout = settings[FROZEN_PHASE].get("dropout", 0.0)  # fine-tuning goes on with the head as it was made
    circumstances = _listed({phase: _circumstances(settings[phase], dropout) for phase in phases})
    counted = _listed({phase: _counted_in_loss(settings[phase]) for phase in phases})
    sentences = []
    if len(phases) == len(PHASES):
        frozen = history[history["phase"] == FROZEN_PHASE]
        epoch = frozen["epoch"].to_numpy()[frozen["val_loss"].to_numpy().argmin()]
        sentences.append(
            f"Fine-tuning starts from epoch {epoch} of the frozen phase: the diamond is validation before its first "
            "step, which the dotted line continues for comparison."
        )
    sentences.append("Validation loss is plain cross-entropy, on images as they are stored.")
    if counted:
        sentences.append(
            f"Training loss is another quantity, with {counted}: compare how the two go on, and not how high they are."
        )
    how = f", with {circumstances}" if circumstances else ""
    sentences.append(
        f"Training figures are means over an epoch, taken while the model learns{how}, so they can be worse than "
        "validation."
    )
    return " ".join(sentences)


def _circumstances(settings: Mapping[str, Any], dropout: float) -> list[str]:
    """Return what training figures are taken under and validation is not."""
    return [
        *([f"dropout {dropout:g}"] if dropout > 0.0 else []),
        *([f"augmentation {settings['augmentation']:g}"] if settings["augmentation"] > 0.0 else []),
        *(["batch normalization by each batch"] if settings.get("train_batch_normalization") else []),
    ]


def _counted_in_loss(settings: Mapping[str, Any]) -> list[str]:
    """Return what training loss counts and validation loss does not."""
    return [
        *([f"label smoothing {settings['label_smoothing']:g}"] if settings["label_smoothing"] > 0.0 else []),
        *([f"{settings['class_weights']} class weights"] if settings["class_weights"] != "none" else []),
    ]


def _listed(of_phases: Mapping[str, list[str]]) -> str:
    """Return ``a, b and c``, and after what is not so in each phase the one in which it is."""
    things = dict.fromkeys(thing for some in of_phases.values() for thing in some)
    words = []
    for thing in things:
        phases = [phase for phase, some in of_phases.items() if thing in some]
        words.append(thing if len(phases) == len(of_phases) else f"{thing} in {_PHASE_NAMES[phases[0]]}")
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
