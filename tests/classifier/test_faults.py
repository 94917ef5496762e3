"""What fails outside, disk, bucket or file, ends in a clear sentence or is waited out; nothing is half-written."""

import functools
import itertools
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.classifier import backbones, epoch_steps
from components.failures import RETRY_WAITS_VARIABLE
from components.launch.gcs_emulator import HOST_VARIABLE
from tests.classifier.step_runs import run_fine_tune, run_train_frozen, trained_model
from tests.classifier.stopped_attempts import BACKBONE, BATCH, attempt, tiny_backbone
from tests.permissions import unprivileged

FROZEN: dict[str, Any] = {"backbone": BACKBONE, "epochs": 4, "head_units": 64, "checkpoint_seconds": 1e-9}


@pytest.fixture(scope="module")
def undisturbed(splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed")
    run(splits, output, 0)
    return output


def run(splits: Path, output: Path, exit_code: int, **changes: Any) -> str:
    """Train a head in a process of its own; return what it printed."""
    log = output.with_name(f"{output.name}.log")
    inputs = {"splits": splits, **FROZEN, **changes}
    assert attempt("frozen", output, log, None, inputs) == exit_code, log.read_text()
    return log.read_text()


def published(output: Path) -> list[Path]:
    """What a training that failed must not leave."""
    return [path for name in ("model", "report") if (path := output / name).exists()]


def assert_same_weights(output: Path, expected: Path) -> None:
    weights = [trained_model(folder).get_weights() for folder in (output, expected)]
    assert all(np.array_equal(*pair) for pair in zip(*weights, strict=True))


def test_a_full_disk_for_checkpoints_leaves_whole_ones(
    splits: Path, undisturbed: Path, small_disk: Path, tmp_path: Path
) -> None:
    said = run(splits, tmp_path / "output", 75, checkpoint_uri=str(small_disk))

    assert "train_frozen: error: the disk is full while working on " in said.splitlines()[-1]
    assert not published(tmp_path / "output")
    files = [path.name for path in small_disk.rglob("*") if path.is_file()]
    assert all(name.endswith((".npz", ".json", ".storage-lock")) and "partial" not in name for name in files)

    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    said = run(splits, tmp_path / "output", 0, checkpoint_uri=str(small_disk))

    assert "frozen: resuming after epoch " in said
    assert "is damaged" not in said
    assert_same_weights(tmp_path / "output", undisturbed)


@pytest.mark.parametrize("name", ["cache_directory", "checkpoint_uri"])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("{disk}/kept", "cannot write {disk}/kept: its file system is read-only; give another place"),
        ("/proc/kept", "cannot write /proc/kept: no file can be made in /proc; give another place"),
        (__file__, f"cannot write {__file__}: {__file__} is a file; give a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_all_else(
    name: str, place: str, message: str, splits: Path, small_disk: Path, tmp_path: Path, capsys: Any
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(SystemExit, match="2"):
        run_train_frozen(splits, tmp_path / "output", **{name: place.format(disk=small_disk)})

    said = capsys.readouterr()
    assert said.err == f"train_frozen: error: {name}: {message.format(disk=small_disk)}\n"
    assert said.out == ""


@pytest.mark.parametrize("name", ["cache_directory", "checkpoint_uri"])
@pytest.mark.parametrize(("phase", "output"), [("frozen", "model"), ("frozen", "cache"), ("fine_tune", "model")])
def test_a_place_in_an_output_is_refused_before_all_else(
    name: str, phase: str, output: str, undisturbed: Path, splits: Path, tmp_path: Path, capsys: Any
) -> None:
    """What lies in an output is deleted when the step succeeds: by way of a link too."""
    (tmp_path / "link").symlink_to(tmp_path / "output")
    place = tmp_path / "link" / output / "kept"

    inputs = [splits] if phase == "frozen" else [splits, undisturbed / "model"]
    train: Callable[..., Any] = run_train_frozen if phase == "frozen" else run_fine_tune

    with pytest.raises(SystemExit, match="2"):
        train(*inputs, tmp_path / "output", **{name: str(place)})

    said = capsys.readouterr()
    step = "train_frozen" if phase == "frozen" else phase
    assert said.err.startswith(f"{step}: error: {name}: {place} lies in {tmp_path / 'output' / output}, an output ")
    assert said.out == ""


@pytest.mark.parametrize(
    ("output", "message"),
    [
        pytest.param(
            "disk", "cannot write {disk}/output/model: its file system is read-only; give another place", id="disk"
        ),
        pytest.param(
            "/proc", "cannot write /proc/output/model: no file can be made in /proc; give another place", id="proc"
        ),
        pytest.param("file", "cannot write {file}/output/model: {file} is a file; give a folder", id="below a file"),
    ],
)
@pytest.mark.parametrize("step", ["train_frozen", "fine_tune"])
def test_outputs_that_cannot_be_written_are_found_before_all_else(
    step: str, output: str, message: str, undisturbed: Path, splits: Path, small_disk: Path, tmp_path: Path, capsys: Any
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    places = {"disk": small_disk, "/proc": Path("/proc"), "file": tmp_path / "file"}
    places["file"].touch()
    steps = {
        "train_frozen": functools.partial(run_train_frozen, splits),
        "fine_tune": functools.partial(run_fine_tune, splits, undisturbed / "model"),
    }

    with pytest.raises(SystemExit, match="2"):
        steps[step](places[output] / "output")

    said = capsys.readouterr()
    assert said.err == f"{step}: error: {message.format(**places)}\n"
    assert said.out == ""


def test_a_file_in_the_place_of_the_cache_or_a_folder_in_that_of_the_report_is_found_before_all_else(
    splits: Path, tmp_path: Path, capsys: Any
) -> None:
    cache, report = tmp_path / "first" / "cache", tmp_path / "second" / "report"
    cache.parent.mkdir()
    cache.write_text("of a person")
    (report / "photos").mkdir(parents=True)

    for place, message in {
        cache: f"cannot write {cache}: {cache} is a file; give a folder",
        report: f"cannot write {report}: it is a folder, and a file is to be there; move it away, or give another path",
    }.items():
        with pytest.raises(SystemExit, match="2"):
            run_train_frozen(splits, place.parent, training_mode="streaming")
        said = capsys.readouterr()
        assert said.err == f"train_frozen: error: {message}\n"
        assert said.out == ""

    assert {path.name for path in tmp_path.rglob("*")} == {"first", "cache", "second", "report", "photos"}
    assert cache.read_text() == "of a person"


def test_outputs_may_lie_where_checkpoints_and_caches_are_kept(splits: Path, tmp_path: Path) -> None:
    kept = {"cache_directory": str(tmp_path), "checkpoint_uri": str(tmp_path)}
    run(splits, tmp_path / "output", 0, **kept, epochs=1)

    said = run(splits, tmp_path / "output", 0, **kept, epochs=1)

    assert "frozen: resuming after epoch 1 of 1" in said


@pytest.mark.parametrize("size", ["56k", "120k", "200k"])
def test_a_full_disk_for_the_model_publishes_none(size: str, splits: Path, small_disk: Path) -> None:
    """Of the model nothing fits, or a part of its file, or not what that is unpacked to."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(small_disk)], check=True)
    said = run(splits, small_disk / "output", 75)

    assert f"train_frozen: error: the disk is full ({small_disk / 'output'}/" in said.splitlines()[-1]
    assert not published(small_disk / "output")
    assert [path for path in small_disk.rglob("*") if "partial" in path.name] == []


def test_a_full_disk_for_a_cache_leaves_whole_shards(
    splits: Path, undisturbed: Path, small_disk: Path, tmp_path: Path
) -> None:
    """Those that fit: there are two of validation images and three of a view, for features and for the boundary."""
    inputs: dict[str, Any] = {
        "unfrozen_layers": 5, "training_mode": "cached", "cache_directory": str(small_disk / "cache")
    }  # fmt: skip
    said = run(splits, tmp_path / "output", 75, **inputs)

    assert f"train_frozen: error: the disk is full ({small_disk / 'cache'}/" in said.splitlines()[-1]
    assert not published(tmp_path / "output")
    whole = {path.name: path.stat().st_mtime_ns for path in small_disk.rglob("*.shard")}
    assert whole
    assert not any(name.startswith(".partial") for name in whole)

    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    run(splits, tmp_path / "output", 0, **inputs)

    again = {path.name: path.stat().st_mtime_ns for path in small_disk.rglob("*.shard")}
    assert whole.items() < again.items()
    assert_same_weights(tmp_path / "output", undisturbed)


def test_a_cache_that_cannot_be_computed_leaves_nothing_behind(
    splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values that float16 cannot hold, which only the pass over the images shows."""
    monkeypatch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})
    frozen = tmp_path / "frozen"
    run_train_frozen(splits, frozen, backbone=BACKBONE, epochs=1, unfrozen_layers=0)
    model = trained_model(frozen)
    model.set_weights([weights * 1e4 for weights in model.get_weights()])
    model.save(frozen / "model" / "model.keras")
    output = tmp_path / "output"

    with pytest.raises(SystemExit, match="2"):
        run_fine_tune(splits, frozen / "model", output, unfrozen_layers=5, training_mode="cached")

    assert "set cache_precision to float32" in capsys.readouterr().err
    assert [path.name for path in output.iterdir()] == []


@pytest.mark.parametrize("step", ["train_frozen", "fine_tune"])
def test_a_folder_in_the_place_of_a_shard_ends_in_a_sentence(
    step: str, splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person's: nothing but a person puts one there."""
    monkeypatch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})
    cache = tmp_path / "cache"
    shared: dict[str, Any] = {
        "splits": splits, "epochs": 1, "unfrozen_layers": 5, "training_mode": "cached", "cache_directory": str(cache)
    }  # fmt: skip
    run_train_frozen(output=tmp_path / "frozen", backbone=BACKBONE, **shared)
    shutil.rmtree(tmp_path / "frozen" / "cache")
    [shard] = cache.glob("boundary-*/train-view-0-*.shard")
    shard.unlink()
    (shard / "photos").mkdir(parents=True)
    run_step = {
        "train_frozen": functools.partial(run_train_frozen, backbone=BACKBONE),
        "fine_tune": functools.partial(run_fine_tune, frozen_model=tmp_path / "frozen" / "model"),
    }[step]
    capsys.readouterr()

    with pytest.raises(SystemExit, match="2"):
        run_step(output=tmp_path / "again", **shared)

    assert capsys.readouterr().err == (
        f"{step}: error: {shard} is a folder, and a cache needs a file there: move it away, or let cache_directory "
        "name another place\n"
    )
    assert (shard / "photos").is_dir()
    assert not published(tmp_path / "again")


@pytest.mark.parametrize("place", ["splits", "splits/train-00000-of-00001.tfrecord", "output", "model/model.keras"])
def test_what_may_not_be_used_is_named(
    place: str,
    splits: Path,
    undisturbed: Path,
    unprivileged_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})
    inputs = unprivileged_folder / "inputs"
    shutil.copytree(splits, inputs / "splits")
    shutil.copytree(undisturbed / "model", inputs / "model")
    (inputs / "output").mkdir()
    (inputs / "output").chmod(0o777)
    (inputs / place).chmod(0)

    shared: dict[str, Any] = {"splits": inputs / "splits", "output": inputs / "output"}
    step = {
        "model": functools.partial(run_fine_tune, frozen_model=inputs / "model", unfrozen_layers=5, **shared),
    }.get(place.partition("/")[0], functools.partial(run_train_frozen, backbone=BACKBONE, epochs=1, **shared))
    with unprivileged(), pytest.raises(SystemExit, match="2"):
        step()

    (inputs / place).chmod(0o700)  # for whoever clears up
    said = capsys.readouterr().err
    assert str(inputs / place) in said
    assert "change its owner or mode" in said
    assert "Traceback" not in said
    assert "damaged" not in said


def test_ctrl_c_ends_a_step_as_it_ends_a_pipeline(splits: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    inputs = {"splits": splits, **FROZEN, "checkpoint_uri": str(tmp_path / "kept")}

    assert attempt("frozen", tmp_path / "output", log, (BATCH, 5), inputs, signal.SIGINT) == 130, log.read_text()

    said = log.read_text()
    assert said.splitlines()[-1] == "train_frozen: error: stopped by SIGINT; a rerun goes on from what was kept"
    assert "Traceback" not in said
    assert not published(tmp_path / "output")


class Gate:
    """A way to a server that is shut when so many uploads have gone through it, until so many were turned away."""

    def __init__(self, port: int, uploads: int, turns_away: int) -> None:
        self._port = port
        self._uploads = uploads
        self._turns_away = turns_away
        self._shut = False
        self._connections: list[socket.socket] = []
        self.turned_away = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._shut:
                self.turned_away += 1
                self._shut = self.turned_away < self._turns_away
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._port))
            self._connections += [client, server]
            threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, destination: socket.socket, counts: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if counts and data.startswith(b"POST /upload/"):
                    self._uploads -= 1
                    if self._uploads == 0:
                        self._shut = True
                        self._hang_up()
                destination.sendall(data)
        except OSError:
            pass  # the other direction, or the gate, has closed it
        finally:
            for end in (source, destination):
                end.close()

    def _hang_up(self) -> None:
        for connection in self._connections:
            connection.close()


def test_a_bucket_out_of_reach_for_a_while_is_waited_for(
    splits: Path, undisturbed: Path, new_bucket: Any, gcs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket()
    gate = Gate(int(gcs.rpartition(":")[2]), uploads=6, turns_away=2)
    monkeypatch.setenv(HOST_VARIABLE, f"http://127.0.0.1:{gate.port}")

    said = run(splits, tmp_path / "output", 0, checkpoint_uri=bucket)

    assert gate.turned_away == 2
    assert "resuming" not in said
    assert_same_weights(tmp_path / "output", undisturbed)


@pytest.mark.parametrize("phase", ["frozen", "fine_tune"])
def test_a_cache_that_is_damaged_during_training_is_named_and_repaired_by_another_attempt(
    phase: str, splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backbones, "BACKBONES", {BACKBONE: tiny_backbone()})
    cache = tmp_path / "cache"
    inputs: dict[str, Any] = {"splits": splits, "epochs": 3, "unfrozen_layers": 5, "cache_directory": str(cache)}
    run_phase: Callable[..., Any]
    if phase == "frozen":
        run_phase, kind = run_train_frozen, "features"
        inputs = {**inputs, "backbone": BACKBONE}
    else:
        run_phase, kind = run_fine_tune, "boundary"
        run_train_frozen(splits, tmp_path / "head", backbone=BACKBONE, epochs=1, unfrozen_layers=0)
        inputs = {**inputs, "frozen_model": tmp_path / "head" / "model"}
    run_phase(output=tmp_path / "undisturbed", **inputs)
    capsys.readouterr()
    take_step, steps = epoch_steps.take_step, itertools.count(1)

    def step_and_damage(*given: Any) -> Any:
        if next(steps) == 4:  # the first of the second epoch
            for path in cache.glob(f"{kind}-*/train-view-0-*.shard"):
                path.write_bytes(path.read_bytes()[:8] + bytes(path.stat().st_size - 8))
        return take_step(*given)

    monkeypatch.setattr(epoch_steps, "take_step", step_and_damage)
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "0")

    run_phase(output=tmp_path / "output", checkpoint_uri=str(tmp_path / "kept"), **inputs)

    said = capsys.readouterr()
    [shard] = cache.glob(f"{kind}-*/train-view-0-*.shard")
    damage = f"{shard} is damaged, and was whole when training began: a rerun computes it again"
    assert f"{damage}; trying again in 0 s" in said.err
    assert "Traceback" not in said.err
    assert f"{phase}: resuming after epoch " in said.out
    assert_same_weights(tmp_path / "output", tmp_path / "undisturbed")
