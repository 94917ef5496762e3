"""What was left to the machine stays as an earlier attempt had it, on whatever node can go on with it."""

import signal
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.classifier.devices import Devices
from components.classifier.resumed_choice import resumed_choice
from tests.classifier.step_runs import trained_model
from tests.classifier.stopped_attempts import BACKBONE, BATCH, Moment, Node, attempt

# Six batches of four an epoch, three of eight.
FROZEN: dict[str, Any] = {"backbone": BACKBONE, "epochs": 2, "unfrozen_layers": 0}
FINE_TUNE: dict[str, Any] = {"unfrozen_layers": 5, "epochs": 2, "batch_size": 0, "learning_rate": 1e-3}
FIRST, SECOND, SMALL = Node("mixed_bfloat16", 8), Node("float32", 16), Node("float32", 4)
IN_SECOND_EPOCH = (BATCH, 5)


def resumed(kept: Collection[int], able: Collection[int]) -> int:
    """Choose 3 of 1 to 4 where checkpoints are kept."""
    return resumed_choice("step", "size", 3, [1, 2, 4], able=able.__contains__, left=kept.__contains__)


@pytest.mark.parametrize(
    ("kept", "able", "found", "said"),
    [
        pytest.param([], [1, 2, 4], 3, "", id="no checkpoint"),
        pytest.param([1, 3], [1, 2, 4], 3, "", id="one of what was chosen"),
        pytest.param([2], [1, 2], 2, "step: size 2: an earlier attempt chose it and left a checkpoint\n", id="another"),
        pytest.param([1, 4], [4], 4, "step: size 4: ", id="the one that can be gone on with"),
        pytest.param(
            [1],
            [2],
            3,
            "step: an earlier attempt left a checkpoint of size 1, which these devices are not capable of: beginning "
            "anew with 3\n",
            id="none that can be gone on with",
        ),
    ],
)
def test_a_choice_is_gone_on_with_where_it_can_be(
    kept: Collection[int], able: Collection[int], found: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resumed(kept, able) == found
    printed = capsys.readouterr().out
    assert printed.startswith(said)
    assert bool(printed) == bool(said)


@pytest.mark.parametrize(
    ("capability", "chosen", "kept", "found"),
    [
        pytest.param((8, 9), "mixed_bfloat16", "mixed_float16", "mixed_float16", id="of a T4, on an L4"),
        pytest.param((7, 5), "mixed_float16", "mixed_bfloat16", "mixed_float16", id="of an L4, on a T4"),
        pytest.param((7, 5), "mixed_float16", "float32", "float32", id="of a P100, on a T4"),
    ],
)
def test_devices_go_on_at_a_precision_that_they_support(
    capability: tuple[int, int], chosen: str, kept: str, found: str
) -> None:
    devices = Devices(tf.distribute.get_strategy(), ["GPU"], chosen, (capability,))

    assert devices.going_on("step", "auto", lambda precision: precision == kept).precision == found
    assert devices.going_on("step", chosen, lambda precision: precision == kept) is devices


@pytest.fixture(scope="module")
def frozen(splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a frozen phase on the first node that nobody stopped."""
    output = tmp_path_factory.mktemp("frozen")
    run("frozen", output, {"splits": splits, **FROZEN}, FIRST)
    return output


def run(
    phase: str, output: Path, inputs: Mapping[str, Any], node: Node, exit_code: int = 0, dies: Moment | None = None
) -> str:
    """Run an attempt on a node; return what it printed."""
    output.mkdir(exist_ok=True)
    assert attempt(phase, output, output / "log", dies, inputs, node=node) == exit_code, (output / "log").read_text()
    return (output / "log").read_text()


def assert_same(output: Path, expected: Path) -> None:
    weights = [trained_model(folder).get_weights() for folder in (output, expected)]
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))


def test_a_head_goes_on_at_the_precision_it_began_at(splits: Path, frozen: Path, tmp_path: Path) -> None:
    inputs = {"splits": splits, **FROZEN, "checkpoint_uri": str(tmp_path / "kept")}
    said = run("frozen", tmp_path / "first", inputs, FIRST, -signal.SIGKILL, IN_SECOND_EPOCH)
    assert "precision mixed_bfloat16\n" in said

    said = run("frozen", tmp_path / "second", inputs, SECOND)

    assert "devices: CPU; precision float32\n" in said
    assert "train_frozen: precision mixed_bfloat16: an earlier attempt chose it and left a checkpoint" in said
    assert "frozen: resuming after epoch 1 of 2" in said
    assert_same(tmp_path / "second", frozen)

    said = run("frozen", tmp_path / "asked", {**inputs, "precision": "mixed_bfloat16"}, SECOND)
    assert "frozen: resuming after epoch 2 of 2" in said, "whoever asks for what was chosen goes on from it"
    assert_same(tmp_path / "asked", frozen)


def test_fine_tuning_goes_on_at_precision_and_batch_size_it_began_at(
    splits: Path, frozen: Path, tmp_path: Path
) -> None:
    inputs = {
        "splits": splits, "frozen_model": frozen / "model", **FINE_TUNE, "checkpoint_uri": str(tmp_path / "kept")
    }  # fmt: skip
    run("fine_tune", tmp_path / "undisturbed", {**inputs, "checkpoint_uri": ""}, FIRST)
    said = run("fine_tune", tmp_path / "first", inputs, FIRST, -signal.SIGKILL, IN_SECOND_EPOCH)
    assert "batch size found: 8\n" in said

    said = run("fine_tune", tmp_path / "small", inputs, SMALL, -signal.SIGKILL, (BATCH, 1))
    assert "fine_tune: precision mixed_bfloat16: an earlier attempt chose it" in said
    assert "checkpoint of batch size 8, which these devices are not capable of: beginning anew with 4\n" in said
    assert "resuming" not in said

    said = run("fine_tune", tmp_path / "second", inputs, SECOND)
    assert "fine_tune: precision mixed_bfloat16: an earlier attempt chose it and left a checkpoint" in said
    assert "batch size found: 16\nfine_tune: batch size 8: an earlier attempt chose it and left a checkpoint" in said
    assert "fine_tune: resuming after epoch 1 of 2" in said
    assert_same(tmp_path / "second", tmp_path / "undisturbed")

    asked = {**inputs, "precision": "mixed_bfloat16", "batch_size": 8}
    assert "fine_tune: resuming after epoch 2 of 2" in run("fine_tune", tmp_path / "asked", asked, SECOND)
    assert_same(tmp_path / "asked", tmp_path / "undisturbed")
