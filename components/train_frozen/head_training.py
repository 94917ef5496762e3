"""What the head is trained on: features of the frozen backbone, computed once, or pixels through the whole model.

Both give the same weights: a frozen backbone gives the same answer in every epoch. In the pass over the images that
computes the features, what fine-tuning will take from the layers that stay frozen is kept too.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from components.classifier.activation_cache import ActivationCache
from components.classifier.activations import (
    BOUNDARY_KIND,
    FEATURES_KIND,
    Activations,
    Views,
    activation_facts,
    boundary_cache,
    features_cache,
    missing_activations,
)
from components.classifier.attempts_made import AttemptsMade
from components.classifier.backbones import Backbone
from components.classifier.boundary import Cut, cut_before_last_layers, features_and_boundary
from components.classifier.checkpoints import Checkpoints
from components.classifier.decoded_images import open_pictures
from components.classifier.devices import Devices
from components.classifier.fit_settings import AUTO
from components.classifier.frozen_layers import FrozenLayers
from components.classifier.head import FEATURES, head_model
from components.classifier.input_pipeline import Batching, SplitImages, read_labels
from components.classifier.preparation import Preparation
from components.classifier.training import Fit, Validation, balanced_class_weights, compile_classifier, fit_epochs
from components.classifier.training_mode import Mode, choose_mode, resumed_mode
from components.formats.splits import Splits
from components.formats.trained_model import FROZEN_PHASE
from components.train_frozen.frozen_settings import FrozenSettings


@dataclasses.dataclass(frozen=True)
class FrozenBackbone:
    """The backbone and what it is shown.

    Attributes:
        backbone: Description of the network.
        network: With pretrained weights, frozen.
        devices: What it was built for.
        splits: Description of the images.
        training: The training images.
        validation: The validation images.
    """

    backbone: Backbone
    network: keras.Model
    devices: Devices
    splits: Splits
    training: SplitImages
    validation: SplitImages


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the head will be trained.

    Attributes:
        mode: Cached or streaming.
        caches: By kind: of features, and of the boundary when it is to be handed over; empty for streaming.
        extractor: Computes features, and what fine-tuning will take even if nothing is kept of it: see
            ``FrozenLayers``.
        building: Returns what to make the head inside of: spread over the devices, except that on features it learns
            on one alone, being too small to share.
        root: Folder for what is kept on disk meanwhile.
    """

    mode: Mode
    caches: dict[str, ActivationCache]
    extractor: keras.Model
    building: Callable[[], contextlib.AbstractContextManager[None]]
    root: Path


def plan_training(
    frozen: FrozenBackbone, settings: FrozenSettings, root: Path, finished_epochs: Callable[[Mode], int | None]
) -> Plan:
    """Choose how to train, say why, and what is computed once.

    Args:
        frozen: The backbone and the images.
        settings: Checked settings.
        root: Folder for caches.
        finished_epochs: Says how far earlier attempts came in a mode, None for nowhere.

    Raises:
        UserError: When a cache is asked for, or begun, that may not be as large as it would be.
        TransientError: When the disk has no room for a cache that an earlier attempt has begun to train on.
    """
    cut = _cut_to_hand_over(frozen.network, settings.unfrozen_layers)
    views = views_of(settings)
    facts = activation_facts(frozen.splits, frozen.backbone, frozen.network, frozen.devices.precision, views)
    with frozen.devices.building():
        extractor = features_and_boundary(frozen.backbone, frozen.network, cut)
    features = features_cache(root, facts, extractor)
    caches = {FEATURES_KIND: features}
    if cut:
        caches[BOUNDARY_KIND] = boundary_cache(root, facts, cut, settings.mode.cache_precision)
    missing = {
        kind: missing_activations(cache, frozen.training, frozen.validation, range(views.count)).bytes
        for kind, cache in caches.items()
    }
    mode = choose_mode(settings.mode, sum(missing.values()), root)
    if cut and not mode.cached and settings.mode.training_mode == AUTO:
        print(f"train_frozen: nothing is kept for fine_tune: {mode.reason}", flush=True)
        mode = choose_mode(settings.mode, missing[FEATURES_KIND], root)
        del caches[BOUNDARY_KIND]

    def to_go_on(finished: int) -> int:
        wanted = views.of_epochs(range(finished, settings.fit.epochs))
        return missing_activations(features, frozen.training, frozen.validation, wanted).bytes

    mode = resumed_mode(settings.mode, mode, finished_epochs, to_go_on, root)
    print(f"train_frozen: training mode {mode.name}: {mode.reason}", flush=True)
    if mode.cached and BOUNDARY_KIND in caches and cut:
        print(f"train_frozen: kept for fine_tune beside {FEATURES}: {cut.in_words}", flush=True)
    if mode.cached:
        return Plan(mode, caches, extractor, contextlib.nullcontext, root)
    return Plan(mode, {}, extractor, frozen.devices.building, root)


def fit_head(
    head: Sequence[keras.layers.Layer],
    frozen: FrozenBackbone,
    plan: Plan,
    settings: FrozenSettings,
    checkpoints: Checkpoints | None,
    attempts: AttemptsMade,
) -> Fit:
    """Fit the head and leave it with the weights of its best epoch.

    Args:
        head: Its layers, made as the plan has it.
        frozen: The backbone and the images.
        plan: How.
        settings: Checked settings.
        checkpoints: Where the state is kept now and then and after each epoch, or None.
        attempts: Counts those that checkpoints know of.

    Raises:
        UserError: As ``fit_epochs`` does.
        TransientError: Likewise, and when a shard of a cache is damaged meanwhile.
        StoppedError: Likewise.
    """
    preparation = Preparation()
    fit, strength = settings.fit, settings.augmentation
    weights = balanced_class_weights(frozen.training.images_per_class, fit.class_weights)
    if plan.mode.cached:
        activations = Activations(
            plan.caches,
            plan.extractor,
            frozen.training,
            frozen.validation,
            views_of(settings),
            preparation,
        )
        batching = Batching(fit.batch_size, 1)
        held_back = activations.held_back(FEATURES_KIND, batching)
        model = head_model(head, plan.extractor.output[FEATURES].shape[1])
        compile_classifier(model, settings.fit)
        with activations.reading():
            return fit_epochs(
                model,
                FROZEN_PHASE,
                fit,
                lambda epoch: activations.of_epoch(FEATURES_KIND, epoch, batching),
                held_back,
                weights,
                checkpoints,
                preparation=preparation,
                attempts=attempts,
            )
    batching = frozen.devices.batching(fit.batch_size)
    sources = (frozen.training, frozen.validation)
    training, validation = open_pictures("train_frozen", sources, settings.mode, fit.epochs, plan.root)
    held_back = Validation(validation.stored_batches(batching), read_labels(frozen.validation))
    with frozen.devices.building():
        model = head_model(head, plan.extractor.output[FEATURES].shape[1])
        compile_classifier(model, settings.fit)
    return fit_epochs(
        model,
        FROZEN_PHASE,
        fit,
        lambda epoch: training.epoch_batches(batching, strength, fit.seed, epoch),
        held_back,
        weights,
        checkpoints,
        FrozenLayers(plan.extractor, fit.xla, FEATURES),
        preparation,
        attempts=attempts,
    )


def _cut_to_hand_over(network: keras.Model, unfrozen_layers: int) -> Cut | None:
    """Return where fine-tuning will cut the backbone, None where it will learn as a whole or not at all."""
    if unfrozen_layers == 0:
        return None
    cut = cut_before_last_layers(network, min(unfrozen_layers, len(network.layers)))
    return None if cut.at_input else cut


def views_of(settings: FrozenSettings) -> Views:
    """Return the views of training images that the head may be trained on."""
    count = settings.mode.views(settings.fit.epochs, settings.augmentation)
    return Views(settings.augmentation, settings.fit.seed, count)
