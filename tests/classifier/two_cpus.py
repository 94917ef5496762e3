"""Two devices where there is one CPU: the same code that trains on several GPUs."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from components.classifier.devices import sharing_among


def in_own_process(check: Callable[..., None], *given: Any) -> None:
    """Run a check in a process of its own: how many devices a CPU stands for is decided before TensorFlow starts."""
    process = multiprocessing.get_context("forkserver").Process(target=check, args=given)
    process.start()
    process.join()
    assert process.exitcode == 0


def two_cpus() -> tf.distribute.Strategy:
    """Let the CPU stand for two devices and return what shares batches among them, as for several GPUs."""
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return sharing_among(("CPU:0", "CPU:1"))
