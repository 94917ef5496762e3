"""Which GPUs a training step may ask for: names, machine types and counts on Google Cloud, checked before a run starts.

Sources: Compute Engine "GPU machine types", Vertex AI "Configure compute resources for custom training", GKE "About
GPUs"; compute capabilities from NVIDIA's table. TensorFlow 2.21's wheel holds code for compute capabilities 6.0, 7.0,
8.0, 8.9 and 9.0, so Blackwell (10.x, 12.x) fails at the first operation.
"""

import dataclasses
from collections.abc import Mapping

from components.failures import UserError


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine type that offers some number of one GPU."""

    machine_type: str
    vcpus: int
    memory_gb: int


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """One GPU model.

    Attributes:
        name: Value of the GKE node label ``cloud.google.com/gke-accelerator``, our name for it.
        vertex_type: Vertex AI's name for it.
        memory_gib: Memory of one GPU.
        machines: By number of GPUs, the machine type that offers exactly so many.
    """

    name: str
    vertex_type: str
    memory_gib: int
    machines: Mapping[int, Machine]


_TABLE = (
    Accelerator(
        "nvidia-tesla-t4",
        "NVIDIA_TESLA_T4",
        16,
        {
            1: Machine("n1-standard-8", 8, 30),
            2: Machine("n1-standard-16", 16, 60),
            4: Machine("n1-standard-32", 32, 120),
        },
    ),
    Accelerator(
        "nvidia-tesla-v100",
        "NVIDIA_TESLA_V100",
        16,
        {
            1: Machine("n1-standard-8", 8, 30),
            2: Machine("n1-standard-16", 16, 60),
            4: Machine("n1-standard-32", 32, 120),
            8: Machine("n1-standard-96", 96, 360),
        },
    ),
    Accelerator(
        "nvidia-l4",
        "NVIDIA_L4",
        24,
        {
            1: Machine("g2-standard-12", 12, 48),
            2: Machine("g2-standard-24", 24, 96),
            4: Machine("g2-standard-48", 48, 192),
            8: Machine("g2-standard-96", 96, 384),
        },
    ),
    Accelerator(
        "nvidia-tesla-a100",
        "NVIDIA_TESLA_A100",
        40,
        {
            1: Machine("a2-highgpu-1g", 12, 85),
            2: Machine("a2-highgpu-2g", 24, 170),
            4: Machine("a2-highgpu-4g", 48, 340),
            8: Machine("a2-highgpu-8g", 96, 680),
        },
    ),
    Accelerator(
        "nvidia-a100-80gb",
        "NVIDIA_A100_80GB",
        80,
        {
            1: Machine("a2-ultragpu-1g", 12, 170),
            2: Machine("a2-ultragpu-2g", 24, 340),
            4: Machine("a2-ultragpu-4g", 48, 680),
            8: Machine("a2-ultragpu-8g", 96, 1360),
        },
    ),
    Accelerator(
        "nvidia-h100-80gb",
        "NVIDIA_H100_80GB",
        80,
        {
            1: Machine("a3-highgpu-1g", 26, 234),
            2: Machine("a3-highgpu-2g", 52, 468),
            4: Machine("a3-highgpu-4g", 104, 936),
            8: Machine("a3-highgpu-8g", 208, 1872),
        },
    ),
    Accelerator("nvidia-h100-mega-80gb", "NVIDIA_H100_MEGA_80GB", 80, {8: Machine("a3-megagpu-8g", 208, 1872)}),
    Accelerator("nvidia-h200-141gb", "NVIDIA_H200_141GB", 141, {8: Machine("a3-ultragpu-8g", 224, 2952)}),
)

ACCELERATORS: Mapping[str, Accelerator] = {accelerator.name: accelerator for accelerator in _TABLE}
"""Every GPU the training images can drive, by name, smallest first."""

_BLACKWELL = ("b200", "b300", "gb200", "gb300", "rtx-pro-6000", "rtx-6000-pro", "blackwell")


def find_accelerator(name: str, count: int) -> Accelerator:
    """Return the GPU called ``name`` after checking that some machine type offers ``count`` of it.

    Args:
        name: A key of ACCELERATORS.
        count: GPUs on the one node that trains, at least 1.

    Raises:
        UserError: For an unknown GPU, a GPU that TensorFlow cannot drive, or a count no machine type offers.
    """
    valid = ", ".join(ACCELERATORS)
    if any(mark in name.lower() for mark in _BLACKWELL):
        raise UserError(
            f"GPU '{name}' is a Blackwell GPU, which TensorFlow 2.21 cannot drive (its kernels stop at compute "
            f"capability 9.0); choose one of: {valid}"
        )
    if name not in ACCELERATORS:
        raise UserError(f"unknown GPU '{name}'; choose one of: {valid}, or none to train on CPU")
    accelerator = ACCELERATORS[name]
    if count not in accelerator.machines:
        counts = ", ".join(f"{gpus} ({machine.machine_type})" for gpus, machine in accelerator.machines.items())
        raise UserError(f"no machine type offers {count} x {name}; choose a count of: {counts}")
    return accelerator
