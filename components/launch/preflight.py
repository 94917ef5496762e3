"""Check before the first step what later steps would refuse, hours of training later.

The rules are the steps' own; here they are only called early. Steps check again, for runs that nobody launched here.
What the training steps check needs TensorFlow, which a launcher does without.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components import storage
from components.failures import UserError
from components.formats.splits import SPLIT_NAMES

_LIMITS = ("max_files", "max_file_mib", "max_total_gib", "max_compression_ratio")
_THRESHOLDS = (
    "dark_brightness", "bright_brightness", "low_contrast", "size_outlier_iqr", "aspect_outlier", "tiny_side_px",
    "blur_ratio", "low_entropy_bits", "near_duplicate_distance", "near_duplicate_correlation",
    "near_duplicate_difference",
)  # fmt: skip
WEIGHTS_IN_WORDS = ("imagenet", "random")
"""Values of ``weights`` that are no file."""


def check_values(values: Mapping[str, Any]) -> None:
    """Check the value of every parameter that a data step or the registration would refuse.

    Args:
        values: By name, defaults included.

    Raises:
        UserError: As the step would.
    """
    # Pillow, OpenCV and pandas take a second that a word about the command line need not wait for.
    from components.audit.checks import Thresholds  # noqa: PLC0415
    from components.audit.image_audit import check_settings as check_audit  # noqa: PLC0415
    from components.clean.cleaning_policy import cleaning_policy  # noqa: PLC0415
    from components.ingest.ingestion import check_settings as check_ingest  # noqa: PLC0415
    from components.ingest.limits import Limits  # noqa: PLC0415
    from components.register.registration import check_minimum_accuracy  # noqa: PLC0415
    from components.register.registry import ModelRegistry  # noqa: PLC0415
    from components.split.split_settings import SplitSettings  # noqa: PLC0415
    from components.split.split_settings import check_settings as check_split  # noqa: PLC0415

    Limits(**{name: values[name] for name in _LIMITS})
    check_ingest(values["part_size_mib"], values["workers"])
    thresholds = Thresholds(**{name: values[name] for name in _THRESHOLDS})
    check_audit(thresholds, values["sample_images"], values["workers"], values["seed"])
    cleaning_policy(values["cleaning_policy"], values["allow_list"], values["deny_list"])
    check_split(
        SplitSettings(
            fractions={name: values[f"{name}_fraction"] for name in SPLIT_NAMES},
            image_size_px=values["image_size_px"],
            resize_policy=values["resize_policy"],
            shard_size_mib=values["shard_size_mib"],
            workers=values["workers"],
            seed=values["seed"],
        )
    )
    check_minimum_accuracy(values["minimum_accuracy"])
    ModelRegistry(values["registry_uri"], values["model_name"])


def check_places(values: Mapping[str, Any]) -> None:
    """Check, for a run on this machine, that the registry can be used and a weights file is there.

    Raises:
        UserError: When the registry cannot be read or written, or the weights are missing.
        TransientError: When Cloud Storage does not answer.
    """
    from components.register.registry import ModelRegistry  # noqa: PLC0415

    registry, weights = values["registry_uri"], values["weights"]
    if not storage.is_remote(registry):
        existing = next(folder for folder in (Path(registry), *Path(registry).parents) if folder.exists())
        if not (existing.is_dir() and os.access(existing, os.W_OK)):
            raise UserError(f"the registry {registry} cannot be written: {existing} is no folder of yours to write in")
    ModelRegistry(registry, values["model_name"]).read_index()
    if weights not in WEIGHTS_IN_WORDS and storage.stat_file(weights) is None:
        raise UserError(
            f"weights {weights} is not a file: give the path or gs:// URI of a weights file, imagenet or random"
        )
