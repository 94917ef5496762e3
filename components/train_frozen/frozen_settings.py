"""Settings of the frozen phase, and which make sense. Without TensorFlow: a launcher checks them before a run."""

import dataclasses
from typing import Any

from components.classifier.backbones import known_backbone
from components.classifier.fit_settings import (
    FitSettings,
    check_at_least,
    check_between,
    check_fit_settings,
    check_share,
)
from components.classifier.training_mode import Mode, ModeSettings, check_mode_settings
from components.classifier.weights_source import check_weights

_MOST_HEAD_UNITS = 16_384  # 134 MB of weights on InceptionV3's 2,048 features, and twice that in Adam's moments


@dataclasses.dataclass(frozen=True)
class FrozenSettings:
    """Settings of the frozen phase.

    Attributes:
        backbone: ``inception_v3`` or ``efficientnet_lite0``.
        weights: ``imagenet``, a path or ``gs://`` URI, or ``random``.
        head_units: Width of the head's hidden layer, 1 to 16,384.
        dropout: Share of it that is switched off in training, [0, 1).
        augmentation: Strength, [0, 1]; 0 is off.
        mode: How the head gets at features.
        unfrozen_layers: What fine-tuning so many last layers needs is kept with the features; 0 keeps nothing.
        gpu_count: 0 trains on the CPU.
        fit: The rest.
    """

    backbone: str
    weights: str
    head_units: int
    dropout: float
    augmentation: float
    mode: ModeSettings
    unfrozen_layers: int
    gpu_count: int
    fit: FitSettings

    def as_record(self, mode: Mode, precision: str) -> dict[str, Any]:
        """Return every parameter that decided the result by name, mode and precision as they were chosen."""
        values = dataclasses.asdict(self)
        del values["fit"], values["mode"], values["unfrozen_layers"]
        chosen = {**self.mode.as_record(mode, self.fit.epochs, self.augmentation), "precision": precision}
        return {**self.fit.as_record(), **values, **chosen}


def check_settings(settings: FrozenSettings) -> None:
    """Check all that can be checked without images, weights and devices.

    Raises:
        UserError: Naming the parameter, its value and what it can be.
    """
    check_weights(settings.weights, known_backbone(settings.backbone).name)
    check_fit_settings(settings.fit)
    check_between("head_units", settings.head_units, 1, _MOST_HEAD_UNITS)
    check_mode_settings(settings.mode)
    check_at_least("unfrozen_layers", settings.unfrozen_layers, 0)
    check_at_least("gpu_count", settings.gpu_count, 0)
    check_share("dropout", settings.dropout, below_one=True)
    check_share("augmentation", settings.augmentation, below_one=False)
