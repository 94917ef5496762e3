"""A step fails with one sentence and an exit code that says who must act, and leaves a record of how it ended."""

import errno
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components import failures
from components.failures import (
    OUTCOMES_DIRECTORY_VARIABLE,
    RETRY_WAITS_VARIABLE,
    ElsewhereError,
    StoppedError,
    TransientError,
    UserError,
    attempts,
)


@pytest.fixture
def outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for outcomes."""
    monkeypatch.setenv(OUTCOMES_DIRECTORY_VARIABLE, str(tmp_path))
    return tmp_path


def run(*errors: BaseException | None) -> int:
    """Run a step whose first attempt ends with the first error, the next with the next; return the attempts made."""
    endings = itertools.chain(errors, itertools.repeat(None))
    made = 0
    for attempt in attempts("clean"):
        with attempt:
            made += 1
            if error := next(endings):
                raise error
    return made


def outcome(directory: Path) -> dict[str, Any]:
    assert [path.name for path in directory.iterdir()] == ["clean.json"]
    record: dict[str, Any] = json.loads((directory / "clean.json").read_text(encoding="utf-8"))
    return record


def pauses_by(monkeypatch: pytest.MonkeyPatch, sleep: Callable[[float], None]) -> None:
    """Let steps sleep otherwise, and no other thread of this process."""
    monkeypatch.setattr(failures, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/part-00000.tar")


@pytest.mark.parametrize(
    ("error", "exit_code", "shown"),
    [
        pytest.param(UserError("rename the folder"), 2, "clean: error: rename the folder\n", id="the user"),
        pytest.param(TransientError("no network"), 75, "clean: error: no network\n", id="the world"),
        pytest.param(StoppedError("stopped by SIGTERM"), 75, "clean: error: stopped by SIGTERM\n", id="asked to end"),
        pytest.param(
            full_disk(),
            75,
            "clean: error: the disk is full (/data/part-00000.tar); "
            "free some of it, or give the step more ephemeral storage\n",
            id="a full disk",
        ),
        pytest.param(
            OSError(errno.EROFS, "", "/out/model"),
            2,
            "clean: error: the file system is read-only; give the step another place to write to (/out/model)\n",
            id="a read-only disk",
        ),
        pytest.param(
            OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
            2,
            "clean: error: the file system, or ulimit -f, allows no file of the size that is needed (File too large)\n",
            id="too large a file",
        ),
        pytest.param(
            OSError(errno.EIO, "", "/out/model"),
            75,
            "clean: error: the disk fails; run the step on another one (/out/model)\n",
            id="a broken disk",
        ),
        pytest.param(
            PermissionError(errno.EACCES, "", "/in/splits.json"),
            2,
            "clean: error: this step may not use /in/splits.json; change its owner or mode\n",
            id="no permission",
        ),
        pytest.param(
            OSError(errno.ENAMETOOLONG, "", "/out/x"),
            2,
            "clean: error: /out/x is longer than the file system allows; give another one\n",
            id="too long a name",
        ),
    ],
)
def test_an_expected_failure_is_one_sentence(
    outcomes: Path, capsys: pytest.CaptureFixture[str], error: Exception, exit_code: int, shown: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(error)
    assert ended.value.code == exit_code
    assert capsys.readouterr().err == shown
    assert outcome(outcomes)["exit_code"] == exit_code
    assert outcome(outcomes)["message"] == shown.removeprefix("clean: error: ").strip()


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError("odd"), id="exception"),
        pytest.param(MemoryError("odd"), id="out of memory"),
        pytest.param(PermissionError(errno.EACCES, "odd"), id="another error of the system"),
    ],
)
def test_a_defect_shows_its_traceback(outcomes: Path, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    with pytest.raises(SystemExit) as ended:
        run(error)
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "odd" in shown
    assert outcome(outcomes)["exit_code"] == 1
    assert outcome(outcomes)["message"].startswith(f"{type(error).__name__}: ")


def test_success_is_recorded(outcomes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for attempt in attempts("clean"):
        with attempt:
            assert list(outcomes.iterdir()) == []
    record = outcome(outcomes)
    assert (record["step"], record["exit_code"], record["message"]) == ("clean", 0, "")
    assert record["seconds"] >= 0
    assert capsys.readouterr() == ("", "")


def test_a_second_attempt_overwrites_the_record_of_the_first(outcomes: Path) -> None:
    (outcomes / ".clean.json.partial").write_text("half a rec")
    with pytest.raises(SystemExit):
        run(UserError("try again"))
    assert outcome(outcomes)["exit_code"] == 2
    assert run() == 1
    assert outcome(outcomes)["exit_code"] == 0


def test_an_interruption_ends_the_step_without_a_traceback(outcomes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(KeyboardInterrupt())
    assert ended.value.code == 130
    assert capsys.readouterr().err == "clean: error: stopped by SIGINT; a rerun goes on from what was kept\n"
    assert outcome(outcomes)["exit_code"] == 130


def test_on_a_cluster_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OUTCOMES_DIRECTORY_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert run() == 1
    assert list(tmp_path.iterdir()) == []


def test_trouble_outside_is_tried_again_after_a_pause(
    outcomes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "0 0.001")
    assert run(TransientError("no network"), TransientError("still none")) == 3
    assert capsys.readouterr().err == (
        "clean: no network; trying again in 0 s\nclean: still none; trying again in 0.001 s\n"
    )
    assert outcome(outcomes)["exit_code"] == 0


def test_trouble_that_stays_ends_the_step(outcomes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "0 0")
    with pytest.raises(SystemExit) as ended:
        run(*[TransientError(f"trouble {number}") for number in range(9)])
    assert ended.value.code == 75
    assert outcome(outcomes)["message"] == "trouble 2"


@pytest.mark.parametrize(
    "error",
    [UserError("no"), ValueError("odd"), full_disk(), ElsewhereError("a GPU failed")],
    ids=["user", "defect", "disk", "device"],
)
def test_nothing_else_is_tried_again(outcomes: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "0 0")
    with pytest.raises(SystemExit) as ended:
        run(TransientError("no network"), error)
    assert ended.value.code in (1, 2, 75)
    assert outcome(outcomes)["exit_code"] == ended.value.code


def test_an_interruption_ends_the_pause(outcomes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "600")
    pauses_by(monkeypatch, lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(SystemExit) as ended:
        run(TransientError("no network"))
    assert ended.value.code == 130
    assert outcome(outcomes)["message"].startswith("stopped")


def test_sigterm_ends_the_pause_as_it_ends_a_step(
    outcomes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "600")
    before = signal.getsignal(signal.SIGTERM)

    def sleep_and_be_terminated(seconds: float) -> None:
        # To the thread that sleeps: one that reaches another does not wake it.
        threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGTERM)).start()
        time.sleep(seconds)

    pauses_by(monkeypatch, sleep_and_be_terminated)

    with pytest.raises(SystemExit) as ended:
        run(TransientError("no network"))

    assert ended.value.code == 75
    assert outcome(outcomes)["message"].startswith("stopped by SIGTERM")
    assert "clean: no network; trying again in 600 s\nclean: error: stopped by SIGTERM" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_unless_told_otherwise_a_step_is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RETRY_WAITS_VARIABLE)
    waits: list[float] = []
    pauses_by(monkeypatch, waits.append)
    with pytest.raises(SystemExit):
        run(*[TransientError("no network")] * 9)
    assert waits == [30, 120]


@pytest.mark.parametrize(
    ("error", "account"),
    [
        pytest.param(UserError("rename the folder"), "exit code 2: rename the folder", id="user"),
        pytest.param(TransientError("no network"), "exit code 75: no network", id="transient"),
        pytest.param(ValueError("odd"), "exit code 1: ValueError: odd", id="defect"),
        pytest.param(UserError("x" * 9999), f"exit code 2: {'x' * 1987}", id="too long for Kubernetes"),
        pytest.param(UserError("ü" * 9999), f"exit code 2: {'ü' * 993}", id="cut between characters"),
        pytest.param(None, "", id="success"),
    ],
)
def test_a_pod_says_why_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None, account: str
) -> None:
    message = tmp_path / "termination-log"
    message.touch()
    monkeypatch.setattr(failures, "TERMINATION_MESSAGE", message)
    if error is None:
        run()
    else:
        with pytest.raises(SystemExit):
            run(error)
    assert message.read_text() == account


def test_an_account_that_cannot_be_written_does_not_hide_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(failures, "TERMINATION_MESSAGE", tmp_path)  # a folder
    with pytest.raises(SystemExit) as ended:
        run(UserError("rename the folder"))
    assert ended.value.code == 2
    assert f"cannot write {tmp_path}: Is a directory" in capsys.readouterr().err
