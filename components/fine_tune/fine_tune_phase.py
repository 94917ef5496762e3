"""The fine-tuning phase: the last layers of the backbone learn too, and the better of both phases' models is kept."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from components.classifier.backbones import Backbone, find_backbone
from components.classifier.batch_size import found_batch_size
from components.classifier.checkpoints import Checkpoints
from components.classifier.devices import prepare_training
from components.classifier.export import export_h5
from components.classifier.fit_settings import check_checkpoint_seconds
from components.classifier.head import head_layers, whole_model
from components.classifier.input_pipeline import SplitImages, open_splits, print_counts, sample_images
from components.classifier.model_folder import read_trained_model, write_trained_model
from components.classifier.report import SAMPLES_SHOWN, Story, kept_sentence, write_training_report
from components.classifier.training import (
    Fit,
    balanced_class_weights,
    compile_classifier,
    fit_epochs,
    measure,
)
from components.classifier.training_mode import CACHED, Mode
from components.classifier.training_state import training_identity
from components.failures import UserError
from components.fine_tune.fine_tune_settings import FineTuneSettings, check_settings
from components.fine_tune.tail_training import PHASE, Images, Training, own_cache_folder, plan_training
from components.fine_tune.unfreezing import unfreeze_last_layers
from components.formats.splits import Splits
from components.formats.trained_model import TrainingRecord
from components.publishing import published_directory

FROZEN_PHASE = "frozen"


@dataclasses.dataclass(frozen=True)
class _Choice:
    """Which phase's model is kept, and the figures that decided."""

    phase: str
    epoch: int
    val_loss: float
    val_accuracy: float
    baseline_loss: float
    tuned_loss: float


def fine_tune_phase(
    splits_directory: Path,
    frozen_directory: Path,
    handed_over: Path,
    settings: FineTuneSettings,
    checkpoint_uri: str,
    checkpoint_seconds: float,
    model_directory: Path,
    report: Path,
) -> dict[str, float]:
    """Fine-tune, keep the better of both phases' models, and publish it and a report.

    Args:
        splits_directory: The splits the frozen model was trained on.
        frozen_directory: Output of train_frozen.
        handed_over: Its cache; a folder without any will do.
        settings: All parameters that decide what comes out.
        checkpoint_uri: ``gs://`` prefix or local folder to keep the state in, and to resume from; empty for neither.
        checkpoint_seconds: How often to keep it within an epoch; 0 for after each epoch alone.
        model_directory: Folder to publish, see ``components.formats.trained_model``.
        report: HTML file to publish.

    Returns:
        Metrics by name.

    Raises:
        UserError: When a parameter, the splits, the frozen model or the machine is not fit for training, or checkpoints
            cannot be kept where they should.
        TransientError: When Cloud Storage does not answer.
    """
    started = time.monotonic()
    check_settings(settings)
    check_checkpoint_seconds(checkpoint_seconds)
    splits, training, validation = open_splits(splits_directory)
    print_counts(splits)
    devices = prepare_training(settings.gpu_count, settings.fit.seed, settings.fit.precision)
    frozen, frozen_record, frozen_history = read_trained_model(frozen_directory)
    _check_belongs(frozen_record, splits)
    backbone = find_backbone(frozen_record.backbone, splits.image_size_px)
    with devices.building():
        model = _build(backbone, frozen_record)
        _copy_weights(frozen, model)
        learning = unfreeze_last_layers(
            model.get_layer(backbone.name), settings.unfrozen_layers, settings.train_batch_normalization
        )
        compile_classifier(model, settings.fit)
    print(
        f"fine_tune: {len(learning)} backbone layers learn, {learning[0]} to {learning[-1]}; batch normalization "
        f"{'among them learns too' if settings.train_batch_normalization else 'stays frozen'}",
        flush=True,
    )
    if settings.fit.batch_size == 0:
        settings = settings.with_batch_size(found_batch_size(model, training.images, settings.fit.xla))

    def settings_of_phases(mode: Mode) -> dict[str, dict[str, Any]]:
        return {**frozen_record.settings, PHASE: settings.as_record(mode)}

    def identity(mode: Mode) -> dict[str, Any]:
        return training_identity(splits, frozen, devices.precision, settings_of_phases(mode))

    def finished_epochs(mode: Mode) -> int | None:
        return Checkpoints(checkpoint_uri, PHASE, identity(mode)).finished_epochs() if checkpoint_uri else None

    with own_cache_folder(model_directory) as own_cache:
        images = Images(splits, training, validation)
        plan = plan_training(backbone, model, images, settings, devices, handed_over, own_cache, finished_epochs)
        with devices.building():
            compile_classifier(plan.model, settings.fit)
        all_settings = settings_of_phases(plan.mode)
        checkpoints = Checkpoints.opened(checkpoint_uri, PHASE, identity(plan.mode), checkpoint_seconds)
        class_weight = balanced_class_weights(training.images_per_class, settings.fit.class_weights)
        fit, choice = _fit_and_choose(model, frozen, plan, class_weight, frozen_record, settings, checkpoints)
    record = dataclasses.replace(
        frozen_record,
        phase=PHASE,
        best_phase=choice.phase,
        best_epoch=choice.epoch,
        best_val_loss=choice.val_loss,
        best_val_accuracy=choice.val_accuracy,
        devices=devices.names,
        settings=all_settings,
    )
    history = pd.concat([frozen_history, fit.history], ignore_index=True)
    kept = _finished(model, backbone, frozen_record)
    with published_directory(model_directory) as directory:
        curves = write_trained_model(directory, kept, record, history)
        if settings.export_h5:
            export_h5(kept, directory / backbone.h5_file)
    seconds = time.monotonic() - started
    story = _tell(backbone, choice, validation, learning, model, all_settings[PHASE], fit.warnings, seconds)
    print(f"fine_tune: {story.verdict}", flush=True)
    samples = sample_images(training, SAMPLES_SHOWN)
    write_training_report(report, story, record, history, curves, splits, samples)
    return {
        "val_accuracy": choice.val_accuracy,
        "val_loss": choice.val_loss,
        "frozen_val_loss": choice.baseline_loss,
        "fine_tuned_val_loss": choice.tuned_loss,
        "fine_tuned_model_kept": int(choice.phase == PHASE),
        "best_epoch": choice.epoch,
        "epochs_run": len(fit.history),
        "training_images": training.images,
        "validation_images": validation.images,
        **fit.measured,
        "seconds": round(seconds, 1),
    }


def _check_belongs(record: TrainingRecord, splits: Splits) -> None:
    """Validation images of other splits may have been trained on, so the choice between phases would mean nothing."""
    if record.dataset_digest != splits.dataset_digest:
        raise UserError(
            f"the frozen model was trained on other splits (digest {record.dataset_digest[:12]}, these have "
            f"{splits.dataset_digest[:12]}): give the splits it was trained on, or run train_frozen on these"
        )
    if record.class_names != splits.class_names or record.image_size_px != splits.image_size_px:
        raise UserError("the frozen model has other classes or another image size than the splits: run train_frozen")
    if record.phase != FROZEN_PHASE:
        raise UserError(f"the model was written by phase '{record.phase}': give the output of train_frozen")


def _build(backbone: Backbone, record: TrainingRecord) -> keras.Model:
    """Build the architecture of the frozen phase anew: for these devices, at their precision."""
    frozen = record.settings[FROZEN_PHASE]
    head = head_layers(len(record.class_names), frozen["head_units"], frozen["dropout"])
    return whole_model(backbone, backbone.build(record.image_size_px), head)


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    try:
        target.set_weights(source.get_weights())
    except ValueError as error:
        raise UserError(f"the frozen model is not what its training.json says ({error}): run train_frozen") from error


def _finished(model: keras.Model, backbone: Backbone, record: TrainingRecord) -> keras.Model:
    """Return the model without its optimizer, in float32 for one device, whatever it was trained on."""
    keras.utils.clear_session()  # layers are numbered from zero again, so that they keep the names of the frozen phase
    finished = _build(backbone, record)
    finished.get_layer(backbone.name).trainable = False  # who trains it further thaws what they mean to
    finished.set_weights(model.get_weights())
    return finished


def _fit_and_choose(
    model: keras.Model,
    frozen: keras.Model,
    plan: Training,
    class_weight: dict[int, float] | None,
    record: TrainingRecord,
    settings: FineTuneSettings,
    checkpoints: Checkpoints | None,
) -> tuple[Fit, _Choice]:
    """Measure the frozen phase's model, fit, and leave the model with the weights that are better on validation."""
    fit = settings.fit
    with plan.reading():
        held_back = plan.held_back()
        baseline_loss, baseline_accuracy = measure(plan.model, held_back)
        print(f"fine_tune before  val_loss {baseline_loss:.4f}  val_accuracy {baseline_accuracy:.4f}", flush=True)
        outcome = fit_epochs(plan.model, PHASE, fit, plan.of_epoch, held_back, class_weight, checkpoints)
    if outcome.best_val_loss < baseline_loss:
        phase, epoch, loss, accuracy = PHASE, outcome.best_epoch, outcome.best_val_loss, outcome.best_val_accuracy
    else:
        _copy_weights(frozen, model)
        phase, epoch, loss, accuracy = FROZEN_PHASE, record.best_epoch, baseline_loss, baseline_accuracy
    return outcome, _Choice(phase, epoch, loss, accuracy, baseline_loss, outcome.best_val_loss)


def _tell(
    backbone: Backbone,
    choice: _Choice,
    validation: SplitImages,
    learning: Sequence[str],
    model: keras.Model,
    settings: Mapping[str, Any],
    warnings: list[str],
    seconds: float,
) -> Story:
    kept = kept_sentence(choice.phase, choice.epoch, choice.val_loss, choice.val_accuracy, validation.images)
    if choice.phase == PHASE:
        reason = f"Before fine-tuning the same images gave {choice.baseline_loss:.4f}."
    else:
        reason = f"No epoch of fine-tuning was better (its best: {choice.tuned_loss:.4f}), so its weights were dropped."
    normalization = (
        "Batch normalization among them learned too, from the statistics of batches."
        if settings["train_batch_normalization"]
        else "Batch normalization stayed frozen, in inference mode."
    )
    if settings["training_mode"] == CACHED:
        way = f"What the other layers give was computed once for each of {settings['augmented_views']} views."
    else:
        way = "Every epoch went through the whole model, with views of its own."
    learned = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    return Story(
        title=f"The last layers of {backbone.name}, fine-tuned",
        verdict=f"{kept} {reason}",
        tone="good" if choice.phase == PHASE else "warn",
        trained=(
            f"{learned:,} of {model.count_params():,} weights could learn: the head and {len(learning)} backbone "
            f"layers, {learning[0]} to {learning[-1]}. {normalization} {way}"
        ),
        warnings=warnings,
        seconds=seconds,
    )
