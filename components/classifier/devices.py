"""What training runs on: CPU or GPUs, how precisely, and the same way each time."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from components.classifier.fit_settings import AUTO, PRECISIONS, check_batch_is_shared
from components.classifier.input_pipeline import Batching
from components.classifier.resumed_choice import resumed_choice
from components.failures import UserError
from components.memory import hold_little_memory

# TensorFlow 2.21 holds no code for newer GPUs (Blackwell, capability 10 and 12), and its PTX fails on them.
_NEWEST_MAJOR_CAPABILITY = 9
_BFLOAT16_CAPABILITY = (8, 0)  # from Ampere on
_FLOAT16_CAPABILITY = (7, 0)  # tensor cores, from Volta on
_NEEDED_CAPABILITY = {"mixed_bfloat16": _BFLOAT16_CAPABILITY, "mixed_float16": _FLOAT16_CAPABILITY}


@dataclasses.dataclass(frozen=True)
class Devices:
    """What training runs on.

    Attributes:
        strategy: How a batch is shared out; see ``building``.
        names: For people, ``["NVIDIA L4"]`` for example.
        precision: Keras' dtype policy for the backbone; weights are float32 in each.
        capabilities: CUDA compute capability of each GPU, ``(8, 9)`` for example.
    """

    strategy: tf.distribute.Strategy
    names: list[str]
    precision: str
    capabilities: tuple[tuple[int, int], ...] = ()

    @property
    def plain(self) -> bool:
        """Whether models built for these devices are ordinary float32 models of one device."""
        return self.precision == "float32" and self.strategy.num_replicas_in_sync == 1

    def going_on(self, step: str, asked: str, left: Callable[[str], bool]) -> "Devices":
        """Return them at the precision of an earlier attempt's checkpoint, where it was chosen and they support it.

        Args:
            step: For messages.
            asked: ``auto``, or what this is to be.
            left: Says whether there is a checkpoint of a precision.
        """
        if asked != AUTO:
            return self
        others = [precision for precision in PRECISIONS if precision not in (AUTO, self.precision)]
        precision = resumed_choice(step, "precision", self.precision, others, self._support, left)
        return dataclasses.replace(self, precision=precision)

    def _support(self, precision: str) -> bool:
        return _are_able(self.capabilities, precision)

    def batching(self, batch_size: int) -> Batching:
        """Return how images are batched so that each device gets an equal share of every batch.

        Raises:
            UserError: When a batch would hold less than one image for each device.
        """
        share = self.strategy.num_replicas_in_sync
        check_batch_is_shared(batch_size, share)
        return Batching(batch_size // share * share, share)

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Build and compile models inside this block: they spread over the devices and compute at their precision."""
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.precision)
        try:
            with self.strategy.scope():
                yield
        finally:
            keras.config.set_dtype_policy(before)


def prepare_training(gpu_count: int, seed: int, precision: str = AUTO, *, memory_growth: bool = True) -> Devices:
    """Claim the devices and make everything that follows repeatable. Call it before the first tensor.

    Args:
        gpu_count: GPUs to train on; 0 trains on the CPU.
        seed: Of weights, dropout and shuffling.
        precision: ``auto`` for the fastest that every device supports, or Keras' dtype policy for the backbone.
        memory_growth: Whether GPU memory is taken as it is needed, which leaves the rest to others; TensorFlow would
            take all of it, once and for good.

    Raises:
        UserError: When fewer GPUs are visible, or one is of a kind that this TensorFlow or the precision cannot use.
    """
    hold_little_memory()
    keras.utils.clear_session()  # layers are numbered from zero, so that a rerun gives them the same names
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    gpus = require_gpus(gpu_count)
    try:
        tf.config.set_visible_devices(gpus, "GPU")
    except RuntimeError:  # too late to choose: fine where the CPU is wanted, and a GPU was tried before and is no use
        if gpus or tf.config.list_logical_devices("GPU"):
            raise
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, memory_growth)
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    names = [str(detail.get("device_name", gpu.name)) for gpu, detail in zip(gpus, details, strict=True)]
    capabilities = tuple(_capability(detail) for detail in details)
    check_precision(precision, capabilities)
    usable = tuple(gpu.name for gpu in tf.config.list_logical_devices("GPU")) if gpus else ()
    check_usable(names, capabilities, len(usable))
    strategy = sharing_among(usable) if gpu_count > 1 else tf.distribute.get_strategy()
    fastest = precision_for(capabilities)
    devices = Devices(strategy, names or ["CPU"], fastest if precision == AUTO else precision, capabilities)
    print(f"devices: {', '.join(devices.names)}; precision {devices.precision}", flush=True)
    return devices


@functools.cache
def sharing_among(names: tuple[str, ...]) -> tf.distribute.Strategy:
    """Return what shares batches among several devices, the same one for all attempts of a process.

    TensorFlow 2.21 numbers what devices add up from the same number in each: of a second one it takes the gradients for
    those of the first, and nothing can be added up any more where their shapes differ.

    Args:
        names: Of logical devices.
    """
    return tf.distribute.MirroredStrategy(names)


def require_gpus(gpu_count: int) -> list[Any]:
    """Return the first ``gpu_count`` GPUs.

    Raises:
        UserError: When fewer are visible, or one is too new.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < gpu_count:
        raise UserError(
            f"{gpu_count} GPU(s) were asked for and TensorFlow sees {len(gpus)}: run the step on a node with that many "
            "and in the image with CUDA, check the driver there with nvidia-smi, or train on the CPU with gpu_count 0"
        )
    for gpu in gpus[:gpu_count]:
        detail = tf.config.experimental.get_device_details(gpu)
        if _capability(detail)[0] > _NEWEST_MAJOR_CAPABILITY:
            raise UserError(
                f"{detail.get('device_name', gpu.name)} is newer than TensorFlow {tf.__version__} supports: "
                "choose a T4, V100, L4, A100, H100 or H200"
            )
    return list(gpus[:gpu_count])


def precision_for(capabilities: Sequence[tuple[int, int]]) -> str:
    """Return the fastest dtype policy that every GPU supports; without GPUs float32, as half is slower on a CPU.

    Args:
        capabilities: CUDA compute capability of each GPU, ``(8, 9)`` for example.
    """
    if not capabilities or min(capabilities) < _FLOAT16_CAPABILITY:
        return "float32"
    return "mixed_bfloat16" if min(capabilities) >= _BFLOAT16_CAPABILITY else "mixed_float16"


def check_precision(precision: str, capabilities: Sequence[tuple[int, int]]) -> None:
    """Check that GPUs can compute as asked for; a CPU can, slowly.

    Args:
        precision: ``auto`` or Keras' dtype policy.
        capabilities: CUDA compute capability of each GPU.

    Raises:
        UserError: When one of them is too old.
    """
    if not _are_able(capabilities, precision):
        major, minor = min(capabilities)
        raise UserError(
            f"precision is {precision} and a GPU of compute capability {major}.{minor} is too old for it: set it to "
            f"{precision_for(capabilities)}, or to auto"
        )


def check_usable(names: Sequence[str], capabilities: Sequence[tuple[int, int]], usable: int) -> None:
    """Check that TensorFlow works with all GPUs it sees: one that is too old or too small it leaves out, and only logs.

    Args:
        names: Of the GPUs that were asked for.
        capabilities: CUDA compute capability of each.
        usable: How many of them it works with.

    Raises:
        UserError: When that is fewer; training would go on without them, on the CPU if there is no other.
    """
    if usable < len(names):
        kinds = [f"{name} ({major}.{minor})" for name, (major, minor) in zip(names, capabilities, strict=True)]
        raise UserError(
            f"TensorFlow {tf.__version__} can use {usable} of {len(names)} GPU(s), by compute capability "
            f"{', '.join(kinds)}: choose a T4, V100, L4, A100, H100 or H200, or train on the CPU with gpu_count 0"
        )


def _are_able(capabilities: Sequence[tuple[int, int]], precision: str) -> bool:
    return not capabilities or min(capabilities) >= _NEEDED_CAPABILITY.get(precision, (0, 0))


def _capability(detail: dict[str, Any]) -> tuple[int, int]:
    major, minor = detail.get("compute_capability", (0, 0))
    return int(major), int(minor)
