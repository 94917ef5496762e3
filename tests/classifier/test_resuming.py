"""A training that is killed and started again comes to the very weights of one that was left alone, in both phases."""

import dataclasses
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from components import storage
from components.classifier import backbones
from components.classifier.training_state import training_identity, weights_digest
from components.failures import RETRY_WAITS_VARIABLE, TransientError
from components.formats.splits import read_splits
from components.formats.trained_model import TIMING_COLUMNS, Resumption, read_training_record
from tests.classifier.step_runs import run_train_frozen, trained_model
from tests.classifier.stopped_attempts import (
    BACKBONE,
    BATCH,
    BEFORE,
    POINTED,
    WRITING,
    WRITTEN,
    Moment,
    attempt,
    tiny_backbone,
)

# Dropout, augmentation, a falling learning rate and early stopping all leave their mark on what comes after.
FROZEN: dict[str, Any] = {
    "backbone": BACKBONE,
    "epochs": 8,
    "head_units": 64,
    "learning_rate": 0.4,
    "dropout": 0.5,
    "augmentation": 0.5,
    "augmented_views": 3,
    "class_weights": "balanced",
    "early_stopping_patience": 3,
    "plateau_patience": 1,
}
FINE_TUNE: dict[str, Any] = {
    "unfrozen_layers": 5,
    "epochs": 8,
    "learning_rate": 8e-3,
    "augmentation": 0.5,
    "training_mode": "streaming",
    "early_stopping_patience": 3,
    "plateau_patience": 1,
}

# Seconds between checkpoints.
EPOCHS_ALONE, EACH_BATCH = 0.0, 1e-9


@dataclasses.dataclass(frozen=True)
class Phase:
    """A phase that was left alone."""

    name: str
    inputs: dict[str, Any]
    output: Path


def left_alone(name: str, inputs: dict[str, Any], output: Path) -> Phase:
    code = attempt(name, output, output / "log", None, inputs)
    assert code == 0, (output / "log").read_text()
    return Phase(name, inputs, output)


@pytest.fixture(scope="module")
def frozen(splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Phase:
    return left_alone("frozen", {"splits": splits, **FROZEN}, tmp_path_factory.mktemp("frozen"))


@pytest.fixture(scope="module")
def fine_tune(splits: Path, frozen: Phase, tmp_path_factory: pytest.TempPathFactory) -> Phase:
    inputs = {"splits": splits, "frozen_model": frozen.output / "model", **FINE_TUNE}
    return left_alone("fine_tune", inputs, tmp_path_factory.mktemp("fine_tune"))


def log(output: Path) -> str:
    return (output / "log").read_text()


def history(output: Path) -> pd.DataFrame:
    """Everything but how long it took."""
    return pd.read_csv(output / "model" / "history.csv").drop(columns=list(TIMING_COLUMNS))


def assert_same(output: Path, phase: Phase) -> None:
    """Same weights bit for bit, same history, same record but for the attempts and how long they took."""
    weights, expected = (trained_model(folder).get_weights() for folder in (output, phase.output))
    assert all(np.array_equal(*pair) for pair in zip(weights, expected, strict=True))
    pd.testing.assert_frame_equal(history(output), history(phase.output))
    record, undisturbed = (read_training_record(folder / "model") for folder in (output, phase.output))
    assert undisturbed.resumed[phase.name] == []
    assert dataclasses.replace(record, resumed=undisturbed.resumed, seconds=undisturbed.seconds) == undisturbed
    assert record.resumed[phase.name]
    assert f"Resumed {resumed_times(record.resumed[phase.name])}: " in (output / "report").read_text()
    epochs = pd.read_csv(output / "model" / "history.csv").query("phase == @phase.name")
    assert record.seconds[phase.name] > epochs["seconds"].sum() - 0.1, "the time of earlier attempts is counted too"


def resumed_times(places: list[Resumption]) -> str:
    return "once" if len(places) == 1 else f"{len(places)} times"


def moments(seed: int, *, local: bool) -> list[tuple[Moment, float]]:
    """Return when ten attempts, one after another, die, and how many seconds lie between their checkpoints.

    An epoch has three batches. Together the attempts finish few epochs.
    """
    draw = random.Random(seed)
    chosen: list[tuple[Moment, float]] = [
        ((BATCH, draw.randint(1, 3)), EPOCHS_ALONE),  # of the first epoch
        ((BATCH, draw.randint(4, 6)), EPOCHS_ALONE),  # of the second
        ((BATCH, draw.randint(1, 3)), EACH_BATCH),
        ((BATCH, draw.randint(1, 3)), EACH_BATCH),
        ((BEFORE, 1), EPOCHS_ALONE),
        ((BEFORE, draw.randint(1, 3)), EACH_BATCH),
        ((WRITTEN, 1), EPOCHS_ALONE),
        ((WRITTEN, draw.randint(1, 3)), EACH_BATCH),
        ((WRITING, draw.randint(1, 4)) if local else (POINTED, 1), EPOCHS_ALONE),
        ((WRITING, draw.randint(1, 6)) if local else (POINTED, draw.randint(1, 3)), EACH_BATCH),
    ]
    return draw.sample(chosen, len(chosen))


def kill_and_rerun(phase: Phase, output: Path, checkpoint_uri: str, dying: list[tuple[Moment, float]]) -> None:
    inputs = {**phase.inputs, "checkpoint_uri": checkpoint_uri}
    logs = []
    for moment, seconds in dying:
        given = {**inputs, "checkpoint_seconds": seconds}
        assert attempt(phase.name, output, output / "log", moment, given) == -signal.SIGKILL, (moment, log(output))
        logs.append(log(output))
    assert attempt(phase.name, output, output / "log", None, inputs) == 0, log(output)
    assert f"{phase.name}: resuming after epoch " in log(output)
    assert any(" of the next from " in text for text in logs), "choose a seed that resumes within an epoch"
    assert_same(output, phase)


def finish_again(phase: Phase, output: Path, checkpoint_uri: str) -> None:
    inputs = {**phase.inputs, "checkpoint_uri": checkpoint_uri}
    assert attempt(phase.name, output, output / "log", (BATCH, 1), inputs) == 0, log(output)
    epochs = len(history(output).query("phase == @phase.name"))
    lines = log(output).splitlines()
    assert any(line.startswith(f"{phase.name}: resuming after epoch {epochs} of ") for line in lines)
    assert not any(line.startswith(("activations of view", f"{phase.name} epoch ")) for line in lines)
    assert_same(output, phase)


def test_the_frozen_phase_resumes_from_a_bucket(frozen: Phase, new_bucket: Callable[[], str], tmp_path: Path) -> None:
    assert history(frozen.output)["learning_rate"].nunique() > 1, "choose a learning rate that falls"
    bucket = new_bucket()

    kill_and_rerun(frozen, tmp_path, bucket, moments(20261, local=False))

    finish_again(frozen, tmp_path, bucket)


def test_fine_tuning_resumes_from_a_folder(fine_tune: Phase, tmp_path: Path) -> None:
    tuned = history(fine_tune.output).query("phase == 'fine_tune'")
    assert 4 < len(tuned) < FINE_TUNE["epochs"], "choose a learning rate that stops early"
    assert tuned["learning_rate"].nunique() > 1, "choose a learning rate that falls"
    folder = tmp_path / "checkpoints"

    kill_and_rerun(fine_tune, tmp_path, str(folder), moments(20262, local=True))

    left = [path for path in folder.rglob(".*.storage-partial") if path.stat().st_size]
    hours_ago = time.time() - 7200
    for path in left:
        os.utime(path, (hours_ago, hours_ago))
    finish_again(fine_tune, tmp_path, str(folder))
    assert not any(path.exists() for path in left), "what is half-written would fill a disk, kill by kill"


@pytest.mark.parametrize("name", ["frozen", "fine_tune"])
def test_sigterm_keeps_the_state_within_an_epoch_and_exits_75(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    phase: Phase = request.getfixturevalue(name)
    inputs = {**phase.inputs, "checkpoint_uri": str(tmp_path / "checkpoints")}

    assert attempt(name, tmp_path, tmp_path / "log", (BATCH, 5), inputs, signal.SIGTERM) == 75, log(tmp_path)

    assert log(tmp_path).splitlines()[-1] == (
        f"{'train_frozen' if name == 'frozen' else name}: error: stopped by SIGTERM after batch 2 of 3"
    )
    assert not {"model", "report", ".model.partial"} & {path.name for path in tmp_path.iterdir()}
    assert attempt(name, tmp_path, tmp_path / "log", None, inputs) == 0, log(tmp_path)
    assert f"{name}: resuming after epoch 1 of 8 and batch 2 of the next from " in log(tmp_path)
    assert "Resumed once: after epoch 1 and batch 2 of the next. The time is that of all attempts" in log(tmp_path)
    assert_same(tmp_path, phase)


def test_other_settings_start_at_the_first_epoch(frozen: Phase, tmp_path: Path) -> None:
    inputs = {**frozen.inputs, "checkpoint_uri": str(tmp_path / "checkpoints")}
    assert attempt("frozen", tmp_path, tmp_path / "log", (POINTED, 1), inputs) == -signal.SIGKILL
    other = {**inputs, "dropout": 0.4}

    assert attempt("frozen", tmp_path, tmp_path / "log", (BATCH, 1), other) == -signal.SIGKILL

    assert "resuming" not in log(tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_all_that_decides_the_result_is_part_of_the_identity(splits: Path) -> None:
    described = read_splits(splits)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    settings = {"epochs": 5}

    def identity(**changes: Any) -> Any:
        given = {
            "splits": described,
            "model_digest": weights_digest(model),
            "precision": "float32",
            "settings": settings,
            **changes,
        }
        return training_identity(**given)

    first = identity()
    other_shards = dataclasses.replace(described, splits={**described.splits, "train": described.splits["test"]})
    others = [
        identity(splits=dataclasses.replace(described, dataset_digest="0" * 64)),
        identity(splits=other_shards),
        identity(precision="mixed_bfloat16"),
        identity(settings={"epochs": 6}),
    ]
    model.set_weights([weights + 1e-6 for weights in model.get_weights()])
    others.append(identity())

    assert all(other != first for other in others)


@pytest.mark.parametrize("name", ["frozen", "fine_tune"])
@pytest.mark.usefixtures("gcs")
def test_a_missing_bucket_is_refused_before_training(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    phase: Phase = request.getfixturevalue(name)
    inputs = {**phase.inputs, "checkpoint_uri": "gs://no-such-bucket/checkpoints"}

    assert attempt(name, tmp_path, tmp_path / "log", None, inputs) == 2

    assert "error: checkpoint_uri: gs://no-such-bucket does not exist; check its name, or create it with" in log(
        tmp_path
    )
    assert not any(line.startswith(("activations", f"{name} epoch")) for line in log(tmp_path).splitlines())


def test_an_outage_of_the_bucket_costs_the_step_one_epoch(
    frozen: Phase, new_bucket: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step tries again by itself, in the same process, and goes on from what it had kept."""
    monkeypatch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})
    written: list[str] = []
    write = storage.write_if_absent

    def write_or_fail(uri: str, data: bytes | Path) -> bool:
        if uri.endswith(".npz"):
            written.append(uri)
            if len(written) == 2:
                raise TransientError("Cloud Storage could not write for now")
        return write(uri, data)

    monkeypatch.setattr(storage, "write_if_absent", write_or_fail)
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "0")

    run_train_frozen(output=tmp_path, checkpoint_uri=new_bucket(), **frozen.inputs)

    assert [uri.rpartition("/")[2][:10] for uri in written[:4]] == [f"epoch-000{epoch}" for epoch in (1, 2, 2, 3)]
    assert_same(tmp_path, frozen)
