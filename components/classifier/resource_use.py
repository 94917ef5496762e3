"""How busy the machine is while it trains: processors, GPUs, memory."""

import itertools
import os
import re
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import tensorflow as tf

_KIB_PER_MB = 1e6 / 1024
_SAMPLE_SECONDS = 2


class ResourceUse:
    """What was used since it was last asked. Make it with ``watched``."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._processor = _processor_seconds()
        self._lock = threading.Lock()
        self._samples: list[float] = []

    def since_last(self) -> dict[str, float | None]:
        """Return figures by the name of their column in the history.

        ``cpu_cores`` is how many processors were busy on average, ``gpu_percent`` how much of the time a GPU of this
        process was, as nvidia-smi has it; peaks are of the process so far. None where there is no GPU, or nobody knows:
        of a part of a GPU (MIG) nvidia-smi does not say it.
        """
        wall, processor = time.monotonic(), _processor_seconds()
        cores = (processor - self._processor) / max(wall - self._wall, 1e-6)
        self._wall, self._processor = wall, processor
        with self._lock:
            samples, self._samples = self._samples, []
        return {
            "cpu_cores": round(cores, 2),
            "gpu_percent": round(sum(samples) / len(samples), 1) if samples else None,
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_PER_MB, 1),
            "peak_gpu_memory_mb": _peak_gpu_memory_mb(),
        }

    def take_samples(self, lines: Iterable[str]) -> None:
        """Read what nvidia-smi prints until it ends: a percentage for each GPU, over and over."""
        for line in lines:
            value = line.strip()
            if value.isdecimal():
                with self._lock:
                    self._samples.append(float(value))


@contextmanager
def watched() -> Iterator[ResourceUse]:
    """Yield what watches the machine; nvidia-smi is asked now and then of the GPUs that TensorFlow has."""
    use = ResourceUse()
    gpus = gpus_to_watch(os.environ.get("CUDA_VISIBLE_DEVICES"), len(tf.config.list_logical_devices("GPU")))
    program = shutil.which("nvidia-smi") if gpus else None
    if program is None:
        yield use
        return
    query = [program, f"--id={','.join(gpus)}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with subprocess.Popen(
        [*query, f"--loop={_SAMPLE_SECONDS}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as smi:
        reader = threading.Thread(target=use.take_samples, args=(smi.stdout,), daemon=True)
        reader.start()
        try:
            yield use
        finally:
            smi.terminate()
            reader.join()


def gpus_to_watch(visible: str | None, count: int) -> list[str]:
    """Return the GPUs that this process uses, by names that nvidia-smi knows; none where it cannot tell them.

    The machine may have others, busy with the work of somebody else. Numbers mean the same to CUDA and to nvidia-smi
    where all GPUs of a machine are of one kind, or ``CUDA_DEVICE_ORDER`` is ``PCI_BUS_ID``.

    Args:
        visible: ``CUDA_VISIBLE_DEVICES``: numbers, UUIDs (``GPU-...``), or parts of GPUs (``MIG-...``), up to the first
            that CUDA cannot read; None when it is not set, for all.
        count: How many of them TensorFlow uses, the first ones.
    """
    names = [str(number) for number in range(count)] if visible is None else re.split(r"\s*,\s*", visible.strip())
    known = list(itertools.takewhile(lambda name: name.isdecimal() or name.startswith("GPU-"), names))
    return known[:count] if len(known) >= count else []


def _processor_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system


def _peak_gpu_memory_mb() -> float | None:
    gpus = tf.config.list_logical_devices("GPU")
    peaks = [tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:"))["peak"] for gpu in gpus]
    return round(max(peaks) / 1e6, 1) if peaks else None
