"""A pass through the frozen layers that is killed goes on where it was, and what it came to is used again."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.formats.training_features import read_training_features
from tests.classifier.small_splits import drawn_shapes, write_small_splits
from tests.classifier.step_runs import trained_model
from tests.classifier.stopped_attempts import BACKBONE, BATCH, POINTED, SHARD, WRITING, WRITTEN, attempt, begun, ended

# 27 images to train on in 4 shards of each view, 12 to choose by in 2; features and boundary are shards of their own.
FROZEN: dict[str, Any] = {
    "backbone": BACKBONE, "epochs": 3, "augmentation": 0.5, "augmented_views": 2, "unfrozen_layers": 5,
}  # fmt: skip
FINE_TUNE: dict[str, Any] = {
    "unfrozen_layers": 5, "epochs": 4, "augmentation": 0.5, "augmented_views": 2, "learning_rate": 1e-3,
}  # fmt: skip
SHARDS = 2 + 2 * 4


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shapes") / "splits"
    write_small_splits(directory, drawn_shapes({"train": 9, "validation": 4, "test": 1}, seed=1), 32)
    return directory


@pytest.fixture(scope="module")
def undisturbed(splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of both phases that were left alone, in ``frozen`` and ``tuned``."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "frozen").mkdir()
    (folder / "tuned").mkdir()
    run("frozen", folder / "frozen", {"splits": splits, **FROZEN})
    run("fine_tune", folder / "tuned", {"splits": splits, "frozen_model": folder / "frozen" / "model", **FINE_TUNE})
    return folder


def run(phase: str, output: Path, inputs: dict[str, Any]) -> str:
    code = attempt(phase, output, output / "log", None, inputs)
    assert code == 0, (output / "log").read_text()
    return (output / "log").read_text()


def shards(folder: Path) -> dict[str, int]:
    """Return when each shard was written, by kind and name."""
    return {f"{path.parent.name[:8]}/{path.name}": path.stat().st_mtime_ns for path in folder.rglob("[!.]*.shard")}


def assert_same(output: Path, expected: Path) -> None:
    weights = [trained_model(folder).get_weights() for folder in (output, expected)]
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))


def test_finished_shards_are_not_computed_again(splits: Path, undisturbed: Path, tmp_path: Path) -> None:
    inputs = {"splits": splits, **FROZEN}
    kept: dict[str, int] = {}
    for shard in (3, 2, 5):
        assert attempt("frozen", tmp_path, tmp_path / "log", (SHARD, shard), inputs) == -signal.SIGKILL
        found = shards(tmp_path / "cache")
        assert len(found) > len(kept)
        assert {name: found[name] for name in kept} == kept
        kept = found

    log = run("frozen", tmp_path, inputs)

    found = shards(tmp_path / "cache")
    assert len(found) == 2 * SHARDS
    assert {name: found[name] for name in kept} == kept
    assert "found in the cache" in log
    assert not list((tmp_path / "cache").rglob(".partial*"))
    assert_same(tmp_path, undisturbed / "frozen")


def test_fine_tuning_takes_what_it_is_handed(splits: Path, undisturbed: Path) -> None:
    log = (undisturbed / "tuned" / "log").read_text()

    assert "fine_tune: training mode cached: nothing more to compute" in log
    assert "convolution_1 (8, 8, 24) cross from the frozen layers to the last 5" in log
    assert "the cache takes" not in log
    assert "views were handed over" not in log
    assert not list(undisturbed.rglob(".*.partial"))


def test_fine_tuning_computes_what_is_lost_and_goes_on_when_killed(
    splits: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """One shard damaged, one gone, two swapped: the rest is taken from what was handed over, which is only read."""
    frozen = tmp_path / "frozen"
    shutil.copytree(undisturbed / "frozen", frozen)
    (boundary,) = (frozen / "cache").glob("boundary-*")
    damaged = boundary / "train-view-0-00002.shard"
    damaged.write_bytes(damaged.read_bytes()[:-50] + bytes(50))
    (boundary / "train-view-1-00003.shard").unlink()
    first, second = (boundary / f"train-view-1-0000{number}.shard" for number in (0, 1))
    aside = first.rename(tmp_path / "aside")
    second.rename(first)
    aside.rename(second)
    before = shards(frozen)
    inputs = {"splits": splits, "frozen_model": frozen / "model", **FINE_TUNE}
    tuned = tmp_path / "tuned"
    tuned.mkdir()

    assert attempt("fine_tune", tuned, tuned / "log", (SHARD, 1), inputs) == -signal.SIGKILL
    assert f"{damaged} is damaged" in (tuned / "log").read_text()
    assert [path.name for path in tuned.glob(".*")] == [".model.activations.partial"]
    assert {name.split("/")[1] for name in shards(tuned)} == {"train-view-0-00002.shard"}
    log = run("fine_tune", tuned, inputs)

    assert "activations of view 1 of 2: 27 images found in the cache" in log
    assert f"{second} is another shard, put in the place of this one: it is not used" in log
    assert "activations of view 2 of 2: 19 images, 8 found in the cache" in log
    assert shards(frozen) == before
    assert not list(tuned.rglob(".*.partial"))
    assert_same(tuned, undisturbed / "tuned")


def test_fine_tuning_computes_the_views_that_a_resumed_frozen_phase_did_not(
    splits: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Its first two epochs were trained on another node, where the second view stayed."""
    inputs = {"splits": splits, **FROZEN, "checkpoint_uri": str(tmp_path / "kept")}
    nodes = [tmp_path / name for name in ("lost", "frozen", "tuned")]
    lost, frozen, tuned = nodes
    for node in nodes:
        node.mkdir()
    assert attempt("frozen", lost, lost / "log", (POINTED, 2), inputs) == -signal.SIGKILL
    assert "frozen: resuming after epoch 2 of 3" in run("frozen", frozen, inputs)
    assert not any("train-view-1" in name for name in shards(frozen))
    of_one_view, of_both = (read_training_features(folder / "model") for folder in (frozen, undisturbed / "frozen"))
    assert of_one_view is not None
    assert of_both is not None
    assert (of_one_view.views, of_both.views) == (1, 2)

    log = run("fine_tune", tuned, {"splits": splits, "frozen_model": frozen / "model", **FINE_TUNE})

    assert "fine_tune: 1 of 2 views were handed over or cached before; what is missing is computed when an " in log
    assert "activations of view 1 of 2: 27 images found in the cache" in log
    assert "activations of view 2 of 2: 27 images\n" in log
    assert not list(tuned.rglob("*.shard"))
    for found, expected in ((frozen, "frozen"), (tuned, "tuned")):
        assert_same(found, undisturbed / expected)


def test_cached_training_goes_on_from_its_checkpoints(splits: Path, undisturbed: Path, tmp_path: Path) -> None:
    frozen_model = undisturbed / "frozen" / "model"
    inputs = {"splits": splits, "frozen_model": frozen_model, **FINE_TUNE, "checkpoint_uri": str(tmp_path / "kept")}
    for moment in ((BATCH, 6), (WRITTEN, 1), (BATCH, 3)):
        assert attempt("fine_tune", tmp_path, tmp_path / "log", moment, inputs) == -signal.SIGKILL

    log = run("fine_tune", tmp_path, inputs)

    assert "fine_tune: resuming after epoch 1 of 4" in log
    assert_same(tmp_path, undisturbed / "tuned")


def test_a_folder_for_caches_serves_the_next_run(splits: Path, undisturbed: Path, tmp_path: Path) -> None:
    inputs = {"splits": splits, **FROZEN, "cache_directory": str(tmp_path / "kept")}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        log = run("frozen", tmp_path / name, inputs)
        assert set(shards(tmp_path / name)) == set(shards(tmp_path / "kept"))
        assert_same(tmp_path / name, undisturbed / "frozen")

    assert "the cache takes" not in log
    assert "training mode cached: nothing more to compute" in log


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 500
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_runs_at_once_share_a_folder_for_caches(splits: Path, undisturbed: Path, tmp_path: Path) -> None:
    """The first is held up in the midst of its pass; the second waits, and finds all that the first computes."""
    inputs = {"splits": splits, **FROZEN, "cache_directory": str(tmp_path / "kept")}
    first, second = tmp_path / "first", tmp_path / "second"
    for output in (first, second):
        output.mkdir()
    held_up = begun("frozen", first, first / "log", (SHARD, 3), inputs, signal.SIGSTOP)
    assert held_up.pid is not None
    state = Path("/proc") / str(held_up.pid) / "stat"
    wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")

    waiting = begun("frozen", second, second / "log", None, inputs)
    wait_for(lambda: (second / "log").exists() and "another run writes to " in (second / "log").read_text())
    os.kill(held_up.pid, signal.SIGCONT)

    assert (ended(held_up), ended(waiting)) == (0, 0), (second / "log").read_text()
    assert "activations of validation: 12 images found in the cache" in (second / "log").read_text()
    said = [(output / "log").read_text() for output in (first, second)]
    # Each section, validation and two views, was computed by one of them alone.
    assert sum(text.count(": the cache takes ") for text in said) == 3
    for output in (first, second):
        assert set(shards(output)) == set(shards(tmp_path / "kept"))
        assert_same(output, undisturbed / "frozen")


def test_a_run_that_dies_lets_the_one_that_waits_for_it_go_on(splits: Path, undisturbed: Path, tmp_path: Path) -> None:
    inputs = {"splits": splits, **FROZEN, "cache_directory": str(tmp_path / "kept")}
    first, second = tmp_path / "first", tmp_path / "second"
    for output in (first, second):
        output.mkdir()
    held_up = begun("frozen", first, first / "log", (WRITING, 2), inputs, signal.SIGSTOP)
    assert held_up.pid is not None
    wait_for(lambda: bool(list((tmp_path / "kept").rglob(".partial*"))))
    waiting = begun("frozen", second, second / "log", None, inputs)
    wait_for(lambda: (second / "log").exists() and "another run writes to " in (second / "log").read_text())

    os.kill(held_up.pid, signal.SIGKILL)

    assert (ended(held_up), ended(waiting)) == (-signal.SIGKILL, 0), (second / "log").read_text()
    assert not list((tmp_path / "kept").rglob(".partial*"))
    assert_same(second, undisturbed / "frozen")
