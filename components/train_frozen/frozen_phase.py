"""The frozen phase: features of the frozen backbone once, then the head on them, then the whole model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from components import storage
from components.classifier.activation_cache import cache_root, hand_over_caches
from components.classifier.activations import FEATURES_KIND
from components.classifier.attempts_made import AttemptsMade
from components.classifier.backbones import Backbone, find_backbone
from components.classifier.devices import Devices, prepare_training
from components.classifier.earlier_attempts import Choice, EarlierAttempts
from components.classifier.fit_settings import check_checkpoint_seconds
from components.classifier.head import head_layers, head_of, whole_model
from components.classifier.input_pipeline import SplitImages, open_splits, print_counts, sample_images
from components.classifier.model_folder import write_trained_model
from components.classifier.report import (
    SAMPLES_SHOWN,
    Story,
    kept_sentence,
    times_computed,
    write_training_report,
)
from components.classifier.saved_figures import (
    Figures,
    both_precisions,
    computes_as_saved,
    figures_of,
    training_sentence,
)
from components.classifier.step_time import StepTime
from components.classifier.training import Fit
from components.classifier.training_faults import faults_explained
from components.classifier.training_mode import STREAMING, Mode
from components.classifier.training_places import require_training_places
from components.classifier.training_state import training_identity, weights_digest
from components.classifier.verdict import chance_warning, course_sentence
from components.classifier.weights import load_weights
from components.formats.splits import Splits
from components.formats.trained_model import FROZEN_PHASE, TrainingRecord, trained_shards_digest
from components.formats.training_features import write_training_features
from components.publishing import published_directory, require_publishable
from components.train_frozen.frozen_settings import FrozenSettings, check_settings
from components.train_frozen.head_training import FrozenBackbone, fit_head, plan_training, views_of
from components.train_frozen.kept_features import kept_features


@faults_explained
def train_frozen_phase(
    splits_directory: Path,
    settings: FrozenSettings,
    checkpoint_uri: str,
    checkpoint_seconds: float,
    model_directory: Path,
    cache_directory: Path,
    report: Path,
) -> dict[str, float]:
    """Train the head and publish the whole model and a report.

    Args:
        splits_directory: Output of the split step.
        settings: All parameters that decide what comes out.
        checkpoint_uri: ``gs://`` prefix or local folder to keep the state in, and to resume from; empty for neither.
        checkpoint_seconds: How often to keep it within an epoch; 0 for after each epoch alone.
        model_directory: Folder to publish, see ``components.formats.trained_model``.
        cache_directory: Folder for what fine_tune can use again.
        report: HTML file to publish.

    Returns:
        Metrics by name.

    Raises:
        UserError: When a parameter, the splits, the weights or the machine is not fit for training, or outputs or
            checkpoints cannot be kept where they should; see also ``faults_explained``.
        TransientError: When Cloud Storage or a download fails for now.
    """
    attempts = AttemptsMade()
    require_publishable(folders=[model_directory], files=[report])
    storage.require_writable(str(cache_directory))
    check_settings(settings)
    check_checkpoint_seconds(checkpoint_seconds)
    require_training_places(settings.mode.cache_directory, checkpoint_uri, (model_directory, cache_directory))
    splits, training, validation = open_splits(splits_directory)
    backbone = find_backbone(settings.backbone, splits.image_size_px)
    print_counts(splits)
    devices = prepare_training(
        settings.gpu_count,
        settings.fit.seed,
        settings.fit.precision,
        memory_growth=settings.fit.gpu_memory_growth,
    )
    with devices.building():
        network = backbone.build(splits.image_size_px)
        weights_sha256 = load_weights(network, backbone, settings.weights)
        network.trainable = False
    model_digest = weights_digest(network) if checkpoint_uri else ""  # for the identity of checkpoints alone
    earlier = EarlierAttempts(
        checkpoint_uri,
        FROZEN_PHASE,
        lambda choice: training_identity(
            splits, model_digest, choice.precision, settings.as_record(choice.mode, choice.precision)
        ),
    )
    batch_size, modes = settings.fit.batch_size, settings.mode.possible_modes()
    before = devices.precision
    devices = devices.going_on(
        "train_frozen", settings.fit.precision, lambda precision: earlier.left(precision, [batch_size], modes)
    )
    if devices.precision != before:
        network = _built_again(backbone, network, devices)
    frozen = FrozenBackbone(backbone, network, devices, splits, training, validation)

    def choice_of(mode: Mode) -> Choice:
        return Choice(devices.precision, batch_size, mode)

    root = cache_root(settings.mode, cache_directory)
    plan = plan_training(frozen, settings, root, lambda mode: earlier.finished_epochs(choice_of(mode)))
    all_settings = settings.as_record(plan.mode, devices.precision)
    checkpoints = earlier.go_on(choice_of(plan.mode), checkpoint_seconds)
    # Anew: Cloud Storage's client draws from the random numbers that seed the layers.
    keras.utils.set_random_seed(settings.fit.seed)
    with plan.building():
        head = _new_head(splits, settings)
    fit = fit_head(head, frozen, plan, settings, checkpoints, attempts)
    hand_over_caches(plan.caches.values(), cache_directory, plan.mode)
    seen = kept_features(
        plan.caches.get(FEATURES_KIND),
        splits,
        training,
        views_of(settings),
        len(fit.history),
        settings.fit.seed,
    )
    model = _finished(frozen, head, settings)
    saved, of_training = _as_saved(model, fit, devices, validation)
    fit = fit.warned(FROZEN_PHASE, chance_warning(saved.accuracy, validation.images_per_class))
    seconds = round(attempts.seconds, 1)
    record = TrainingRecord(
        backbone=backbone.name,
        weights=settings.weights,
        weights_sha256=weights_sha256,
        preprocessing=backbone.preprocessing,
        class_names=splits.class_names,
        image_size_px=splits.image_size_px,
        resize_policy=splits.resize_policy,
        dataset_digest=splits.dataset_digest,
        phase=FROZEN_PHASE,
        best_phase=FROZEN_PHASE,
        best_epoch=fit.best_epoch,
        best_val_loss=saved.loss,
        best_val_accuracy=saved.accuracy,
        training_val_loss=fit.best_val_loss,
        seconds={FROZEN_PHASE: seconds},
        resumed={FROZEN_PHASE: attempts.resumed},
        images_per_class=dict(zip(splits.class_names, training.images_per_class, strict=True)),
        devices=devices.names,
        settings={FROZEN_PHASE: all_settings},
        shards_digest=trained_shards_digest(splits),
    )
    with published_directory(model_directory) as directory:
        curves = write_trained_model(directory, model, record, fit.history)
        if seen is not None:
            write_training_features(seen, directory)
    course = course_sentence(
        FROZEN_PHASE,
        settings.fit.epochs,
        fit.history["val_loss"].tolist(),
        fit.best_epoch,
        settings.fit.early_stopping_patience,
    )
    kept = kept_sentence(FROZEN_PHASE, fit.best_epoch, saved.loss, saved.accuracy, validation.images)
    spent = StepTime(
        seconds, fit.began - attempts.began, attempts.seconds - seconds, earlier=attempts.earlier_seconds > 0.0
    )
    story = Story(
        title=f"A new head on the frozen {backbone.name}",
        verdict=f"{kept}{of_training}{course}",
        trained=_trained_sentence(model, all_settings, len(fit.history)) + attempts.told,
        warnings=fit.warnings,
        time=spent,
    )
    print(f"train_frozen: {story.verdict}{attempts.told}", flush=True)
    samples = sample_images(training, SAMPLES_SHOWN)
    write_training_report(report, story, record, fit.history, curves, splits, samples)
    return {
        "val_accuracy": saved.accuracy,
        "val_loss": saved.loss,
        "best_epoch": fit.best_epoch,
        "epochs_run": len(fit.history),
        "training_images": training.images,
        "validation_images": validation.images,
        **fit.measured,
        "seconds": seconds,
        "attempts": len(attempts.resumed) + 1,
    }


def _built_again(backbone: Backbone, network: keras.Model, devices: Devices) -> keras.Model:
    """Return a frozen network with the same weights that computes at the precision of the devices."""
    keras.utils.clear_session()  # layers are numbered from zero, so that a rerun gives them the same names
    with devices.building():
        again = backbone.build(network.input_shape[1])
        again.set_weights(network.get_weights())
        again.trainable = False
    return again


def _new_head(splits: Splits, settings: FrozenSettings) -> list[keras.layers.Layer]:
    return head_layers(len(splits.class_names), settings.head_units, settings.dropout)


def _finished(frozen: FrozenBackbone, head: Sequence[keras.layers.Layer], settings: FrozenSettings) -> keras.Model:
    """Return the whole model in float32 for one device, whatever it was trained on."""
    if frozen.devices.plain:
        return whole_model(frozen.backbone, frozen.network, head)
    keras.utils.clear_session()  # layers are numbered from zero, whatever devices they were trained on
    network = frozen.backbone.build(frozen.splits.image_size_px)
    network.set_weights(frozen.network.get_weights())
    network.trainable = False
    portable = _new_head(frozen.splits, settings)
    model = whole_model(frozen.backbone, network, portable)
    for layer, trained in zip(portable, head, strict=True):
        layer.set_weights(trained.get_weights())
    return model


def _as_saved(model: keras.Model, fit: Fit, devices: Devices, validation: SplitImages) -> tuple[Figures, str]:
    """Return the figures of the model as it is saved, and a sentence where training measured others."""
    trained = Figures(fit.best_val_loss, fit.best_val_accuracy)
    if computes_as_saved(devices.precision):
        return trained, ""
    saved = figures_of(model, validation)
    print(f"train_frozen: {both_precisions(devices.precision, trained, saved)}", flush=True)
    return saved, training_sentence(devices.precision, trained)


def _trained_sentence(model: keras.Model, settings: Mapping[str, Any], epochs_run: int) -> str:
    learned = sum(layer.count_params() for layer in head_of(model))
    sentence = f"{learned:,} of {model.count_params():,} weights could learn: those of the head."
    if settings["training_mode"] == STREAMING:
        return f"{sentence} Every epoch went through the whole frozen backbone."
    return f"{sentence} The frozen backbone's features were computed {times_computed(settings, epochs_run)}."
