"""Fine-tune the last layers of the backbone and keep the better of both phases' models."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAINING, install_kfp_package=False)
def fine_tune(
    splits: dsl.Input[dsl.Dataset],
    frozen_model: dsl.Input[dsl.Model],
    unfrozen_layers: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    augmentation: float,
    class_weights: str,
    early_stopping_patience: int,
    plateau_patience: int,
    export_h5: bool,
    checkpoint_uri: str,
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
        unfrozen_layers: How many of the backbone's last layers may learn; batch normalization among them stays frozen.
        epochs: Epochs at most, at least 1.
        batch_size: Images in one step over all GPUs together.
        learning_rate: Of Adam, 0.00001; a hundred times that ruins pretrained weights.
        augmentation: Strength of random flips, rotations, zooms, brightness and contrast, 0 (off) to 1.
        class_weights: none, or balanced to let small classes count as much as large ones.
        early_stopping_patience: Epochs without a better validation loss after which training stops; 0 never stops.
        plateau_patience: Likewise, after which the learning rate falls to a fifth; 0 never lowers it.
        export_h5: Write the model in the older HDF5 format too.
        checkpoint_uri: gs:// or local folder that keeps each epoch's state, for a rerun to go on from; empty: none.
        gpu_count: GPUs to train on, 0 for the CPU.
        seed: Of everything random.
        model: The model kept: model.keras, a SavedModel that takes image bytes, training.json, history.csv, curves.png.
        report: What was kept and why, learning curves of both phases, settings and augmented samples.
        metrics: Validation accuracy and loss of the kept model and of both phases, epochs run, images, seconds.
    """
    from pathlib import Path

    from components.classifier.fit_settings import FitSettings
    from components.failures import attempts
    from components.fine_tune.fine_tune_phase import fine_tune_phase
    from components.fine_tune.fine_tune_settings import FineTuneSettings

    for attempt in attempts("fine_tune"):
        with attempt:
            fit = FitSettings(
                epochs, batch_size, learning_rate, class_weights, early_stopping_patience, plateau_patience, seed
            )
            settings = FineTuneSettings(unfrozen_layers, augmentation, export_h5, gpu_count, fit)
            measured = fine_tune_phase(
                Path(splits.path),
                Path(frozen_model.path),
                settings,
                checkpoint_uri,
                Path(model.path),
                Path(report.path),
            )
            for name, value in measured.items():
                metrics.log_metric(name, value)
