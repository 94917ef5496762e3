"""Attempts at a training phase in processes of their own, which die at a given moment as on a spot node: by SIGKILL.

A server process imports TensorFlow once and is forked for each attempt.
"""

import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import pytest

from components import storage
from components.classifier import (
    activation_cache,
    activation_shards,
    activations,
    backbones,
    batch_size,
    devices,
    epoch_steps,
)
from components.failures import RETRY_WAITS_VARIABLE
from components.fine_tune import fine_tune_phase
from components.launch.gcs_emulator import HOST_VARIABLE
from tests.classifier.step_runs import run_fine_tune, run_train_frozen

BACKBONE = "tiny"

# When an attempt dies: what is counted from 1 in it, and the count.
Moment = tuple[str, int]
BATCH = "batches trained"
WRITING = "files half written"
BEFORE = "checkpoints about to be written"
WRITTEN = "checkpoints written"
POINTED = "checkpoints pointed at"
SHARD = "shards of activations written"


@dataclasses.dataclass(frozen=True)
class Node:
    """What the devices of a node are best at.

    Attributes:
        precision: ``auto`` is this.
        batch_size: The largest of 4, 8 and 16 that fits.
    """

    precision: str
    batch_size: int


def attempt(
    phase: str,
    output: Path,
    log: Path,
    dies: Moment | None,
    inputs: Mapping[str, Any],
    by: signal.Signals = signal.SIGKILL,
    node: Node | None = None,
) -> int:
    """Run a phase on the tiny backbone in another process; return its exit code, ``-SIGKILL`` when it died.

    Args:
        phase: ``frozen`` or ``fine_tune``.
        output: Folder for model and report.
        log: File for what it prints.
        dies: When.
        inputs: Arguments of ``run_train_frozen`` or ``run_fine_tune`` beside the output.
        by: The signal it dies by.
        node: That it runs on; this one when None.
    """
    return ended(begun(phase, output, log, dies, inputs, by, node))


def begun(
    phase: str,
    output: Path,
    log: Path,
    dies: Moment | None,
    inputs: Mapping[str, Any],
    by: signal.Signals = signal.SIGKILL,
    node: Node | None = None,
) -> ForkServerProcess:
    """Run a phase as ``attempt`` does, and do not wait for its end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    emulator = os.environ.get(HOST_VARIABLE)
    process = context.Process(target=_attempt, args=(phase, output, log, dies, dict(inputs), by, node, emulator))
    process.start()
    return process


def ended(process: ForkServerProcess) -> int:
    """Wait for the end of an attempt and return its exit code."""
    process.join()
    code = process.exitcode
    assert code is not None
    return code


def _attempt(
    phase: str,
    output: Path,
    log: Path,
    dies: Moment | None,
    inputs: dict[str, Any],
    by: signal.Signals,
    node: Node | None,
    emulator: str | None,
) -> None:
    patch = pytest.MonkeyPatch()  # for as long as this process lives
    patch.setenv(RETRY_WAITS_VARIABLE, "")
    if emulator:
        patch.setenv(HOST_VARIABLE, emulator)
    patch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})
    patch.setattr(activation_cache, "IMAGES_PER_SHARD", 8)
    if node is not None:
        _be(patch, node)
    if dies is not None:
        _die(patch, *dies, by)
    with log.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        if phase == "frozen":
            run_train_frozen(output=output, **inputs)
        else:
            run_fine_tune(output=output, **inputs)


def _be(patch: pytest.MonkeyPatch, node: Node) -> None:
    patch.setattr(devices, "precision_for", lambda _: node.precision)
    patch.setattr(batch_size, "largest_that_fits", lambda *_: node.batch_size)
    for module in (batch_size, fine_tune_phase):
        patch.setattr(module, "sizes_to_find", lambda *_: [4, 8, 16])


def _die(patch: pytest.MonkeyPatch, event: str, count: int, by: signal.Signals) -> None:
    """Send this process a signal when an event happens for the ``count``-th time."""
    remaining = itertools.count(count - 1, -1)

    def happened(*_: Any, **__: Any) -> None:
        if next(remaining) == 0:
            sys.stdout.flush()
            signal.raise_signal(by)

    def around(module: ModuleType, name: str, *, before: bool, suffix: str) -> None:
        original = getattr(module, name)

        def wrapped(*arguments: Any) -> Any:
            counts = not suffix or str(arguments[0]).endswith(suffix)
            if counts and before:
                happened()
            result = original(*arguments)
            if counts and not before:
                happened()
            return result

        patch.setattr(module, name, wrapped)

    if event == BATCH:
        around(epoch_steps, "take_step", before=False, suffix="")
    elif event == SHARD:
        write = activation_shards.written_shard

        @contextlib.contextmanager
        def writing(path: Path) -> Iterator[Callable[[bytes], None]]:
            with write(path) as append:
                yield append
            happened()

        patch.setattr(activations, "written_shard", writing)
    elif event == WRITING:
        around(os, "fsync", before=True, suffix="")
    else:
        name = "write_if_unchanged" if event == POINTED else "write_if_absent"
        around(storage, name, before=event == BEFORE, suffix=".json" if event == POINTED else ".npz")


def tiny_backbone() -> backbones.Backbone:
    """Return a network of three convolutions, in which nothing takes long."""
    return backbones.Backbone(BACKBONE, _tiny_network, 1.0 / 255.0, 0.0, "x / 255", 8, 32, 10, 3, "tiny.h5")


def _tiny_network(image_size_px: int) -> keras.Model:
    image = maps = keras.Input((image_size_px, image_size_px, 3))
    for number in range(3):
        maps = keras.layers.Conv2D(24, 3, strides=2, padding="same", name=f"convolution_{number}")(maps)
        maps = keras.layers.BatchNormalization(name=f"normalization_{number}")(maps)
        maps = keras.layers.ReLU(name=f"relu_{number}")(maps)
    return keras.Model(image, maps, name=BACKBONE)
