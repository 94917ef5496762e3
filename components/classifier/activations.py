"""What frozen layers give for the images of a split: computed in one pass, kept in a cache, read as batches.

Only what a cache lacks is computed, when it is first wanted: an attempt that was stopped goes on at the shard it was
at, and one that stops training early never computes the views of epochs it does not reach.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.classifier.activation_cache import ActivationCache, StoredArray, images_of_shard
from components.classifier.activation_shards import compressed, written_shard
from components.classifier.backbones import Backbone
from components.classifier.boundary import Cut
from components.classifier.frozen_layers import FrozenLayers
from components.classifier.gathered_batches import gathered_batches
from components.classifier.head import FEATURES
from components.classifier.input_pipeline import Batching, SplitImages, epoch_order, read_labels, view_batches
from components.classifier.preparation import Preparation
from components.classifier.stopwatch import Clock
from components.classifier.training import Validation
from components.classifier.training_faults import enough_memory
from components.classifier.training_mode import size_in_words
from components.classifier.training_state import training_identity, weights_digest
from components.failures import TransientError, UserError
from components.formats.jpeg_decoding import DCT_METHOD
from components.formats.splits import Splits
from components.image_progress import ImageProgress
from components.ordered_work import in_order, processors

FEATURES_KIND, BOUNDARY_KIND = "features", "boundary"
VALIDATION = "validation"
"""Section of a cache."""

# Of a pass without gradients. On a CPU more are no faster, and oneDNN keeps for each layer what it works in: a pass
# through InceptionV3 takes 54 ms an image and 0.17 GB with 8, 57 ms and 0.46 GB with 32.
_BATCH_ON_CPU = 8
_BATCH_PER_GPU = 32
_MORE_MEMORY = "give the step a machine, or a GPU, with more, or split with a smaller image_size_px"


@dataclasses.dataclass(frozen=True)
class Views:
    """Which pixels activations are of.

    Attributes:
        strength: Of augmentation, [0, 1]; validation images are never augmented.
        seed: Of the run.
        count: How many views of each training image there are; epoch e sees view e modulo it.
    """

    strength: float
    seed: int
    count: int

    def of_epochs(self, epochs: range) -> set[int]:
        """Return the numbers of the views that some epochs see, counted from 0."""
        return {self.of_epoch(epoch) for epoch in epochs}

    def of_epoch(self, epoch: int) -> int:
        """Return the number of the view that an epoch sees, both counted from 0."""
        return epoch % self.count


class Activations:
    """The activations of a split.

    Args:
        caches: By kind, ``features`` for example.
        extractor: From pixels to a dictionary with every array of the caches by name, and maybe others.
        training: The training images.
        validation: The validation images.
        views: Of the training images.
        preparation: Is told how long passes take.
    """

    def __init__(
        self,
        caches: Mapping[str, ActivationCache],
        extractor: keras.Model,
        training: SplitImages,
        validation: SplitImages,
        views: Views,
        preparation: Preparation,
    ) -> None:
        self._caches = caches
        self._training = training
        self._validation = validation
        self._views = views
        self._pass = _BackbonePass(caches, extractor, views, preparation)
        self._labels = read_labels(training)

    def of_epoch(self, kind: str, epoch: int, batching: Batching) -> tf.data.Dataset:
        """Return an epoch, the images in the order of training from pixels: arrays, and labels."""
        view = self._views.of_epoch(epoch)
        section = section_of_view(view)
        self._pass.complete(section, self._training, view, f"view {view + 1} of {self._views.count}")
        order, _ = epoch_order(self._training, self._views.seed, epoch)
        return _batches(self._caches[kind], section, order, self._labels, batching)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Say in a sentence what TensorFlow reports, when batches of it are read in the block, as an error of its own.

        Raises:
            TransientError: When a shard was damaged since it was found whole: another attempt computes it again.
        """
        try:
            yield
        except tf.errors.OpError as error:
            damage = next((cache.damage for cache in self._caches.values() if cache.damage), "")
            if not damage:
                raise
            raise TransientError(f"{damage}, and was whole when training began: a rerun computes it again") from error

    def held_back(self, kind: str, batching: Batching) -> Validation:
        """Return the validation images in stored order."""
        self._pass.complete(VALIDATION, self._validation, None, "validation")
        labels = read_labels(self._validation)
        batches = _batches(self._caches[kind], VALIDATION, np.arange(len(labels)), labels, batching)
        return Validation(batches, labels)


def activation_facts(
    splits: Splits, backbone: Backbone, network: keras.Model, precision: str, views: Views
) -> dict[str, Any]:
    """Return all that decides what the activations of a backbone are, but where it is cut, as small JSON.

    Args:
        splits: The images.
        backbone: Description of the network.
        network: With the weights it was pretrained with.
        precision: Of the devices, ``float32`` for example.
        views: Of the training images.
    """
    settings = {
        "backbone": backbone.name,
        "preprocessing": [backbone.scale, backbone.offset],
        "jpeg_decoding": DCT_METHOD,
        "augmentation": [views.strength, views.seed] if views.strength > 0.0 else [],
        "tensorflow": tf.__version__,
    }
    return training_identity(splits, weights_digest(network), precision, settings)


def features_cache(root: Path, facts: Mapping[str, Any], extractor: keras.Model) -> ActivationCache:
    """Return the cache of pooled features, which are small and always kept exactly."""
    array = StoredArray(FEATURES, tuple(extractor.output[FEATURES].shape[1:]), "float32")
    return ActivationCache(root, FEATURES_KIND, facts, [array])


def boundary_cache(
    root: Path, facts: Mapping[str, Any], cut: Cut, precision: str, handed_over: Sequence[Path] = ()
) -> ActivationCache:
    """Return the cache of what crosses a cut.

    Args:
        root: Folder that holds caches.
        facts: See ``activation_facts``.
        cut: Where the backbone is cut.
        precision: ``float16`` or ``float32``.
        handed_over: More such folders, to read.
    """
    arrays = [StoredArray(key, shape, precision) for key, shape in zip(cut.keys, cut.shapes, strict=True)]
    return ActivationCache(root, BOUNDARY_KIND, {**facts, "last_layers": cut.last_layers}, arrays, handed_over)


@dataclasses.dataclass(frozen=True)
class Missing:
    """What a cache still lacks.

    Attributes:
        bytes: Before compression.
        views: Views of the training images that are not complete.
    """

    bytes: int
    views: int


def missing_activations(
    cache: ActivationCache, training: SplitImages, validation: SplitImages, views: Iterable[int]
) -> Missing:
    """Return what a cache still lacks of some views, and of the validation images."""
    sections = [(VALIDATION, validation.images), *((section_of_view(view), training.images) for view in views)]
    images = [
        sum(len(images_of_shard(number, count)) for number in cache.missing_shards(name, count))
        for name, count in sections
    ]
    return Missing(sum(images) * cache.bytes_per_image, sum(count > 0 for count in images[1:]))


def section_of_view(view: int) -> str:
    """Return the section of a cache that holds a view of the training images, counted from 0."""
    return f"train-view-{view}"


class _BackbonePass:
    """Computes what caches lack of a section, all kinds in one pass over the images."""

    def __init__(
        self,
        caches: Mapping[str, ActivationCache],
        extractor: keras.Model,
        views: Views,
        preparation: Preparation,
    ) -> None:
        self._preparation = preparation
        self._caches = list(caches.values())
        self._arrays = [array for cache in self._caches for array in cache.arrays]
        self._views = views
        self._strategy = extractor.distribute_strategy
        self._layers = FrozenLayers(extractor, xla=False)
        devices = self._strategy.num_replicas_in_sync
        each = _BATCH_PER_GPU if tf.config.list_logical_devices("GPU") else _BATCH_ON_CPU
        self._batching = Batching(each * devices, devices)
        self._complete: set[str] = set()

    def complete(self, section: str, source: SplitImages, view: int | None, what: str) -> None:
        """Compute the shards that are missing or damaged.

        Args:
            section: Of the caches.
            source: The images.
            view: Number of the augmented view; None for images as they are.
            what: The section in words.
        """
        if section in self._complete:
            return
        self._complete.add(section)
        if any(cache.missing_shards(section, source.images) for cache in self._caches):
            with contextlib.ExitStack() as stack:
                # All runs in one order, so that no two wait for each other.
                for cache in sorted(self._caches, key=lambda cache: cache.folder):
                    stack.enter_context(cache.writing())
                with enough_memory(
                    f"the pass through the backbone, {self._batching.size} images at once,", _MORE_MEMORY
                ):
                    self._compute(section, source, view, what)
        else:
            print(f"activations of {what}: {source.images} images found in the cache", flush=True)

    def _compute(self, section: str, source: SplitImages, view: int | None, what: str) -> None:
        # Looked for again: another run may have written them meanwhile.
        missing = [cache.missing_shards(section, source.images) for cache in self._caches]
        wanted = sorted({number for numbers in missing for number in numbers})
        if not wanted:
            print(f"activations of {what}: {source.images} images found in the cache", flush=True)
            return
        images = sum(len(images_of_shard(number, source.images)) for number in wanted)
        progress = ImageProgress(f"activations of {what}", images)
        found = source.images - images
        print(f"activations of {what}: {images} images{f', {found} found in the cache' if found else ''}", flush=True)
        for run in _runs(wanted):
            rows = self._rows(source, view, run, progress)
            # Threads compress an image while the devices are at the next ones.
            with contextlib.closing(in_order(self._packed, rows, processors())) as packed:
                for number in run:
                    count = len(images_of_shard(number, source.images))
                    lacking = [number in numbers for numbers in missing]
                    self._write(section, number, itertools.islice(packed, count), lacking)
        for cache in self._caches:
            if cache.missing_shards(section, source.images):
                raise TransientError(
                    f"what was just written to {cache.folder} is not there: another run may write to it"
                )
        stored = sum(cache.stored_bytes() for cache in self._caches)
        print(f"activations of {what}: the cache takes {size_in_words(stored)}", flush=True)

    def _rows(
        self, source: SplitImages, view: int | None, run: range, progress: ImageProgress
    ) -> Iterator[dict[str, np.ndarray]]:
        first = images_of_shard(run.start, source.images).start
        count = images_of_shard(run.stop - 1, source.images).stop - first
        strength = 0.0 if view is None else self._views.strength
        batches = view_batches(source, self._batching, strength, self._views.seed, view or 0, first, count)
        remaining = count
        passed, clock = self._preparation.passed, Clock()
        iterator = iter(self._strategy.experimental_distribute_dataset(batches))
        while remaining:
            images, _ = next(iterator)
            passed.input_seconds += clock.lap()
            computed = self._layers.outputs(self._filled(images))
            outputs = {array.name: self._together(computed[array.name]) for array in self._arrays}
            passed.forward_seconds += clock.lap()
            size = min(remaining, len(next(iter(outputs.values()))))  # what only filled up the last batch is cut off
            remaining -= size
            passed.images += size
            progress.done(size)
            for row in range(size):
                yield {name: array[row] for name, array in outputs.items()}
            passed.keeping_seconds += clock.lap()

    def _filled(self, images: Any) -> Any:
        """Return a batch of full size, at whose end the last image comes over and over.

        Another size would have oneDNN keep as much memory again; and the sums of an image that is alone in its batch
        are added up in another order, so that its activations depend on what comes before it. Several devices are given
        full batches anyway, see ``Batching``.
        """
        if self._batching.devices > 1:
            return images
        return tf.gather(images, tf.minimum(tf.range(self._batching.size), len(images) - 1))

    def _together(self, computed: Any) -> np.ndarray:
        """Return what the devices computed, one share after the other, each fetched from where it is.

        TensorFlow 2.21 gathers no bfloat16 among devices, which is what several GPUs compute in by default.
        """
        shares = [np.asarray(share) for share in self._strategy.experimental_local_results(computed)]
        return shares[0] if len(shares) == 1 else np.concatenate(shares)

    def _packed(self, row: Mapping[str, np.ndarray]) -> list[list[bytes]]:
        return [
            [compressed(_as_stored(row[array.name], array.dtype)) for array in cache.arrays] for cache in self._caches
        ]

    def _write(self, section: str, number: int, packed: Iterator[list[list[bytes]]], lacking: Sequence[bool]) -> None:
        with contextlib.ExitStack() as stack:
            appends: list[Callable[[bytes], None] | None] = []
            for cache, lacks in zip(self._caches, lacking, strict=True):
                if lacks:
                    appends.append(stack.enter_context(written_shard(cache.shard(section, number))))
                else:
                    appends.append(None)
            for image in packed:
                for append, chunks in zip(appends, image, strict=True):
                    if append:
                        for chunk in chunks:
                            append(chunk)


def _runs(numbers: Sequence[int]) -> Iterator[range]:
    """Yield consecutive numbers together."""
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield range(run[0], run[-1] + 1)


def _as_stored(array: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = array.astype(dtype)
    if not np.isfinite(stored).all():
        raise UserError(
            "the backbone gives values that float16 cannot hold, or none at all: set cache_precision to float32, and "
            "if that does not help, check its weights"
        )
    return stored


def _batches(
    cache: ActivationCache, section: str, order: np.ndarray, labels: np.ndarray, batching: Batching
) -> tf.data.Dataset:
    """Return batches of a section in the given order: a tuple of float32 arrays, or the only one, and labels."""
    arrays = [tf.TensorSpec(array.shape, array.dtype) for array in cache.arrays]

    def take(places: np.ndarray) -> list[np.ndarray]:
        return [cache.read(section, places, number) for number in range(len(arrays))]

    def as_inputs(*values: tf.Tensor) -> Any:
        inputs = tuple(tf.cast(value, tf.float32) for value in values)
        return inputs[0] if len(inputs) == 1 else inputs

    return gathered_batches(order, labels[order], take, arrays, as_inputs, batching)
