"""What TensorFlow reports of damaged shards, of memory that does not suffice and of GPUs that fail, in a sentence.

Not all of it: where TensorFlow notices a fault of a GPU while it waits for it in a thread of its own, it logs
``Unexpected Event status`` and aborts the process.
"""

import contextlib
import functools
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import tensorflow as tf

from components import storage
from components.classifier.input_pipeline import require_whole_shards
from components.failures import ElsewhereError, TransientError, UserError

# What libraries of GPUs say in errors of other kinds, where they find no memory for themselves.
_OUT_OF_MEMORY = ("OUT_OF_MEMORY", "ALLOC_FAILED", "out of memory")

# What nothing but a device can cause, or what connects it, or another process that has it: by NVIDIA's description of
# CUresult, in the words of the CUDA driver, which NCCL quotes, and of its management library.
_OF_A_DEVICE = (
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "uncorrectable ECC error",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    "uncorrectable NVLink error",
    "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_SYSTEM_NOT_READY",
    "fallen off the bus",
    "GPU is lost",
)
# What kernels that compute wrong addresses cause too: a defect of ours, or of TensorFlow.
_PERHAPS_OF_A_DEVICE = (
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "unhandled cuda error",
)
_ELSEWHERE = "a retry may get another, and goes on from checkpoint_uri where that is set"

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def faults_explained(
    phase: Callable[Concatenate[Path, _Arguments], _Result],
) -> Callable[Concatenate[Path, _Arguments], _Result]:
    """Let a whole phase fail with a sentence, wherever in it a shard is damaged, memory too little, or a GPU fails.

    Shards are whole when a phase begins, see ``open_splits``; what happens to them later shows in the checksums of
    their records, which name no file. So their digests are looked at again, and the damaged one is named.

    Args:
        phase: Takes the folder of splits first. It raises besides:
            UserError: When a shard is damaged, memory does not suffice, or TensorFlow has no way to compute a step that
                comes to the same each time.
            TransientError: When what was read was damaged and every shard is whole.
            ElsewhereError: When a GPU failed. What a defect can cause too is shown as one besides; how often it is
                retried is up to the platform, which counts.
    """

    @functools.wraps(phase)
    def explained(splits_directory: Path, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        for given in (splits_directory, *args):
            if isinstance(given, Path):
                storage.require_sound_path("the path of an input or output", str(given))
        with enough_memory("the step", "give it a machine, or GPUs, with more"):
            try:
                return phase(splits_directory, *args, **kwargs)
            except tf.errors.OpError as error:
                if lacks_memory(error):
                    raise
                _explain_fault_of_device(error)
                if isinstance(error, tf.errors.UnimplementedError) and "determinis" in error.message:
                    raise UserError(
                        f"what is to be learned cannot be computed the same way each time on these devices "
                        f"({_telling_line(error, 'determinis')}): set xla to false, or let fewer layers learn"
                    ) from error
                require_whole_shards(splits_directory)
                if not isinstance(error, tf.errors.DataLossError):
                    raise
                said = _telling_line(error, "record")
                raise TransientError(
                    f"what was read was damaged ({said}) and every shard of the splits is whole: a rerun reads it again"
                ) from error

    return explained


def _explain_fault_of_device(error: tf.errors.OpError) -> None:
    """Raise ``ElsewhereError`` when a GPU failed: it answers the same to all that this process asks from then on."""
    if any(words in error.message for words in _OF_A_DEVICE):
        said = _telling_line(error, *_OF_A_DEVICE)
        raise ElsewhereError(f"a GPU, or what connects it, failed ({said}): {_ELSEWHERE}") from error
    if any(words in error.message for words in _PERHAPS_OF_A_DEVICE):
        traceback.print_exception(error)
        said = _telling_line(error, *_PERHAPS_OF_A_DEVICE)
        raise ElsewhereError(
            f"a GPU stopped computing ({said}), as a broken one does: {_ELSEWHERE}; if it comes again there, report it "
            "as a defect with the traceback above"
        ) from error


@contextlib.contextmanager
def enough_memory(work: str, fix: str) -> Iterator[None]:
    """Say what wanted more memory than there is, and what helps.

    Args:
        work: What the block does, in words.
        fix: What to do, in words.

    Raises:
        UserError: When memory, of the machine or of a GPU, did not suffice for the block.
    """
    try:
        yield
    except (tf.errors.OpError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        said = _telling_line(error, "OOM", *_OUT_OF_MEMORY, "MemoryError")
        raise UserError(f"{work} wants more memory than there is ({said}): {fix}") from error


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error is that of too little memory, of the machine or of a GPU."""
    if isinstance(error, tf.errors.OpError):
        said = any(words in error.message for words in _OUT_OF_MEMORY)
        return said or isinstance(error, tf.errors.ResourceExhaustedError)
    return isinstance(error, MemoryError)


def _telling_line(error: BaseException, *words: str) -> str:
    """Return the line of a message with one of the words, or the first: what a graph raises begins with where it was.

    TensorFlow's hints on what could be looked at have the words too, and tell nothing.
    """
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    lines = [line for line in text.strip().splitlines() if not line.startswith("Hint: ")] or [type(error).__name__]
    telling = (line for word in words for line in lines if word in line)
    # Before it comes the name of TensorFlow's own function, in braces.
    return next(telling, lines[0]).rpartition("}} ")[2][:200]
