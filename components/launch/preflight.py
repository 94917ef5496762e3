"""Check before the first step what later steps would refuse, hours of training later.

The rules are the steps' own; here they are only called early. Steps check again, for runs that nobody launched here.
No rule that is called here needs TensorFlow, which a launcher does without.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components import storage
from components.audit_embeddings.embedding_settings import OWN_PARAMETERS as EMBEDDING_PARAMETERS
from components.audit_embeddings.embedding_settings import EmbeddingSettings
from components.audit_embeddings.embedding_settings import check_settings as check_embeddings
from components.classifier import weights_source
from components.classifier.backbones import find_backbone
from components.classifier.fit_settings import FitSettings, check_batch_is_shared, check_checkpoint_seconds
from components.classifier.training_mode import ModeSettings
from components.classifier.training_places import require_training_places
from components.evaluate.evaluate_settings import check_settings as check_evaluate
from components.failures import UserError
from components.fine_tune.fine_tune_settings import FineTuneSettings, check_unfrozen_layers
from components.fine_tune.fine_tune_settings import check_settings as check_fine_tune
from components.formats.splits import SPLIT_NAMES
from components.train_frozen.frozen_settings import FrozenSettings
from components.train_frozen.frozen_settings import check_settings as check_frozen

_LIMITS = ("max_files", "max_file_mib", "max_total_gib", "max_compression_ratio")
_THRESHOLDS = (
    "dark_brightness", "bright_brightness", "low_contrast", "size_outlier_iqr", "aspect_outlier", "tiny_side_px",
    "blur_ratio", "low_entropy_bits", "near_duplicate_distance", "near_duplicate_correlation",
    "near_duplicate_difference", "near_empty_class_images", "class_imbalance_ratio",
    "grayscale_difference", "naming_pattern_share",
)  # fmt: skip
WEIGHTS_IN_WORDS = weights_source.WEIGHTS_IN_WORDS

_EMBEDDINGS = ("backbone", "weights", *EMBEDDING_PARAMETERS, "batch_size", "workers", "seed")
_HEAD = ("backbone", "weights", "head_units", "dropout", "augmentation", "unfrozen_layers")
_MODE = ("training_mode", "augmented_views", "cache_precision", "cache_limit_gb", "cache_directory")
_FIT_OF_BOTH = (
    "optimizer", "label_smoothing", "class_weights", "early_stopping_patience", "plateau_patience",
    "precision", "xla", "gpu_memory_growth", "gpu_prefetch_batches", "seed",
)  # fmt: skip
# By step and parameter of it, where the pipeline has another name for it.
_BATCH_SIZES = {"frozen": "batch_size", "fine_tune": "fine_tune_batch_size"}
_FIT_OF_ONE = ("epochs", "learning_rate", "schedule", "warmup_epochs")


def check_values(values: Mapping[str, Any], training_gpus: int = 0) -> None:
    """Check the value of every parameter that a step would refuse, as far as it shows without looking at any data.

    Args:
        values: By name, defaults included.
        training_gpus: GPUs of each training step, 0 on CPU.

    Raises:
        UserError: As the step would.
    """
    # Pillow, OpenCV and pandas take a second that a word about the command line need not wait for.
    from components.audit.checks import Thresholds  # noqa: PLC0415
    from components.audit.image_audit import check_settings as check_audit  # noqa: PLC0415
    from components.clean.cleaning_policy import cleaning_policy  # noqa: PLC0415
    from components.ingest.ingestion import check_settings as check_ingest  # noqa: PLC0415
    from components.ingest.limits import Limits  # noqa: PLC0415
    from components.register.model_exports import check_formats  # noqa: PLC0415
    from components.register.other_registries import check_other_registries  # noqa: PLC0415
    from components.register.promotion_gate import Gate  # noqa: PLC0415
    from components.register.registry import ModelRegistry  # noqa: PLC0415
    from components.split.split_settings import SplitSettings  # noqa: PLC0415
    from components.split.split_settings import check_settings as check_split  # noqa: PLC0415

    Limits(**{name: values[name] for name in _LIMITS})
    check_ingest(values["part_size_mib"], values["workers"])
    thresholds = Thresholds(**{name: values[name] for name in _THRESHOLDS})
    check_audit(thresholds, values["sample_images"], values["workers"], values["seed"])
    if set(EMBEDDING_PARAMETERS) <= set(values):  # the pipeline has the step
        check_embeddings(EmbeddingSettings(require_gpu=False, **{name: values[name] for name in _EMBEDDINGS}))
    cleaning_policy(values["cleaning_policy"], values["allow_list"], values["deny_list"])
    for place in ("previous_decisions", "earlier_findings"):
        storage.join(values[place], "file")
    check_split(
        SplitSettings(
            fractions={name: values[f"{name}_fraction"] for name in SPLIT_NAMES},
            image_size_px=values["image_size_px"],
            resize_policy=values["resize_policy"],
            group_pattern=values["group_pattern"],
            near_duplicate_distance=values["near_duplicate_distance"],
            near_duplicate_correlation=values["near_duplicate_correlation"],
            near_duplicate_difference=values["near_duplicate_difference"],
            shard_size_mib=values["shard_size_mib"],
            workers=values["workers"],
            seed=values["seed"],
        )
    )
    _check_training(values, training_gpus)
    Gate(values["minimum_accuracy"], values["class_recall_floors"], values["maximum_calibration_error"])
    check_formats(values["exports"])
    check_other_registries(values["other_registries"], values["registry_uri"], values["exports"])
    check_evaluate(values["batch_size"], values["label_check_images"])
    ModelRegistry(values["registry_uri"], values["model_name"])


def _check_training(values: Mapping[str, Any], gpu_count: int) -> None:
    backbone = find_backbone(values["backbone"], values["image_size_px"])
    mode = ModeSettings(**{name: values[name] for name in _MODE})
    head = {name: values[name] for name in _HEAD}
    unfrozen = values["unfrozen_layers"]
    # First: of too few a step alone would say only half of what is wrong.
    check_unfrozen_layers(unfrozen, backbone.name, backbone.layers, backbone.fewest_unfrozen_layers)
    with _parameters_of("frozen", values):
        check_frozen(FrozenSettings(mode=mode, gpu_count=gpu_count, fit=_fit("frozen", values), **head))
    with _parameters_of("fine_tune", values):
        check_fine_tune(
            FineTuneSettings(
                unfrozen,
                values["train_batch_normalization"],
                values["augmentation"],
                mode,
                values["export_h5"],
                gpu_count,
                _fit("fine_tune", values),
            )
        )
    check_batch_is_shared(values["batch_size"], gpu_count)
    if values["fine_tune_batch_size"]:  # 0 is found
        with _parameters_of("fine_tune", values):
            check_batch_is_shared(values["fine_tune_batch_size"], gpu_count)
    check_checkpoint_seconds(values["checkpoint_seconds"])
    if values["checkpoint_uri"]:
        storage.join(values["checkpoint_uri"], "checkpoints")


def _fit(phase: str, values: Mapping[str, Any]) -> FitSettings:
    of_one = {name: values[f"{phase}_{name}"] for name in _FIT_OF_ONE}
    batch_size = values[_BATCH_SIZES[phase]]
    return FitSettings(batch_size=batch_size, **of_one, **{name: values[name] for name in _FIT_OF_BOTH})


@contextlib.contextmanager
def _parameters_of(phase: str, values: Mapping[str, Any]) -> Iterator[None]:
    """Begin a step's sentence about its ``epochs`` with the pipeline's name for them, ``frozen_epochs`` for example."""
    try:
        yield
    except UserError as error:
        pipelines_name = f"{phase}_{str(error).partition(' ')[0]}"
        raise UserError(f"{phase}_{error}" if pipelines_name in values else str(error)) from error


def check_floor_classes(values: Mapping[str, Any]) -> None:
    """Check that the classes of ``class_recall_floors`` are in the source, by the names in it.

    Registration would find it hours of training later. Where no class is named the source is not looked at.

    Raises:
        UserError: When one is not, or the source cannot be used.
        TransientError: When Cloud Storage does not answer.
    """
    from components.ingest.limits import Limits  # noqa: PLC0415
    from components.ingest.source_classes import source_classes  # noqa: PLC0415
    from components.register.promotion_gate import check_floors, classes_with_floors  # noqa: PLC0415

    floors, source = values["class_recall_floors"], values["source"]
    if classes_with_floors(floors):
        limits = Limits(**{name: values[name] for name in _LIMITS})
        check_floors(floors, source_classes(source, values["labels_file"], limits), source)


def check_places(values: Mapping[str, Any], steps: Path, *, in_containers: bool) -> None:
    """Check, for a run on this machine, that its places can be used, and weights and earlier findings are there.

    Args:
        values: By name, defaults included.
        steps: Folder that the outputs of steps will be in.
        in_containers: Whether steps run in containers. These see folders of this machine as whoever starts them does;
            but their image may hold the weights, and they reach Cloud Storage, if at all, in a way of their own: of
            that nothing is tried.

    Raises:
        UserError: When the registry cannot be read or written, checkpoints or caches cannot be written or would lie
            among outputs, or the weights or the earlier findings are missing.
        TransientError: When Cloud Storage does not answer.
    """
    from components.register.registry import ModelRegistry  # noqa: PLC0415

    registry, cache, checkpoints, findings = (
        "" if in_containers and storage.is_remote(values[name]) else values[name]
        for name in ("registry_uri", "cache_directory", "checkpoint_uri", "earlier_findings")
    )
    if registry:
        if not storage.is_remote(registry):
            existing = next(folder for folder in (Path(registry), *Path(registry).parents) if folder.exists())
            if not (existing.is_dir() and os.access(existing, os.W_OK)):
                raise UserError(
                    f"the registry {registry} cannot be written: {existing} is no folder of yours to write in"
                )
        ModelRegistry(registry, values["model_name"]).read_index()
    require_training_places(cache, checkpoints, [steps])
    weights = values["weights"]
    seen = not in_containers or (not storage.is_remote(weights) and Path(weights).exists())
    if weights not in WEIGHTS_IN_WORDS and seen:
        weights_source.check_weights_file(weights)
    check_earlier_findings(findings)


def check_earlier_findings(uri: str) -> None:
    """Check that an earlier run left findings to clean by, where one is named.

    Raises:
        UserError: When it left none.
        TransientError: When Cloud Storage does not answer.
    """
    from components.clean.earlier_findings import find_earlier_findings  # noqa: PLC0415

    if uri:
        find_earlier_findings(uri)
