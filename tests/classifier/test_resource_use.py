"""How busy GPUs are is asked of those that this process uses, and of no others of the machine."""

import time
from pathlib import Path

import pytest
import tensorflow as tf

from components.classifier.resource_use import gpus_to_watch, watched

UUIDS = ["GPU-8f6d1c2a-0000-0000-0000-000000000001", "GPU-8f6d1c2a-0000-0000-0000-000000000002"]
# Prints how busy each GPU asked for is, once, and waits: 10 % and its number, or 77 % for one named by its UUID.
NVIDIA_SMI = """#!/bin/sh
for argument; do
  case $argument in --id=*) ids=${argument#--id=};; esac
done
for id in $(echo "${ids:-0,1,2,3}" | tr , ' '); do
  case $id in GPU-*) echo 77;; *) echo $((10 + id));; esac
done
exec sleep 600
"""


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        pytest.param(None, 2, ["0", "1"], id="all"),
        pytest.param("3, 1", 2, ["3", "1"], id="numbers"),
        pytest.param("3,1,0", 1, ["3"], id="the first of them"),
        pytest.param(",".join(UUIDS), 2, UUIDS, id="UUIDs"),
        pytest.param("2,-1,0", 1, ["2"], id="none after one that CUDA cannot read"),
        pytest.param("MIG-1b2c/1/0", 1, [], id="part of a GPU"),
        pytest.param("0", 0, [], id="none used"),
        pytest.param("", 0, [], id="none visible"),
        pytest.param(None, 0, [], id="no GPU"),
    ],
)
def test_gpus_of_this_process(visible: str | None, count: int, expected: list[str]) -> None:
    assert gpus_to_watch(visible, count) == expected


@pytest.mark.parametrize(
    ("visible", "percent"),
    [
        pytest.param("3", 13.0, id="number"),
        pytest.param(UUIDS[0], 77.0, id="UUID"),
        pytest.param("MIG-1", None, id="MIG"),
    ],
)
def test_others_are_not_counted(
    visible: str, percent: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _: ["one"])
    monkeypatch.setattr("components.classifier.resource_use._peak_gpu_memory_mb", lambda: None)

    with watched() as use:
        found = None
        deadline = time.monotonic() + (300 if percent else 0)
        while found is None and time.monotonic() < deadline:
            time.sleep(0.01)
            found = use.since_last()["gpu_percent"]

    assert found == percent
