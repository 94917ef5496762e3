"""How many images a training step can hold, where nobody said: found by trying, on GPUs."""

import keras
import tensorflow as tf

from components.classifier.epoch_steps import EpochProgress, TrainingSteps
from components.classifier.frozen_layers import FrozenLayers
from components.classifier.input_pipeline import Batching, in_batches
from components.classifier.learning_rates import PLATEAU, LearningRates
from components.classifier.training_faults import lacks_memory

USUAL_BATCH_SIZE = 32
"""For each device; with more a CPU is hardly faster, see ``benchmarks/device_settings.py``."""
_MOST_PER_DEVICE = 256
_FEWEST_STEPS = 16  # an epoch of fewer, larger steps learns less than it gains in speed
# Tried is an eighth more than is taken: memory falls to pieces over hours, and what crosses a cut may be larger than an
# image.
_SPARED_PART = 8


def found_batch_size(
    model: keras.Model, images: int, xla: bool, gpu_prefetch_batches: int, frozen: FrozenLayers | None = None
) -> int:
    """Return how many images a training step takes on the devices the model was built for.

    A CPU takes 32. On GPUs steps are tried with twice as many again and again, up to 256 for each GPU and a sixteenth
    of the images, while a batch an eighth larger and the batches that wait for their turn fit into memory.

    Args:
        model: Compiled; compile it again afterwards, the rest of it is as before.
        images: Of an epoch.
        xla: Whether steps are compiled with XLA.
        gpu_prefetch_batches: How many batches wait in a GPU's memory in training.
        frozen: What images go through before the model, where they do not go into it; tried along with it.
    """
    share = model.distribute_strategy.num_replicas_in_sync
    sizes = sizes_to_find(share, images)
    found = largest_that_fits(model, sizes[0], sizes[-1], xla, gpu_prefetch_batches, frozen)
    for gpu in tf.config.list_logical_devices("GPU"):  # else the peak that is reported would be that of trying
        tf.config.experimental.reset_memory_stats(gpu.name.removeprefix("/device:"))
    print(f"batch size found: {found}", flush=True)
    return found


def sizes_to_find(share: int, images: int) -> list[int]:
    """Return every batch size that may be found, from the least.

    Args:
        share: How many devices share a batch.
        images: Of an epoch.
    """
    sizes = [USUAL_BATCH_SIZE * share]
    most = min(_MOST_PER_DEVICE * share, images // _FEWEST_STEPS) if tf.config.list_logical_devices("GPU") else 0
    while 2 * sizes[-1] <= most:
        sizes.append(2 * sizes[-1])
    return sizes


def largest_that_fits(
    model: keras.Model,
    usual: int,
    most: int,
    xla: bool,
    gpu_prefetch_batches: int,
    frozen: FrozenLayers | None = None,
) -> int:
    """Return the usual batch size, doubled as often as training with it fits into memory with some to spare.

    Args:
        model: Compiled; its variables are as before, its optimizer's are not.
        usual: Is not tried.
        most: Is not exceeded.
        xla: Whether steps are compiled with XLA.
        gpu_prefetch_batches: How many batches wait in a GPU's memory in training.
        frozen: What images go through before the model, or None.
    """
    before = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    # Of several devices each tries by itself: one that runs out of memory may leave others waiting for its gradients.
    steps = TrainingSteps(model, 0.0, None, xla, gpu_prefetch_batches, frozen, tries=True)
    image = tf.zeros(model.input_shape[1:] if frozen is None else frozen.image_shape)
    # While the first is trained on, the next has been asked for and as many as are kept ahead wait on the GPU: a step
    # that fits alone may not fit beside them.
    batches = 1 + 1 + gpu_prefetch_batches
    share = model.distribute_strategy.num_replicas_in_sync
    size = usual
    try:
        while 2 * size <= most and _fits(steps, image, 2 * size, share, batches):
            size *= 2
    finally:
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
    return size


def _fits(steps: TrainingSteps, image: tf.Tensor, size: int, share: int, count: int) -> bool:
    example = image, tf.zeros((), tf.int64)
    tried = size + size // _SPARED_PART // share * share
    images = tried * count
    batches = in_batches(tf.data.Dataset.from_tensors(example).repeat(images), images, Batching(tried, share))
    try:
        steps.run(batches, LearningRates(PLATEAU, 0, 1), 0, EpochProgress(0.0), lambda: None)
    except tf.errors.OpError as error:
        if not lacks_memory(error):
            raise
        return False
    return True
