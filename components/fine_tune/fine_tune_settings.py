"""Settings of the fine-tuning phase, and which make sense. Without TensorFlow: a launcher checks them before a run."""

import dataclasses
from typing import Any

from components.classifier.fit_settings import FitSettings, check_at_least, check_fit_settings, check_share
from components.classifier.training_mode import Mode, ModeSettings, check_mode_settings
from components.failures import UserError


@dataclasses.dataclass(frozen=True)
class FineTuneSettings:
    """Settings of the fine-tuning phase.

    Attributes:
        unfrozen_layers: How many of the backbone's last layers may learn, at least 1.
        train_batch_normalization: Whether normalization among them learns too, and follows the statistics of batches.
        augmentation: Strength, [0, 1]; 0 is off.
        mode: How those layers get at what the frozen ones give.
        export_h5: Whether to write the older HDF5 format too.
        gpu_count: 0 trains on the CPU.
        fit: The rest.
    """

    unfrozen_layers: int
    train_batch_normalization: bool
    augmentation: float
    mode: ModeSettings
    export_h5: bool
    gpu_count: int
    fit: FitSettings

    def as_record(self, mode: Mode, precision: str) -> dict[str, Any]:
        """Return every parameter that decided the result by name, mode and precision as they were chosen."""
        values = dataclasses.asdict(self)
        del values["fit"], values["mode"]
        chosen = {**self.mode.as_record(mode, self.fit.epochs, self.augmentation), "precision": precision}
        return {**self.fit.as_record(), **values, **chosen}

    def with_batch_size(self, batch_size: int) -> "FineTuneSettings":
        """Return the same settings with another batch size."""
        return dataclasses.replace(self, fit=dataclasses.replace(self.fit, batch_size=batch_size))


def check_settings(settings: FineTuneSettings) -> None:
    """Check all that can be checked without a model and devices.

    Raises:
        UserError: Naming the parameter, its value and what it can be.
    """
    check_fit_settings(settings.fit, batch_size_found=True)
    check_mode_settings(settings.mode)
    check_at_least("unfrozen_layers", settings.unfrozen_layers, 1)
    check_at_least("gpu_count", settings.gpu_count, 0)
    check_share("augmentation", settings.augmentation, below_one=False)


def check_unfrozen_layers(count: int, backbone: str, layers: int, fewest: int) -> None:
    """Check a number of last layers to unfreeze against a backbone.

    Args:
        count: How many.
        backbone: Name of the backbone.
        layers: How many it has.
        fewest: How many of its last ones must be unfrozen for one with weights that can learn to be among them.

    Raises:
        UserError: When there are fewer layers, or none of the last ones can learn but normalization.
    """
    if not 1 <= count <= layers:
        raise UserError(
            f"unfrozen_layers is {count} and {backbone} has {layers} layers: set it between {fewest} and {layers}"
        )
    if count < fewest:
        raise UserError(
            f"unfrozen_layers is {count} and the last {count} layers of {backbone} hold no weights that can learn but "
            f"those of normalization, which never learns alone: set it to at least {fewest}"
        )
