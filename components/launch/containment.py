"""Steps of a local run leave nothing behind: no process when the run is stopped, no temporary files at all."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_SECONDS_TO_END = 10.0


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: whoever started this process wants it to end."""


@contextlib.contextmanager
def contained_steps() -> Iterator[None]:
    """Keep what steps started in the block inside it.

    Their temporary files go into one folder that goes with the block: kfp leaves one per step. When the block is
    interrupted, by Ctrl-C or by SIGTERM, the processes it started end too: kfp would leave a training running.

    Raises:
        Terminated: At SIGTERM.
    """
    with (
        # A step that is being killed may still write.
        tempfile.TemporaryDirectory(prefix="image-classification-steps-", ignore_cleanup_errors=True) as scratch,
        _environment("TMPDIR", scratch),
        _terminated_by_signal(),
    ):
        before = _descendants()
        try:
            yield
        except KeyboardInterrupt:
            _end([process for process in _descendants() if process not in before])
            raise


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _terminated_by_signal() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(processes: list[int]) -> None:
    """End processes, parents first: a shell whose command was stopped before it would go on to the next one."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, ending)
        deadline = time.monotonic() + _SECONDS_TO_END
        while (processes := _running(processes)) and time.monotonic() < deadline:
            time.sleep(0.05)


def _running(processes: list[int]) -> list[int]:
    running = _parents()
    return [process for process in processes if process in running]


def _descendants() -> list[int]:
    """Return the running processes that this one started, and those they started, each after its parent."""
    children: dict[int, list[int]] = {}
    for process, parent in _parents().items():
        children.setdefault(parent, []).append(process)
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        mine = children.get(waiting.pop(), [])
        found.extend(mine)
        waiting.extend(mine)
    return found


def _parents() -> dict[int, int]:
    """Return the parent of each process that runs and is not merely waiting to be noticed as ended."""
    if Path("/proc/self/stat").exists():  # slim containers have no ps
        rows = list(_rows_of_proc())
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,stat=,ppid="], capture_output=True, text=True, check=True)
        rows = [line.split()[:3] for line in listed.stdout.splitlines()]
    return {int(process): int(parent) for process, state, parent in rows if not state.startswith("Z")}


def _rows_of_proc() -> Iterator[list[str]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            # The second field is the program's name in parentheses, and may hold anything.
            yield [path.parent.name, *path.read_text(errors="replace").rpartition(")")[2].split()[:2]]
