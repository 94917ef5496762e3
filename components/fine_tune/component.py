"""Fine-tune the last layers of the backbone and keep the better of both phases' models."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAINING, install_kfp_package=False)
def fine_tune(
    splits: dsl.Input[dsl.Dataset],
    frozen_model: dsl.Input[dsl.Model],
    cache: dsl.Input[dsl.Artifact],
    unfrozen_layers: int,
    train_batch_normalization: bool,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    schedule: str,
    warmup_epochs: float,
    optimizer: str,
    label_smoothing: float,
    augmentation: float,
    training_mode: str,
    augmented_views: int,
    cache_precision: str,
    cache_limit_gb: float,
    cache_directory: str,
    class_weights: str,
    early_stopping_patience: int,
    plateau_patience: int,
    precision: str,
    xla: bool,
    gpu_memory_growth: bool,
    gpu_prefetch_batches: int,
    export_h5: bool,
    checkpoint_uri: str,
    checkpoint_seconds: float,
    gpu_count: int,
    seed: int,
    model: dsl.Output[dsl.Model],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Fine-tune the last layers of the backbone and keep the better of both phases' models.

    Args:
        splits: The splits the frozen model was trained on.
        frozen_model: Output of train_frozen.
        cache: Output of train_frozen: what need not be computed again where the settings are the same.
        unfrozen_layers: How many of the backbone's last layers may learn.
        train_batch_normalization: Let batch normalization among them learn too; small batches then ruin its statistics.
        epochs: Epochs at most, at least 1.
        batch_size: Images in one step over all GPUs together; 0 for as many as fit into their memory, at most 256 each.
        learning_rate: Highest of the schedule: 0.00001; a hundred times that ruins pretrained weights.
        schedule: cosine, down to nothing over all epochs, or plateau, which lowers the rate when progress stalls.
        warmup_epochs: While the learning rate rises to its highest; a part of an epoch is fine, 0 for none.
        optimizer: adam, adamw, rmsprop or sgd (with Nesterov momentum).
        label_smoothing: Share of each label that is spread over all classes, 0 to below 1.
        augmentation: Strength of random flips, rotations, zooms, brightness and contrast, 0 (off) to 1.
        training_mode: cached computes what frozen layers give once for each view; streaming in every epoch, which has a
            view of its own; auto takes the cheaper one that fits the disk.
        augmented_views: Views of each image in a cache, in turn by epoch: more vary more, and take longer to compute.
        cache_precision: float16, or float32 for twice the disk and the very weights of streaming.
        cache_limit_gb: Most disk that what a cache lacks may take, before compression.
        cache_directory: Local folder that keeps caches for reruns and for other runs; empty: a folder that goes when
            the step is done.
        class_weights: none, or balanced to let small classes count as much as large ones.
        early_stopping_patience: Epochs without a better validation loss after which training stops; 0 never stops.
        plateau_patience: Likewise, after which the schedule plateau lowers the rate to a fifth; 0 never lowers it.
        precision: auto for what the GPUs are fastest with, or float32, mixed_bfloat16 or mixed_float16.
        xla: Compile training steps with XLA, which takes a minute and may make them faster.
        gpu_memory_growth: Take a GPU's memory as it is needed, and not all of it at once.
        gpu_prefetch_batches: How many batches are copied to a GPU ahead of their step; 0 copies each when it is needed.
        export_h5: Write the model in the older HDF5 format too.
        checkpoint_uri: gs:// or local folder that keeps the state of training, for a rerun to go on from; empty: none.
        checkpoint_seconds: How often the state is kept within an epoch; 0 for after each epoch alone.
        gpu_count: GPUs to train on, 0 for the CPU.
        seed: Of everything random.
        model: The model kept: model.keras, training.json, history.csv, curves.png; register exports it.
        report: What was kept and why, learning curves of both phases, settings and augmented samples.
        metrics: Validation accuracy and loss of the saved model, loss of both phases, epochs run, images, attempts and
            the seconds of all.
    """
    from pathlib import Path

    from components.classifier.keras_alone import import_keras_alone

    import_keras_alone()

    from components.classifier.fit_settings import FitSettings
    from components.classifier.training_mode import ModeSettings
    from components.failures import attempts
    from components.fine_tune.fine_tune_phase import fine_tune_phase
    from components.fine_tune.fine_tune_settings import FineTuneSettings
    from components.termination import terminable

    for attempt in attempts("fine_tune"):
        with attempt, terminable():
            fit = FitSettings(
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                schedule=schedule,
                warmup_epochs=warmup_epochs,
                optimizer=optimizer,
                label_smoothing=label_smoothing,
                class_weights=class_weights,
                early_stopping_patience=early_stopping_patience,
                plateau_patience=plateau_patience,
                precision=precision,
                xla=xla,
                gpu_memory_growth=gpu_memory_growth,
                gpu_prefetch_batches=gpu_prefetch_batches,
                seed=seed,
            )
            mode = ModeSettings(training_mode, augmented_views, cache_precision, cache_limit_gb, cache_directory)
            settings = FineTuneSettings(
                unfrozen_layers, train_batch_normalization, augmentation, mode, export_h5, gpu_count, fit
            )
            measured = fine_tune_phase(
                Path(splits.path),
                Path(frozen_model.path),
                Path(cache.path),
                settings,
                checkpoint_uri,
                checkpoint_seconds,
                Path(model.path),
                Path(report.path),
            )
            for name, value in measured.items():
                metrics.log_metric(name, value)
