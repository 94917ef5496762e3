"""Shards that are damaged after they were checked, and memory that does not suffice, end in a sentence, whenever it is.

Damage, and a wish for memory that no machine has, are real; what is injected is the moment.
"""

import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.classifier import activations, backbones, epoch_steps, input_pipeline
from components.classifier.training_faults import enough_memory, faults_explained
from components.failures import RETRY_WAITS_VARIABLE, ElsewhereError, TransientError, UserError
from components.fine_tune import fine_tune_phase
from components.train_frozen import frozen_phase, head_training
from tests.classifier.small_splits import drawn_shapes, write_small_splits
from tests.classifier.step_runs import run_fine_tune, run_train_frozen
from tests.classifier.stopped_attempts import BACKBONE, tiny_backbone

TINY: dict[str, Any] = {"backbone": BACKBONE, "unfrozen_layers": 5}


@pytest.fixture
def splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "")
    write_small_splits(tmp_path / "splits", drawn_shapes({"train": 4, "validation": 2, "test": 1}, seed=1), 32)
    return tmp_path / "splits"


def flip_a_bit(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)


def damage_before(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, call: int, shard: Path, *, once: bool = False
) -> None:
    """Damage a shard when a function of a module is called for the ``call``-th time."""
    original, calls = getattr(module, name), itertools.count(1)
    whole = shard.read_bytes()

    def damaging(*given: Any, **named: Any) -> Any:
        if next(calls) == call:
            flip_a_bit(shard)
        try:
            return original(*given, **named)
        finally:
            if once:
                shard.write_bytes(whole)

    monkeypatch.setattr(module, name, damaging)


def assert_named(capsys: pytest.CaptureFixture[str], step: str, split: str) -> None:
    said = capsys.readouterr().err.splitlines()
    shard = f"shard {split}-00000-of-00001.tfrecord of the {split} split"
    assert said[-1] == f"{step}: error: {shard} is damaged: run the split step again"
    assert not any("Traceback" in line for line in said)


@pytest.mark.parametrize(
    ("module", "name", "call", "split", "changes"),
    [
        pytest.param(activations, "view_batches", 1, "validation", {}, id="validation features"),
        pytest.param(activations, "view_batches", 2, "train", {}, id="a view"),
        pytest.param(activations, "read_labels", 1, "train", {}, id="labels"),
        pytest.param(head_training, "open_pictures", 1, "train", {"training_mode": "streaming"}, id="decoding once"),
        pytest.param(
            input_pipeline, "epoch_batches", 1, "train", {"training_mode": "streaming", "epochs": 1}, id="an epoch"
        ),
        pytest.param(frozen_phase, "sample_images", 1, "train", {}, id="pictures of the report"),
    ],
)
def test_a_shard_damaged_in_the_frozen_phase_is_named(
    module: ModuleType,
    name: str,
    call: int,
    split: str,
    changes: dict[str, Any],
    splits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage_before(monkeypatch, module, name, call, splits / f"{split}-00000-of-00001.tfrecord")

    with pytest.raises(SystemExit, match="2"):
        run_train_frozen(splits, tmp_path / "output", **{**TINY, **changes})

    assert_named(capsys, "train_frozen", split)
    assert not (tmp_path / "output" / "report").exists()


@pytest.mark.parametrize(
    ("module", "name", "changes"),
    [
        pytest.param(activations, "view_batches", {"training_mode": "cached", "unfrozen_layers": 3}, id="the pass"),
        pytest.param(
            fine_tune_phase, "measure", {"training_mode": "streaming", "epochs": 1}, id="validation before fine-tuning"
        ),
    ],
)
def test_a_shard_damaged_in_fine_tuning_is_named(
    module: ModuleType,
    name: str,
    changes: dict[str, Any],
    splits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_train_frozen(splits, tmp_path / "frozen", **{**TINY, "epochs": 1})
    damage_before(monkeypatch, module, name, 1, splits / "validation-00000-of-00001.tfrecord")
    output = tmp_path / "output"

    with pytest.raises(SystemExit, match="2"):
        run_fine_tune(splits, tmp_path / "frozen" / "model", output, **{"unfrozen_layers": 5, **changes})

    assert_named(capsys, "fine_tune", "validation")
    assert not list(output.rglob("*")), "nothing is left"


def test_damage_that_is_gone_is_worth_another_try(
    splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the disk's cache or of memory, and not of the file."""
    shard = splits / "train-00000-of-00001.tfrecord"
    damage_before(monkeypatch, activations, "read_labels", 1, shard, once=True)
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "0")

    run_train_frozen(splits, tmp_path / "output", **TINY)

    said = capsys.readouterr().err
    assert "train_frozen: what was read was damaged (corrupted record at " in said
    assert "every shard of the splits is whole: a rerun reads it again; trying again in 0 s" in said


def test_a_shard_that_is_gone_is_named(splits: Path) -> None:
    @faults_explained
    def phase(directory: Path) -> None:
        shard = directory / "validation-00000-of-00001.tfrecord"
        shard.unlink()
        list(tf.data.TFRecordDataset(str(shard)))

    with pytest.raises(UserError, match="^shard validation-.* of the validation split is missing: run"):
        phase(splits)


def test_what_has_another_cause_stays_a_defect(splits: Path) -> None:
    @faults_explained
    def phase(directory: Path) -> None:
        raise tf.errors.InvalidArgumentError(None, None, f"of its own, in {directory.name}")

    with pytest.raises(tf.errors.InvalidArgumentError, match="of its own, in splits"):
        phase(splits)


@keras.saving.register_keras_serializable(package="tests")
class Insatiable(keras.layers.Layer):
    """Gives back what it is given, after asking for more memory than addresses reach."""

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """Ask."""
        return maps + tf.reduce_sum(tf.fill([1 << 24, 1 << 26], tf.reduce_sum(maps)))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of what it is given."""
        return shape


def insatiable_backbone() -> backbones.Backbone:
    def network(image_size_px: int) -> keras.Model:
        image = keras.Input((image_size_px, image_size_px, 3))
        maps = keras.layers.Conv2D(4, 3, strides=4, name="convolution")(Insatiable()(image))
        return keras.Model(image, maps, name=BACKBONE)

    return backbones.Backbone(BACKBONE, network, 1.0 / 255.0, 0.0, "x / 255", 8, 32, 3, 1, "tiny.h5")


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (
            "cached",
            "the pass through the backbone, 8 images at once, wants more memory than there is (OOM when allocating "
            "tensor with shape[16777216,67108864]",
        ),
        ("streaming", "a step of the frozen phase with 6 images wants more memory than there is (OOM when allocating "),
    ],
)
def test_too_little_memory_ends_in_what_helps(
    mode: str,
    message: str,
    splits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(backbones, "BACKBONES", {BACKBONE: insatiable_backbone()})
    fix = {
        "cached": "): give the step a machine, or a GPU, with more, or split with a smaller image_size_px",
        "streaming": "): lower its batch size",
    }

    with pytest.raises(SystemExit, match="2"):
        run_train_frozen(
            splits, tmp_path / "output", backbone=BACKBONE, batch_size=6, training_mode=mode, unfrozen_layers=1
        )

    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"train_frozen: error: {message}")
    assert line.endswith(fix[mode])


def test_of_memory_that_a_batch_wants_the_batch_is_quoted_and_no_hint(splits: Path) -> None:
    @faults_explained
    def phase(_: Path) -> None:
        def take(places: np.ndarray) -> np.ndarray:
            return np.full(1 << 58, places[0], np.float32)

        batches = tf.data.Dataset.range(4).batch(2).map(lambda places: tf.numpy_function(take, [places], tf.float32))

        @tf.function
        def step(iterator: Any) -> tf.Tensor:
            return next(iterator)

        step(iter(batches))

    with pytest.raises(UserError, match=r"^the step wants more memory than there is \(.*MemoryError: Unable to .*\): "):
        phase(splits)


def test_memory_that_nothing_closer_explains_is_of_the_whole_step(splits: Path) -> None:
    @faults_explained
    def phase(directory: Path) -> None:
        np.full(1 << 58, len(str(directory)), np.float32)

    with pytest.raises(
        UserError, match=r"^the step wants more memory than there is \(Unable to .*\): give it a machine"
    ):
        phase(splits)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("Failed to allocate scratch: CUDA_ERROR_OUT_OF_MEMORY", id="CUDA"),
        pytest.param("failed to create cublas handle: CUBLAS_STATUS_ALLOC_FAILED", id="cuBLAS"),
        pytest.param("Out of GPU scratch\ncuDNN: out of memory while planning", id="cuDNN"),
    ],
)
def test_memory_that_a_library_of_gpus_lacks_is_lacking_memory(said: str) -> None:
    """They say it in an error of another kind than TensorFlow does."""
    with (
        pytest.raises(UserError, match=r"^a step wants more memory than there is \(.*(?i:memory|alloc).*\): lower its"),
        enough_memory("a step", "lower its batch size"),
    ):
        raise tf.errors.InternalError(None, None, said)
    with pytest.raises(tf.errors.InternalError), enough_memory("a step", "lower its batch size"):
        raise tf.errors.InternalError(None, None, "CUDA_ERROR_ILLEGAL_ADDRESS")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(
            "failed call to cuDevicePrimaryCtxRetain: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error "
            "encountered",
            id="memory, at the start",
        ),
        pytest.param(
            "CUDA error: Failed to load in-memory CUBIN: CUDA_ERROR_DEVICE_UNAVAILABLE: CUDA-capable device(s) is/are "
            "busy or unavailable",
            id="somebody else's",
        ),
        pytest.param(
            "NCCL operation ncclGroupEnd() failed: unhandled cuda error (run with NCCL_DEBUG=INFO for details). Last "
            "NCCL warning(error) log entry (may be unrelated) 'Cuda failure 'uncorrectable NVLink error detected''.",
            id="a link",
        ),
        pytest.param("Unable to determine the device handle: GPU has fallen off the bus", id="gone"),
    ],
)
def test_what_a_device_alone_can_cause_is_tried_elsewhere_and_not_here(
    said: str, splits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @faults_explained
    def phase(_: Path) -> None:
        raise tf.errors.InternalError(None, None, f"Graph execution error:\n\n{{{{node step}}}} {said}\n")

    with pytest.raises(ElsewhereError) as failed:
        phase(splits)

    assert str(failed.value) == (
        f"a GPU, or what connects it, failed ({said[:200]}): a retry may get another, and goes on from checkpoint_uri "
        "where that is set"
    )
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            tf.errors.InternalError,
            "CUDA error: Could not synchronize CUDA stream: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure",
        ),
        (
            tf.errors.InternalError,
            "CUDA error: Failed to enqueue async memcpy from device to host: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal "
            "memory access was encountered",
        ),
        (tf.errors.UnknownError, "CUDNN_STATUS_EXECUTION_FAILED\nin tensorflow/stream_executor/cuda/cuda_dnn.cc(5081)"),
        (tf.errors.UnknownError, "Error invoking NCCL: unhandled cuda error"),
    ],
)
def test_what_a_device_may_have_caused_is_tried_elsewhere_and_shown_as_a_defect_would_be(
    kind: type[tf.errors.OpError], said: str, splits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @faults_explained
    def phase(_: Path) -> None:
        raise kind(None, None, said)

    with pytest.raises(ElsewhereError) as failed:
        phase(splits)

    assert str(failed.value) == (
        f"a GPU stopped computing ({said.splitlines()[0]}), as a broken one does: a retry may get another, and goes on "
        "from checkpoint_uri where that is set; if it comes again there, report it as a defect with the traceback above"
    )
    assert "Traceback" in capsys.readouterr().err


def test_memory_that_a_gpu_lacks_is_no_fault_of_it(splits: Path) -> None:
    @faults_explained
    def phase(_: Path) -> None:
        raise tf.errors.InternalError(None, None, "unhandled cuda error. Last NCCL: 'Cuda failure 2 'out of memory''")

    with pytest.raises(UserError, match="^the step wants more memory than there is "):
        phase(splits)


def test_a_device_that_fails_amid_training_ends_the_step_at_once(
    splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the process would do next with it would fail too; what was kept is there for another one."""
    said = "CUDA error: Could not synchronize CUDA stream: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error"
    take_step, steps = epoch_steps.take_step, itertools.count(1)

    def step_or_fail(*given: Any) -> Any:
        if next(steps) == 4:
            raise tf.errors.InternalError(None, None, said)
        return take_step(*given)

    monkeypatch.setattr(epoch_steps, "take_step", step_or_fail)
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "600")
    inputs = {**TINY, "epochs": 3, "checkpoint_uri": str(tmp_path / "kept")}

    with pytest.raises(SystemExit, match="75"):
        run_train_frozen(splits, tmp_path / "output", **inputs)

    assert f"train_frozen: error: a GPU, or what connects it, failed ({said}): a retry" in capsys.readouterr().err
    run_train_frozen(splits, tmp_path / "output", **inputs)
    assert "frozen: resuming after epoch " in capsys.readouterr().out


def test_what_cannot_be_repeated_is_refused(splits: Path) -> None:
    """XLA's gradient of pooling is one, on any device."""

    @tf.function(jit_compile=True)
    def gradient(maps: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(maps)
            pooled = tf.nn.max_pool2d(maps, 2, 2, "VALID")
        return tape.gradient(pooled, maps)

    @faults_explained
    def phase(_: Path) -> None:
        tf.config.experimental.enable_op_determinism()
        gradient(tf.ones([1, 4, 4, 3]))

    with pytest.raises(
        UserError, match=r"computed the same way each time on these devices \(.*determinis.*\): set xla to false"
    ):
        phase(splits)


def test_a_sentence_that_is_one_already_stays_as_it_is(splits: Path) -> None:
    @faults_explained
    def phase(directory: Path) -> None:
        with enough_memory("a step", "lower its batch size"):
            raise TransientError(f"no network for {directory.name}")

    with pytest.raises(TransientError, match="^no network for splits$"):
        phase(splits)
