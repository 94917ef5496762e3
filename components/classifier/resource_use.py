"""How busy the machine is while it trains: processors, GPUs, memory."""

import os
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

        ``cpu_cores`` is how many processors were busy on average, ``gpu_percent`` how much of the time a GPU was, as
        nvidia-smi has it; peaks are of the process so far. None where there is no GPU, or nobody knows.
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
    """Yield what watches the machine; nvidia-smi is asked now and then where TensorFlow has a GPU."""
    use = ResourceUse()
    program = shutil.which("nvidia-smi") if tf.config.list_logical_devices("GPU") else None
    if program is None:
        yield use
        return
    query = [program, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--loop={_SAMPLE_SECONDS}"]
    with subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as smi:
        reader = threading.Thread(target=use.take_samples, args=(smi.stdout,), daemon=True)
        reader.start()
        try:
            yield use
        finally:
            smi.terminate()
            reader.join()


def _processor_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system


def _peak_gpu_memory_mb() -> float | None:
    gpus = tf.config.list_logical_devices("GPU")
    peaks = [tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:"))["peak"] for gpu in gpus]
    return round(max(peaks) / 1e6, 1) if peaks else None
