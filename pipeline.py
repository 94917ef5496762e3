"""From a ZIP of photos to a registered image classifier: the whole pipeline, and the only home of its defaults.

1. ingest        gs:// or local, ZIP or class folders -> tar parts and a catalog, pinned and checksummed
2. audit         one decode per image -> findings: what should not be trained on, and why
   audit_embeddings, only with --embedding-audit: what a pretrained network finds besides
3. clean         a policy turns findings into keep, fix, drop or quarantine, every image with its reasons
4. split         train, validation and test, stratified, copies kept together -> TFRecord shards
5. train_frozen  a new head on the frozen, pretrained backbone
6. fine_tune     the last layers of the backbone too, at a low learning rate
7. evaluate      the held-out test set: accuracy, confusion matrix, ROC, a report
8. register      a gate, then a versioned, checksummed bundle in a registry

    python pipeline.py --help
    python pipeline.py --compile --target kubeflow --gpu nvidia-l4
    python pipeline.py --run local --source photos.zip
"""

from typing import Any, NamedTuple

from kfp import dsl

from components.audit.component import audit
from components.audit_embeddings.component import audit_embeddings
from components.audit_embeddings.embedding_settings import OWN_PARAMETERS as EMBEDDING_PARAMETERS
from components.clean.component import clean
from components.evaluate.component import evaluate
from components.fine_tune.component import fine_tune
from components.ingest.component import ingest
from components.launch.command_line import main
from components.launch.optional_parameters import without_parameters
from components.launch.placement import Placement
from components.register.component import register
from components.split.component import split
from components.train_frozen.component import train_frozen

CLEANING_POLICY = {
    "unreadable": "drop",
    "truncated": "drop",
    "corrupt": "drop",
    "empty_file": "drop",
    "not_an_image": "drop",
    "decompression_bomb": "drop",
    "exact_duplicate": "drop",  # of copies one is kept: the largest
    "identical_pixels": "drop",
    "near_duplicate": "drop",
    "conflicting_label": "drop",  # every copy goes to quarantine: nobody knows which label is right
    "near_conflicting_label": "drop",
    "label_mismatch": "drop",
    "dark": "drop",
    "bright": "drop",
    "low_contrast": "drop",
    "tiny": "drop",
    "low_information": "warn",
    "blurry": "warn",
    "size_outlier": "warn",
    "aspect_outlier": "warn",
    "duplicate_filename": "warn",
    "naming_inconsistency": "warn",
    "wrong_extension": "fix",
    "decoder_warning": "warn",
    "exif_rotated": "fix",  # kept: split mends it
    "animated": "fix",
    "cmyk": "fix",
    "alpha": "fix",
    "sixteen_bit": "fix",
    "palette": "fix",
    "grayscale": "warn",
    "nested_folder": "warn",
    "unread_file": "drop",  # of audits by themselves: ingest refuses a source with such files
    "loose_file": "warn",
    "class_imbalance": "warn",
    "near_empty_class": "warn",
    "similar_class_names": "warn",
    "label_error": "warn",  # of the embedding audit, as the next two are, and of an earlier run: hints for a person
    "semantic_duplicate": "warn",
    "embedding_outlier": "warn",
}


class Results(NamedTuple):
    """What a run returns."""

    test_accuracy: float
    registered_version: str


def image_classification(placement: Placement) -> Any:
    """Return the pipeline, its steps placed on machines as ``placement`` says."""

    @dsl.pipeline(
        name="image-classification",
        description="Audited data, leak-free splits and transfer learning, from photos to a registered model.",
    )
    @without_parameters(() if placement.embedding_audit else EMBEDDING_PARAMETERS)
    def pipeline(
        source: str,
        registry_uri: str,
        model_name: str = "animals",
        seed: int = 20260,
        # Ingest
        source_fingerprint: str = "",
        labels_file: str = "labels.csv",
        part_size_mib: int = 256,
        max_files: int = 1_000_000,
        max_file_mib: int = 256,
        max_total_gib: int = 200,
        max_compression_ratio: int = 200,
        # Audit
        dark_brightness: float = 40.0,
        bright_brightness: float = 222.0,
        low_contrast: float = 5.0,
        size_outlier_iqr: float = 2.0,
        aspect_outlier: float = 3.0,
        tiny_side_px: int = 32,
        blur_ratio: float = 0.55,
        low_entropy_bits: float = 3.0,
        near_duplicate_distance: int = 8,
        near_duplicate_correlation: float = 0.85,
        near_duplicate_difference: float = 0.7,
        near_empty_class_images: int = 10,
        class_imbalance_ratio: float = 10.0,
        grayscale_difference: float = 0.6,
        naming_pattern_share: float = 0.9,
        sample_images: int = 24,
        # Clean
        cleaning_policy: dict = CLEANING_POLICY,
        allow_list: list = [],  # noqa: B006 - kfp copies it into the compiled pipeline
        deny_list: list = [],  # noqa: B006
        previous_decisions: str = "",
        earlier_findings: str = "",
        # Split
        train_fraction: float = 0.8,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        image_size_px: int = 256,
        resize_policy: str = "stretch",
        group_pattern: str = "",  # regular expression on the path: an animal's or a burst's id stays in one split
        shard_size_mib: int = 128,
        workers: int = 0,  # threads of the data steps; 0: as many as the machine is good for
        # Train
        backbone: str = "inception_v3",
        weights: str = "imagenet",
        batch_size: int = 32,
        optimizer: str = "adam",
        label_smoothing: float = 0.0,
        augmentation: float = 0.5,
        training_mode: str = "auto",
        augmented_views: int = 5,
        cache_precision: str = "float16",
        cache_limit_gb: float = 20.0,
        cache_directory: str = "",
        class_weights: str = "none",
        early_stopping_patience: int = 3,
        plateau_patience: int = 2,
        precision: str = "auto",
        xla: bool = False,
        gpu_memory_growth: bool = True,
        gpu_prefetch_batches: int = 2,
        frozen_epochs: int = 5,
        frozen_learning_rate: float = 1e-3,
        frozen_schedule: str = "plateau",
        frozen_warmup_epochs: float = 0.0,
        head_units: int = 512,
        dropout: float = 0.5,
        fine_tune_epochs: int = 10,
        fine_tune_batch_size: int = 32,
        fine_tune_learning_rate: float = 1e-5,
        fine_tune_schedule: str = "cosine",
        fine_tune_warmup_epochs: float = 0.5,
        unfrozen_layers: int = 30,
        train_batch_normalization: bool = False,
        export_h5: bool = False,
        checkpoint_uri: str = "",
        checkpoint_seconds: float = 120.0,
        # Evaluate
        label_check_images: int = 20_000,
        # Register
        exports: list = ["saved_model"],  # noqa: B006
        apply_temperature: bool = True,
        minimum_accuracy: float = 0.8,
        class_recall_floors: dict = {},  # noqa: B006
        maximum_calibration_error: float = 1.0,
        fail_if_rejected: bool = False,
        other_registries: list = [],  # noqa: B006
        model_licence: str = "",
        # Audit embeddings: EMBEDDING_PARAMETERS
        outlier_deviation: float = 2.5,
        label_error_confidence: float = 0.2,
        semantic_duplicate_distance: float = 0.5,
    ) -> Results:
        ingested = ingest(
            source=source,
            source_fingerprint=source_fingerprint,
            labels_file=labels_file,
            part_size_mib=part_size_mib,
            max_files=max_files,
            max_file_mib=max_file_mib,
            max_total_gib=max_total_gib,
            max_compression_ratio=max_compression_ratio,
            workers=workers,
        ).set_display_name("1 Ingest")
        audited = audit(
            archive=ingested.outputs["archive"],
            dark_brightness=dark_brightness,
            bright_brightness=bright_brightness,
            low_contrast=low_contrast,
            size_outlier_iqr=size_outlier_iqr,
            aspect_outlier=aspect_outlier,
            tiny_side_px=tiny_side_px,
            blur_ratio=blur_ratio,
            low_entropy_bits=low_entropy_bits,
            near_duplicate_distance=near_duplicate_distance,
            near_duplicate_correlation=near_duplicate_correlation,
            near_duplicate_difference=near_duplicate_difference,
            near_empty_class_images=near_empty_class_images,
            class_imbalance_ratio=class_imbalance_ratio,
            grayscale_difference=grayscale_difference,
            naming_pattern_share=naming_pattern_share,
            sample_images=sample_images,
            workers=workers,
            seed=seed,
        ).set_display_name("2 Audit")
        findings = audited.outputs["findings"]
        if placement.embedding_audit:
            embedded = audit_embeddings(
                archive=ingested.outputs["archive"],
                audited=findings,
                backbone=backbone,
                weights=weights,
                outlier_deviation=outlier_deviation,
                label_error_confidence=label_error_confidence,
                semantic_duplicate_distance=semantic_duplicate_distance,
                batch_size=batch_size,
                workers=workers,
                require_gpu=placement.embedding_audit == "gpu",
                seed=seed,
            ).set_display_name("2 Audit embeddings")
            placement.for_embeddings(embedded)
            findings = embedded.outputs["findings"]
        cleaned = clean(
            archive=ingested.outputs["archive"],
            findings=findings,
            policy=cleaning_policy,
            allow_list=allow_list,
            deny_list=deny_list,
            previous_decisions=previous_decisions,
            earlier_findings=earlier_findings,
        ).set_display_name("3 Clean")
        divided = split(
            archive=ingested.outputs["archive"],
            decisions=cleaned.outputs["decisions"],
            train_fraction=train_fraction,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            image_size_px=image_size_px,
            resize_policy=resize_policy,
            group_pattern=group_pattern,
            near_duplicate_distance=near_duplicate_distance,
            near_duplicate_correlation=near_duplicate_correlation,
            near_duplicate_difference=near_duplicate_difference,
            shard_size_mib=shard_size_mib,
            workers=workers,
            seed=seed,
        ).set_display_name("4 Split")
        frozen = train_frozen(
            splits=divided.outputs["splits"],
            backbone=backbone,
            weights=weights,
            epochs=frozen_epochs,
            batch_size=batch_size,
            learning_rate=frozen_learning_rate,
            schedule=frozen_schedule,
            warmup_epochs=frozen_warmup_epochs,
            optimizer=optimizer,
            label_smoothing=label_smoothing,
            head_units=head_units,
            dropout=dropout,
            augmentation=augmentation,
            training_mode=training_mode,
            augmented_views=augmented_views,
            unfrozen_layers=unfrozen_layers,
            cache_precision=cache_precision,
            cache_limit_gb=cache_limit_gb,
            cache_directory=cache_directory,
            class_weights=class_weights,
            early_stopping_patience=early_stopping_patience,
            plateau_patience=plateau_patience,
            precision=precision,
            xla=xla,
            gpu_memory_growth=gpu_memory_growth,
            gpu_prefetch_batches=gpu_prefetch_batches,
            checkpoint_uri=checkpoint_uri,
            checkpoint_seconds=checkpoint_seconds,
            gpu_count=placement.training_gpus,
            seed=seed,
        ).set_display_name("5 Train the head on the frozen backbone")
        tuned = fine_tune(
            splits=divided.outputs["splits"],
            frozen_model=frozen.outputs["model"],
            cache=frozen.outputs["cache"],
            unfrozen_layers=unfrozen_layers,
            train_batch_normalization=train_batch_normalization,
            epochs=fine_tune_epochs,
            batch_size=fine_tune_batch_size,
            learning_rate=fine_tune_learning_rate,
            schedule=fine_tune_schedule,
            warmup_epochs=fine_tune_warmup_epochs,
            optimizer=optimizer,
            label_smoothing=label_smoothing,
            augmentation=augmentation,
            training_mode=training_mode,
            augmented_views=augmented_views,
            cache_precision=cache_precision,
            cache_limit_gb=cache_limit_gb,
            cache_directory=cache_directory,
            class_weights=class_weights,
            early_stopping_patience=early_stopping_patience,
            plateau_patience=plateau_patience,
            precision=precision,
            xla=xla,
            gpu_memory_growth=gpu_memory_growth,
            gpu_prefetch_batches=gpu_prefetch_batches,
            export_h5=export_h5,
            checkpoint_uri=checkpoint_uri,
            checkpoint_seconds=checkpoint_seconds,
            gpu_count=placement.training_gpus,
            seed=seed,
        ).set_display_name("6 Fine-tune the last layers")
        evaluated = evaluate(
            splits=divided.outputs["splits"],
            model=tuned.outputs["model"],
            frozen_model=frozen.outputs["model"],
            findings=findings,
            label_check_images=label_check_images,
            registry_uri=registry_uri,
            model_name=model_name,
            pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
            batch_size=batch_size,
            seed=seed,
        ).set_display_name("7 Evaluate on the test set")
        evaluated.set_caching_options(False)  # the champion in the registry may be another one by now
        registered = register(
            model=tuned.outputs["model"],
            evaluation=evaluated.outputs["evaluation"],
            splits=divided.outputs["splits"],
            decisions=cleaned.outputs["decisions"],
            registry_uri=registry_uri,
            model_name=model_name,
            exports=exports,
            apply_temperature=apply_temperature,
            minimum_accuracy=minimum_accuracy,
            class_recall_floors=class_recall_floors,
            maximum_calibration_error=maximum_calibration_error,
            fail_if_rejected=fail_if_rejected,
            other_registries=other_registries,
            source=source,
            source_fingerprint=source_fingerprint,
            model_licence=model_licence,
            pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        ).set_display_name("8 Register")

        placement.on_cpu(ingested, vcpus=4, memory_gb=8)
        placement.on_cpu(audited, vcpus=8, memory_gb=16)
        placement.on_cpu(cleaned, vcpus=2, memory_gb=8)
        placement.on_cpu(divided, vcpus=8, memory_gb=16)
        placement.for_training(frozen)
        placement.for_training(tuned)
        placement.for_evaluation(evaluated)
        placement.on_cpu(registered, vcpus=2, memory_gb=8)
        return Results(test_accuracy=evaluated.outputs["Output"], registered_version=registered.outputs["Output"])

    return pipeline


COMPONENTS = (ingest, audit, audit_embeddings, clean, split, train_frozen, fine_tune, evaluate, register)

if __name__ == "__main__":
    main(image_classification, components=COMPONENTS)
