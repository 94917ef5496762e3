"""A training goes on in the mode it began in, on whatever node, or says what keeps it from it."""

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.classifier.training_mode import Mode, ModeSettings, resumed_mode
from components.failures import TransientError, UserError
from tests.classifier.step_runs import trained_model
from tests.classifier.stopped_attempts import BACKBONE, BATCH, attempt

# Three batches an epoch. Another view in each epoch, so that the modes end in different weights.
FROZEN: dict[str, Any] = {
    "backbone": BACKBONE, "epochs": 3, "augmentation": 0.5, "augmented_views": 2, "unfrozen_layers": 0,
}  # fmt: skip
FINE_TUNE: dict[str, Any] = {
    "unfrozen_layers": 5, "epochs": 3, "augmentation": 0.5, "augmented_views": 2, "learning_rate": 1e-3,
}  # fmt: skip
IN_SECOND_EPOCH = (BATCH, 5)
SMALL, LARGE = {"cache_limit_gb": 1e-9}, {"cache_limit_gb": 1.0}

CACHED, STREAMING = Mode(True, "it fits"), Mode(False, "it does not fit")
GB = 10**9


def resumed(kept: Mapping[str, int], chosen: Mode, need: int = 0, asked: str = "auto", limit_gb: float = 1.0) -> Mode:
    """Resume where checkpoints are kept: epochs behind them, by mode."""
    settings = ModeSettings(asked, 2, "float16", limit_gb, "")
    return resumed_mode(
        settings, chosen, lambda mode: kept.get(mode.name), lambda finished: need // (1 + finished), Path("/")
    )


@pytest.mark.parametrize("chosen", [CACHED, STREAMING], ids=lambda mode: mode.name)
def test_what_is_chosen_stays_without_another_modes_checkpoint(chosen: Mode) -> None:
    assert resumed({}, chosen) is chosen
    assert resumed({chosen.name: 3}, chosen) is chosen
    assert resumed({"cached": 3, "streaming": 2}, chosen) is chosen


@pytest.mark.parametrize("chosen", [CACHED, STREAMING], ids=lambda mode: mode.name)
def test_the_mode_of_the_checkpoint_is_gone_on_in_unless_one_was_asked_for(chosen: Mode) -> None:
    kept = {(STREAMING if chosen.cached else CACHED).name: 0}

    found = resumed(kept, chosen)

    assert found == Mode(not chosen.cached, "an earlier attempt chose it and left a checkpoint")
    assert resumed(kept, chosen, asked=chosen.name) is chosen


def test_only_what_the_remaining_epochs_see_must_fit() -> None:
    assert resumed({"cached": 1}, STREAMING, need=2 * GB).cached
    with pytest.raises(
        UserError, match=r"needs 2 GB to go on, and cache_limit_gb is 1: raise it, or set training_mode"
    ):
        resumed({"cached": 0}, STREAMING, need=2 * GB)
    with pytest.raises(
        TransientError, match=r"GB to spare: give the step more ephemeral storage, or set training_mode"
    ):
        resumed({"cached": 0}, STREAMING, need=10**9 * GB, limit_gb=1e12)


@pytest.fixture(scope="module")
def frozen(splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a frozen phase that streamed, and hands nothing over."""
    output = tmp_path_factory.mktemp("frozen")
    run("frozen", output, {"splits": splits, **FROZEN, **SMALL})
    return output


def run(phase: str, output: Path, inputs: Mapping[str, Any], exit_code: int = 0, dies: Any = None) -> str:
    """Run an attempt on a node of its own; return what it printed."""
    output.mkdir(exist_ok=True)
    assert attempt(phase, output, output / "log", dies, inputs) == exit_code, (output / "log").read_text()
    return (output / "log").read_text()


def assert_same(output: Path, expected: Path) -> None:
    weights = [trained_model(folder).get_weights() for folder in (output, expected)]
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))


def test_a_node_with_more_disk_goes_on_streaming(splits: Path, frozen: Path, tmp_path: Path) -> None:
    inputs = {"splits": splits, **FROZEN, "checkpoint_uri": str(tmp_path / "kept")}
    said = run("frozen", tmp_path / "first", {**inputs, **SMALL}, -signal.SIGKILL, IN_SECOND_EPOCH)
    assert "training mode streaming: the cache would take " in said

    said = run("frozen", tmp_path / "second", {**inputs, **LARGE})

    assert "training mode streaming: an earlier attempt chose it and left a checkpoint" in said
    assert "frozen: resuming after epoch 1 of 3" in said
    assert_same(tmp_path / "second", frozen)


def test_a_node_with_less_disk_goes_on_where_it_can(
    splits: Path, frozen: Path, small_disk: Path, tmp_path: Path
) -> None:
    inputs = {
        "splits": splits, "frozen_model": frozen / "model", **FINE_TUNE, "checkpoint_uri": str(tmp_path / "kept")
    }  # fmt: skip
    run("fine_tune", tmp_path / "undisturbed", {**inputs, "checkpoint_uri": ""})
    said = run("fine_tune", tmp_path / "first", inputs, -signal.SIGKILL, IN_SECOND_EPOCH)
    assert "training mode cached: " in said

    said = run("fine_tune", tmp_path / "second", {**inputs, "cache_directory": str(small_disk)}, 75)

    assert "fine_tune: error: an earlier attempt left a checkpoint of training mode cached, which needs " in said
    assert f"and {small_disk} has " in said
    assert not (tmp_path / "second" / "model").exists()

    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    said = run("fine_tune", tmp_path / "third", {**inputs, "cache_directory": str(small_disk)})

    assert "fine_tune: resuming after epoch 1 of 3" in said
    assert_same(tmp_path / "third", tmp_path / "undisturbed")
