"""What the last layers are trained on: what they take from the frozen ones, computed once, or pixels in every epoch."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import tensorflow as tf

from components.classifier.activation_cache import cache_root
from components.classifier.activations import (
    BOUNDARY_KIND,
    Activations,
    Views,
    activation_facts,
    boundary_cache,
    missing_activations,
)
from components.classifier.backbones import Backbone
from components.classifier.boundary import boundary_alone, cut_before_last_layers, layers_before, tail_model
from components.classifier.decoded_images import open_pictures
from components.classifier.devices import Devices
from components.classifier.frozen_layers import FrozenLayers
from components.classifier.head import head_of
from components.classifier.input_pipeline import SplitImages, read_labels
from components.classifier.preparation import Preparation
from components.classifier.training import Validation
from components.classifier.training_mode import Mode, choose_mode, resumed_mode
from components.failures import StoppedError, TransientError
from components.fine_tune.fine_tune_settings import FineTuneSettings
from components.formats.splits import Splits
from components.publishing import working_path


@dataclasses.dataclass(frozen=True)
class Training:
    """What is fitted, on what.

    Attributes:
        mode: Cached or streaming.
        model: Holds the weights that learn: see ``Parts``.
        of_epoch: Gives the batches of an epoch, counted from 0.
        held_back: Gives the validation images.
        frozen: What those batches go through before the model, or None.
        preparation: Watches what is done before an epoch.
        reading: Returns what to read batches inside of, see ``Activations.reading``.
    """

    mode: Mode
    model: keras.Model
    of_epoch: Callable[[int], tf.data.Dataset]
    held_back: Callable[[], Validation]
    frozen: FrozenLayers | None
    preparation: Preparation
    reading: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


@dataclasses.dataclass(frozen=True)
class Parts:
    """The whole model in two parts, which share its weights.

    Attributes:
        frozen: What comes first and never learns; None when all layers learn.
        learning: The rest.
    """

    frozen: FrozenLayers | None
    learning: keras.Model


@dataclasses.dataclass(frozen=True)
class Images:
    """Splits and what is in them."""

    splits: Splits
    training: SplitImages
    validation: SplitImages


def parted(backbone: Backbone, model: keras.Model, settings: FineTuneSettings, devices: Devices) -> Parts:
    """Part a model between the layers that stay frozen and those that learn.

    Args:
        backbone: Description of the network.
        model: The whole one.
        settings: Say how many layers learn.
        devices: What the model was built for.
    """
    network = model.get_layer(backbone.name)
    cut = cut_before_last_layers(network, settings.unfrozen_layers)
    if cut.at_input:
        return Parts(None, model)
    with devices.building():
        frozen = FrozenLayers(layers_before(backbone, network, cut), settings.fit.xla)
        return Parts(frozen, tail_model(network, cut, head_of(model)))


def plan_training(
    backbone: Backbone,
    model: keras.Model,
    images: Images,
    settings: FineTuneSettings,
    devices: Devices,
    handed_over: Path,
    own_cache: Path,
    finished_epochs: Callable[[Mode], int | None],
) -> Training:
    """Choose how to train, and say why.

    Args:
        backbone: Description of the network.
        model: The whole one, whose last layers can learn.
        images: To train on.
        settings: Checked settings.
        devices: What the model was built for.
        handed_over: Caches of train_frozen; a folder without any will do.
        own_cache: Folder for what is not in them.
        finished_epochs: Says how far earlier attempts came in a mode, None for nowhere.

    Raises:
        UserError: When a cache is asked for, or begun, that may not be as large as it would be.
        TransientError: When the disk has no room for a cache that an earlier attempt has begun to train on.
    """
    preparation = Preparation()
    fit, strength = settings.fit, settings.augmentation
    batching = devices.batching(fit.batch_size)
    network = model.get_layer(backbone.name)
    cut = cut_before_last_layers(network, settings.unfrozen_layers)
    views = Views(strength, fit.seed, settings.mode.views(fit.epochs, strength))
    root = cache_root(settings.mode, own_cache)
    facts = activation_facts(images.splits, backbone, network, devices.precision, views)
    cache = boundary_cache(root, facts, cut, settings.mode.cache_precision, [handed_over])
    missing = missing_activations(cache, images.training, images.validation, range(views.count))
    worthless = ""
    if cut.at_input:
        worthless = "all layers learn, so nothing stays the same"
    elif missing.views >= fit.epochs:
        worthless = f"{missing.views} views for {fit.epochs} epochs leave nothing to use twice"

    def to_go_on(finished: int) -> int:
        wanted = views.of_epochs(range(finished, fit.epochs))
        return missing_activations(cache, images.training, images.validation, wanted).bytes

    mode = choose_mode(settings.mode, missing.bytes, root, worthless=worthless)
    mode = resumed_mode(settings.mode, mode, finished_epochs, to_go_on, root)
    print(f"fine_tune: training mode {mode.name}: {mode.reason}", flush=True)
    if not mode.cached:
        training, validation = open_pictures(
            "fine_tune", (images.training, images.validation), settings.mode, fit.epochs, root
        )
        parts = parted(backbone, model, settings, devices)
        return Training(
            mode,
            parts.learning,
            lambda epoch: training.epoch_batches(batching, strength, fit.seed, epoch),
            lambda: Validation(validation.stored_batches(batching), read_labels(images.validation)),
            parts.frozen,
            preparation,
        )
    print(f"fine_tune: {cut.in_words} cross from the frozen layers to the last {cut.last_layers}", flush=True)
    if missing.views:
        # A train_frozen that went on from a checkpoint elsewhere computed the views of its own epochs alone.
        print(
            f"fine_tune: {views.count - missing.views} of {views.count} views were handed over or cached before; what "
            "is missing is computed when an epoch first sees it",
            flush=True,
        )
    with devices.building():
        extractor = boundary_alone(backbone, network, cut)
        tail = tail_model(network, cut, head_of(model))
    activations = Activations({BOUNDARY_KIND: cache}, extractor, images.training, images.validation, views, preparation)
    return Training(
        mode,
        tail,
        lambda epoch: activations.of_epoch(BOUNDARY_KIND, epoch, batching),
        lambda: activations.held_back(BOUNDARY_KIND, batching),
        None,
        preparation,
        activations.reading,
    )


@contextlib.contextmanager
def own_cache_folder(model_directory: Path) -> Iterator[Path]:
    """Yield a folder beside the output that goes with the block, unless another attempt of the run may want it again.

    That is after a ``TransientError`` or ``StoppedError``, or when the process is killed.
    """
    folder = working_path(model_directory, "activations")
    wanted_again = False
    try:
        yield folder
    except (TransientError, StoppedError):
        wanted_again = True
        raise
    finally:
        if folder.is_dir() and not wanted_again:
            shutil.rmtree(folder)
