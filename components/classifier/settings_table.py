"""The settings of both training phases in the order in which a reader asks for them, and not that of signatures."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from components.formats.trained_model import PHASES

_GROUPS = {
    "model": (
        "backbone",
        "weights",
        "head_units",
        "dropout",
        "unfrozen_layers",
        "train_batch_normalization",
    ),
    "images": (
        "augmentation",
        "augmented_views",
        "training_mode",
        "cache_precision",
    ),
    "loss": (
        "label_smoothing",
        "class_weights",
    ),
    "optimization": (
        "epochs",
        "batch_size",
        "optimizer",
        "learning_rate",
        "schedule",
        "warmup_epochs",
        "plateau_patience",
        "early_stopping_patience",
    ),
    "machine and outputs": (
        "gpu_count",
        "precision",
        "xla",
        "seed",
        "export_h5",
    ),
}
OTHERS = "others"
"""Group of parameters that no group names."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """A parameter and its value in each phase that was run, as a run file would have it; empty where it has none."""

    name: str
    values: list[str]


def grouped_settings(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Setting]]:
    """Return all parameters by group, groups without any left out.

    Args:
        settings: Of ``TrainingRecord``: by phase.
    """
    phases = [settings[phase] for phase in PHASES if phase in settings]
    names = dict.fromkeys(name for phase in phases for name in phase)
    known = {name for group in _GROUPS.values() for name in group}
    groups = {**_GROUPS, OTHERS: tuple(name for name in names if name not in known)}
    return {
        group: [Setting(name, [_shown(phase.get(name)) for phase in phases]) for name in members if name in names]
        for group, members in groups.items()
        if any(name in names for name in members)
    }


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
