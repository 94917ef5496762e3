"""A run that is stopped takes its steps with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.launch.containment import Terminated, contained_steps

# As kfp starts a step: a shell, and python inside it.
STEP = ["sh", "-c", f"{sys.executable} -c 'import os, time; print(os.getpid(), flush=True); time.sleep(600)'; true"]


def start_step() -> tuple[subprocess.Popen[str], int]:
    shell = subprocess.Popen(STEP, stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    return shell, int(shell.stdout.readline())


def run_until(stop: signal.Signals) -> tuple[subprocess.Popen[str], int, KeyboardInterrupt]:
    try:
        with contained_steps():
            shell, inside = start_step()
            signal.raise_signal(stop)
            time.sleep(600)
    except KeyboardInterrupt as stopped:
        return shell, inside, stopped
    raise AssertionError(f"{stop!r} did not stop the block")


def has_ended(process: int) -> bool:
    for _ in range(2000):
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_step_ends_with_the_run_that_is_stopped(stop: signal.Signals) -> None:
    shell, inside, stopped = run_until(stop)
    assert isinstance(stopped, Terminated) == (stop is signal.SIGTERM)
    assert has_ended(inside)
    with shell:
        assert shell.wait() == -signal.SIGTERM


def test_processes_of_others_and_of_before_go_on() -> None:
    shell, inside = start_step()
    with pytest.raises(KeyboardInterrupt), contained_steps():
        raise KeyboardInterrupt
    assert shell.poll() is None
    os.kill(inside, signal.SIGTERM)
    with shell:
        shell.wait()


def test_temporary_files_of_steps_go_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    with contained_steps():
        left = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
        assert left.is_dir()
    assert not left.exists()
    assert "TMPDIR" not in os.environ
    assert signal.getsignal(signal.SIGTERM) is handler
