"""The fine-tuning phase: the last layers of the backbone learn too, and the better of both phases' models is kept.

What training took is given back before what is published is written and checked.
"""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from components.classifier.attempts_made import AttemptsMade
from components.classifier.backbones import Backbone, find_backbone
from components.classifier.batch_size import found_batch_size, sizes_to_find
from components.classifier.checkpoints import Checkpoints
from components.classifier.devices import Devices, prepare_training
from components.classifier.earlier_attempts import Choice, EarlierAttempts
from components.classifier.export import export_h5
from components.classifier.fit_settings import check_checkpoint_seconds
from components.classifier.head import head_layers, head_of, whole_model
from components.classifier.input_pipeline import SplitImages, open_splits, print_counts, sample_images
from components.classifier.model_folder import read_model, read_training, write_trained_model
from components.classifier.report import (
    SAMPLES_SHOWN,
    Story,
    kept_sentence,
    times_computed,
    write_training_report,
)
from components.classifier.resumed_choice import resumed_choice
from components.classifier.saved_figures import (
    Figures,
    both_precisions,
    computes_as_saved,
    figures_of,
    training_sentence,
)
from components.classifier.step_time import StepTime
from components.classifier.training import (
    Fit,
    balanced_class_weights,
    compile_classifier,
    fit_epochs,
    measure,
)
from components.classifier.training_faults import enough_memory, faults_explained
from components.classifier.training_mode import CACHED, Mode
from components.classifier.training_places import require_training_places
from components.classifier.training_state import training_identity, weights_digest
from components.classifier.verdict import chance_warning, course_sentence
from components.failures import UserError
from components.fine_tune.fine_tune_settings import FineTuneSettings, check_settings
from components.fine_tune.tail_training import Images, Training, own_cache_folder, parted, plan_training
from components.fine_tune.unfreezing import unfreeze_last_layers
from components.formats.splits import Splits
from components.formats.trained_model import FINE_TUNE_PHASE, FROZEN_PHASE, TrainingRecord
from components.memory import give_back_memory
from components.publishing import published_directory, require_publishable

STEP = "fine_tune"


@dataclasses.dataclass(frozen=True)
class _Choice:
    """Which phase's model is kept, and the figures that decided.

    Attributes:
        phase: One of the two.
        epoch: Its best.
        baseline: Of the frozen phase's model, as it is saved.
        tuned: Of the best epoch of this phase, as it would be saved.
        training_loss: What its own phase measured at the epoch that is kept.
        in_training: What this phase measured of the model that is kept, where training computes in another precision
            than a saved model; else None.
    """

    phase: str
    epoch: int
    baseline: Figures
    tuned: Figures
    training_loss: float | None
    in_training: Figures | None

    @property
    def kept(self) -> Figures:
        """Of the model that is kept."""
        return self.tuned if self.phase == FINE_TUNE_PHASE else self.baseline


@dataclasses.dataclass(frozen=True)
class _Frozen:
    """What the frozen phase came to."""

    directory: Path
    record: TrainingRecord
    backbone: Backbone


@dataclasses.dataclass(frozen=True)
class _Tuned:
    """What is left of training.

    Attributes:
        choice: Which phase's model is kept.
        fit: Of this phase.
        model: The one that is kept, without an optimizer, in float32 for one device.
        learning: Names of the backbone's layers that learned.
        learned: How many weights did, the head's among them.
        settings: Every parameter of both phases, by phase.
        before: What training measured before its first step, as after each epoch.
    """

    choice: _Choice
    fit: Fit
    model: keras.Model
    learning: list[str]
    learned: int
    settings: dict[str, Any]
    before: Figures


@faults_explained
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
        UserError: When a parameter, the splits, the frozen model or the machine is not fit for training, or outputs or
            checkpoints cannot be kept where they should; see also ``faults_explained``.
        TransientError: When Cloud Storage does not answer.
    """
    attempts = AttemptsMade()
    require_publishable(folders=[model_directory], files=[report])
    check_settings(settings)
    check_checkpoint_seconds(checkpoint_seconds)
    require_training_places(settings.mode.cache_directory, checkpoint_uri, [model_directory])
    splits, training, validation = open_splits(splits_directory)
    print_counts(splits)
    devices = prepare_training(
        settings.gpu_count,
        settings.fit.seed,
        settings.fit.precision,
        memory_growth=settings.fit.gpu_memory_growth,
    )
    frozen_record, frozen_history = read_training(frozen_directory)
    _check_belongs(frozen_record, splits)
    backbone = find_backbone(frozen_record.backbone, splits.image_size_px)
    frozen = _Frozen(frozen_directory, frozen_record, backbone)
    with own_cache_folder(model_directory) as own_cache:
        tuned = _fine_tuned(
            frozen,
            Images(splits, training, validation),
            settings,
            devices,
            (checkpoint_uri, checkpoint_seconds),
            (handed_over, own_cache),
            attempts,
        )
    choice = tuned.choice
    seconds = round(attempts.seconds, 1)
    record = dataclasses.replace(
        frozen_record,
        phase=FINE_TUNE_PHASE,
        best_phase=choice.phase,
        best_epoch=choice.epoch,
        best_val_loss=choice.kept.loss,
        best_val_accuracy=choice.kept.accuracy,
        training_val_loss=choice.training_loss,
        seconds={**frozen_record.seconds, FINE_TUNE_PHASE: seconds},
        resumed={**frozen_record.resumed, FINE_TUNE_PHASE: attempts.resumed},
        devices=devices.names,
        settings=tuned.settings,
        frozen_val_loss=tuned.before.loss,
        frozen_val_accuracy=tuned.before.accuracy,
    )
    history = pd.concat([frozen_history, tuned.fit.history], ignore_index=True)
    kept = tuned.model
    give_back_memory()
    with published_directory(model_directory) as directory:
        curves = write_trained_model(directory, kept, record, history)
        if settings.export_h5:
            export_h5(kept, directory / backbone.h5_file)
    spent = StepTime(
        seconds, tuned.fit.began - attempts.began, attempts.seconds - seconds, earlier=attempts.earlier_seconds > 0.0
    )
    story = _tell(backbone, tuned, validation, kept.count_params(), attempts, spent)
    print(f"fine_tune: {story.verdict}{attempts.told}", flush=True)
    samples = sample_images(training, SAMPLES_SHOWN)
    write_training_report(report, story, record, history, curves, splits, samples)
    return {
        "val_accuracy": choice.kept.accuracy,
        "val_loss": choice.kept.loss,
        "frozen_val_loss": choice.baseline.loss,
        "fine_tuned_val_loss": choice.tuned.loss,
        "fine_tuned_model_kept": int(choice.phase == FINE_TUNE_PHASE),
        "best_epoch": choice.epoch,
        "epochs_run": len(tuned.fit.history),
        "training_images": training.images,
        "validation_images": validation.images,
        **tuned.fit.measured,
        "seconds": seconds,
        "attempts": len(attempts.resumed) + 1,
    }


def _fine_tuned(
    frozen: _Frozen,
    images: Images,
    settings: FineTuneSettings,
    devices: Devices,
    checkpoint_place: tuple[str, float],
    cache_places: tuple[Path, Path],
    attempts: AttemptsMade,
) -> _Tuned:
    """Train the last layers, and return what is left of it: no optimizer, no caches.

    Args:
        frozen: What the frozen phase came to.
        images: To train on and to choose by.
        settings: Checked settings.
        devices: To train on.
        checkpoint_place: Where to keep the state, and how often.
        cache_places: Folders of what train_frozen has computed, and of what is computed here.
        attempts: Counts those that checkpoints know of.
    """
    backbone = frozen.backbone
    uri, every_seconds = checkpoint_place
    loaded = read_model(frozen.directory)
    model_digest = weights_digest(loaded) if uri else ""  # for the identity of checkpoints alone

    def settings_of_phases(choice: Choice) -> dict[str, dict[str, Any]]:
        return {
            **frozen.record.settings,
            FINE_TUNE_PHASE: settings.with_batch_size(choice.batch_size).as_record(choice.mode, choice.precision),
        }

    earlier = EarlierAttempts(
        uri,
        FINE_TUNE_PHASE,
        lambda choice: training_identity(images.splits, model_digest, choice.precision, settings_of_phases(choice)),
    )
    asked, modes = settings.fit.batch_size, settings.mode.possible_modes()
    sizes = [asked] if asked else sizes_to_find(devices.strategy.num_replicas_in_sync, images.training.images)
    devices = devices.going_on(STEP, settings.fit.precision, lambda precision: earlier.left(precision, sizes, modes))
    saved_baseline = None if computes_as_saved(devices.precision) else figures_of(loaded, images.validation)
    # Anew: Cloud Storage's client draws from the random numbers that seed the layers.
    keras.utils.set_random_seed(settings.fit.seed)
    with devices.building():
        model = _model_to_train(loaded, frozen, devices)
        del loaded
        learning = unfreeze_last_layers(
            model.get_layer(backbone.name), settings.unfrozen_layers, settings.train_batch_normalization
        )
    print(
        f"fine_tune: of the last {settings.unfrozen_layers} backbone layers the {len(learning)} that hold weights that "
        f"learn are {learning[0]} to {learning[-1]}; batch normalization "
        f"{'among them learns too' if settings.train_batch_normalization else 'stays frozen'}",
        flush=True,
    )
    if asked == 0:
        tried = parted(backbone, model, settings, devices)
        with devices.building():
            compile_classifier(tried.learning, settings.fit)
        xla, ahead = settings.fit.xla, settings.fit.gpu_prefetch_batches
        found = found_batch_size(tried.learning, images.training.images, xla, ahead, tried.frozen)
        del tried  # with its optimizer and graphs
        begun_with = resumed_choice(
            STEP,
            "batch size",
            found,
            [size for size in sizes if size != found],
            able=lambda size: size < found,
            left=lambda size: earlier.left(devices.precision, [size], modes),
        )
        settings = settings.with_batch_size(begun_with)

    def choice_of(mode: Mode) -> Choice:
        return Choice(devices.precision, settings.fit.batch_size, mode)

    plan = plan_training(
        backbone,
        model,
        images,
        settings,
        devices,
        *cache_places,
        lambda mode: earlier.finished_epochs(choice_of(mode)),
    )
    with devices.building():
        compile_classifier(plan.model, settings.fit)
    all_settings = settings_of_phases(choice_of(plan.mode))
    checkpoints = earlier.go_on(choice_of(plan.mode), every_seconds)
    fit, baseline = _measure_and_fit(plan, images.training, settings, checkpoints, attempts)
    learned = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    fit, choice, kept = _better(fit, model, frozen, devices, (baseline, saved_baseline), images.validation)
    fit = fit.warned(FINE_TUNE_PHASE, chance_warning(choice.kept.accuracy, images.validation.images_per_class))
    return _Tuned(choice, fit, kept, learning, learned, all_settings, baseline)


def _check_belongs(record: TrainingRecord, splits: Splits) -> None:
    """Validation images of other splits may have been trained on, so the choice between phases would mean nothing."""
    if record.dataset_digest != splits.dataset_digest:
        raise UserError(
            f"the frozen model was trained on other splits (digest {record.dataset_digest[:12]}, these have "
            f"{splits.dataset_digest[:12]}): give the splits it was trained on, or run train_frozen on these"
        )
    if record.class_names != splits.class_names or record.image_size_px != splits.image_size_px:
        raise UserError("the frozen model has other classes or another image size than the splits: run train_frozen")
    if not record.is_of(splits):
        differ = (
            f"resize_policy {record.resize_policy}, these have {splits.resize_policy}"
            if record.resize_policy != splits.resize_policy
            else "their shards differ"
        )
        raise UserError(
            f"the frozen model was trained on other pixels of the same images ({differ}): give the splits it was "
            "trained on, or run train_frozen on these"
        )
    if record.phase != FROZEN_PHASE:
        raise UserError(f"the model was written by phase '{record.phase}': give the output of train_frozen")


def _model_to_train(loaded: keras.Model, frozen: _Frozen, devices: Devices) -> keras.Model:
    """Return the frozen phase's model with a head of its own random state: built anew unless these devices are plain.

    Raises:
        UserError: When the model is not what its record says.
    """
    try:
        network = loaded.get_layer(frozen.backbone.name) if devices.plain else None
        model = _joined(frozen, network)
        _copy_weights(loaded, model)
    except ValueError as error:
        raise UserError(f"the frozen model is not what its training.json says ({error}): run train_frozen") from error
    return model


def _joined(frozen: _Frozen, network: keras.Model | None) -> keras.Model:
    """Return a model of a backbone, or a new one, and a new head."""
    record = frozen.record
    network = network or frozen.backbone.build(record.image_size_px)
    settings = record.settings[FROZEN_PHASE]
    head = head_layers(len(record.class_names), settings["head_units"], settings["dropout"])
    return whole_model(frozen.backbone, network, head)


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    for of_source, of_target in zip(source.weights, target.weights, strict=True):
        if of_source.shape != of_target.shape:  # of which Keras shows all values
            raise ValueError(f"{of_source.path} is {tuple(of_source.shape)} and not {tuple(of_target.shape)}")
        of_target.assign(of_source)


def _finished(model: keras.Model, frozen: _Frozen, devices: Devices) -> keras.Model:
    """Return the model without its optimizer, in float32 for one device, whatever it was trained on."""
    name = frozen.backbone.name
    if devices.plain:
        finished = whole_model(frozen.backbone, model.get_layer(name), head_of(model))
    else:
        keras.utils.clear_session()  # layers are numbered from zero, so that they keep the names of the frozen phase
        finished = _joined(frozen, None)
        _copy_weights(model, finished)
    finished.get_layer(name).trainable = False  # who trains it further thaws what they mean to
    return finished


def _measure_and_fit(
    plan: Training,
    training: SplitImages,
    settings: FineTuneSettings,
    checkpoints: Checkpoints | None,
    attempts: AttemptsMade,
) -> tuple[Fit, Figures]:
    """Measure the frozen phase's model as training will be measured, and fit; return both."""
    class_weight = balanced_class_weights(training.images_per_class, settings.fit.class_weights)
    with plan.reading():
        held_back = plan.held_back()
        work = f"validation before fine-tuning with {settings.fit.batch_size} images at once"
        with enough_memory(work, "lower its batch size"):
            baseline = Figures(*measure(plan.model, held_back, plan.frozen))
        print(f"fine_tune before  val_loss {baseline.loss:.4f}  val_accuracy {baseline.accuracy:.4f}", flush=True)
        outcome = fit_epochs(
            plan.model,
            FINE_TUNE_PHASE,
            settings.fit,
            plan.of_epoch,
            held_back,
            class_weight,
            checkpoints,
            plan.frozen,
            plan.preparation,
            baseline.loss,
            attempts,
        )
    return outcome, baseline


def _better(
    fit: Fit,
    model: keras.Model,
    frozen: _Frozen,
    devices: Devices,
    baselines: tuple[Figures, Figures | None],
    validation: SplitImages,
) -> tuple[Fit, _Choice, keras.Model]:
    """Say which phase's model is better on validation, as each is saved, and return it.

    Args:
        fit: Of this phase.
        model: Holds the weights of its best epoch.
        frozen: What the frozen phase came to.
        devices: What the model was built for.
        baselines: Figures of the frozen phase's model in the precision of training, and, where that is another, as it
            is saved.
        validation: The validation images.
    """
    baseline, saved_baseline = baselines
    tuned = Figures(fit.best_val_loss, fit.best_val_accuracy)
    finished, of_baseline, of_tuned = None, None, None
    if saved_baseline is not None:
        finished = _finished(model, frozen, devices)
        of_baseline, of_tuned = baseline, tuned
        baseline, tuned = saved_baseline, figures_of(finished, validation)
        print(f"fine_tune: before it, {both_precisions(devices.precision, of_baseline, baseline)}", flush=True)
        print(f"fine_tune: its best epoch, {both_precisions(devices.precision, of_tuned, tuned)}", flush=True)
    if tuned.loss < baseline.loss:
        choice = _Choice(FINE_TUNE_PHASE, fit.best_epoch, baseline, tuned, fit.best_val_loss, of_tuned)
        return fit, choice, finished or _finished(model, frozen, devices)
    warning = "fine-tuning made the model no better: lower fine_tune_learning_rate, or let fewer layers learn"
    record = frozen.record
    choice = _Choice(FROZEN_PHASE, record.best_epoch, baseline, tuned, record.training_val_loss, of_baseline)
    return fit.warned(FINE_TUNE_PHASE, warning), choice, read_model(frozen.directory)


def _tell(
    backbone: Backbone,
    tuned: _Tuned,
    validation: SplitImages,
    all_weights: int,
    attempts: AttemptsMade,
    spent: StepTime,
) -> Story:
    choice, learning, settings = tuned.choice, tuned.learning, tuned.settings[FINE_TUNE_PHASE]
    kept = kept_sentence(choice.phase, choice.epoch, choice.kept.loss, choice.kept.accuracy, validation.images)
    if choice.phase == FINE_TUNE_PHASE:
        before = round(choice.baseline.accuracy * validation.images)
        reason = f"Before fine-tuning the same images gave {choice.baseline.loss:.4f}, and {before} of them were right."
    else:
        reason = f"No epoch of fine-tuning was better (its best: {choice.tuned.loss:.4f}), so its weights were dropped."
    if choice.in_training is not None:
        kept = f"{kept}{training_sentence(settings['precision'], choice.in_training)}"
    course = course_sentence(
        FINE_TUNE_PHASE,
        settings["epochs"],
        tuned.fit.history["val_loss"].tolist(),
        choice.epoch if choice.phase == FINE_TUNE_PHASE else 0,
        settings["early_stopping_patience"],
        tuned.before.loss,
    )
    normalization = (
        "Batch normalization among them learned too, from the statistics of batches."
        if settings["train_batch_normalization"]
        else "Batch normalization stayed frozen, in inference mode."
    )
    if settings["training_mode"] == CACHED:
        way = f"What the other layers give was computed {times_computed(settings, len(tuned.fit.history))}."
    else:
        way = "Every epoch went through the whole model, with views of its own."
    return Story(
        title=f"The last layers of {backbone.name}, fine-tuned",
        verdict=f"{kept} {reason}{course}",
        trained=(
            f"{tuned.learned:,} of {all_weights:,} weights could learn: the head and, of the last "
            f"{settings['unfrozen_layers']} backbone layers, the {len(learning)} that hold weights that learn, "
            f"{learning[0]} to {learning[-1]}. {normalization} {way}{attempts.told}"
        ),
        warnings=tuned.fit.warnings,
        time=spent,
    )
