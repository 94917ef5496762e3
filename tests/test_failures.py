"""A step fails with one sentence and an exit code that says who must act, and leaves a record of how it ended."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from components.failures import OUTCOMES_DIRECTORY_VARIABLE, TransientError, UserError, step_outcome


@pytest.fixture
def outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for outcomes."""
    monkeypatch.setenv(OUTCOMES_DIRECTORY_VARIABLE, str(tmp_path))
    return tmp_path


def outcome(directory: Path) -> dict[str, Any]:
    assert [path.name for path in directory.iterdir()] == ["clean.json"]
    record: dict[str, Any] = json.loads((directory / "clean.json").read_text(encoding="utf-8"))
    return record


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/part-00000.tar")


@pytest.mark.parametrize(
    ("error", "exit_code", "shown"),
    [
        pytest.param(UserError("rename the folder"), 2, "clean: error: rename the folder\n", id="the user"),
        pytest.param(TransientError("no network"), 75, "clean: error: no network\n", id="the world"),
        pytest.param(
            full_disk(),
            75,
            "clean: error: the disk is full (/data/part-00000.tar); give the step more ephemeral storage\n",
            id="a full disk",
        ),
    ],
)
def test_an_expected_failure_is_one_sentence(
    outcomes: Path, capsys: pytest.CaptureFixture[str], error: Exception, exit_code: int, shown: str
) -> None:
    with pytest.raises(SystemExit) as ended, step_outcome("clean"):
        raise error
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
    with pytest.raises(SystemExit) as ended, step_outcome("clean"):
        raise error
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "odd" in shown
    assert outcome(outcomes)["exit_code"] == 1
    assert outcome(outcomes)["message"].startswith(f"{type(error).__name__}: ")


def test_success_is_recorded(outcomes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with step_outcome("clean"):
        assert list(outcomes.iterdir()) == []
    record = outcome(outcomes)
    assert (record["step"], record["exit_code"], record["message"]) == ("clean", 0, "")
    assert record["seconds"] >= 0
    assert capsys.readouterr() == ("", "")


def test_a_second_attempt_overwrites_the_record_of_the_first(outcomes: Path) -> None:
    (outcomes / ".clean.json.partial").write_text("half a rec")
    with pytest.raises(SystemExit), step_outcome("clean"):
        raise UserError("try again")
    assert outcome(outcomes)["exit_code"] == 2
    with step_outcome("clean"):
        pass
    assert outcome(outcomes)["exit_code"] == 0


def test_an_interruption_ends_the_step_without_a_traceback(outcomes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, step_outcome("clean"):
        raise KeyboardInterrupt
    assert ended.value.code == 1
    assert "Traceback" not in capsys.readouterr().err
    assert outcome(outcomes)["exit_code"] == 1


def test_on_a_cluster_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OUTCOMES_DIRECTORY_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with step_outcome("clean"):
        pass
    assert list(tmp_path.iterdir()) == []
