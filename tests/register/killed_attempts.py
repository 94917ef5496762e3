"""Registering in processes that are really killed: ``python -m tests.register.killed_attempts PLAN.json``.

One process imports everything once and forks an attempt for each point of the plan, so that a point costs milliseconds.
Prints one JSON object a point: whether the attempt was killed, its exit code and how long it took.
"""

import dataclasses
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import google.cloud.storage.retry  # noqa: F401 - so that no child has to

from components import storage
from components.register.lineage import Origin, code_revision, installed_packages
from components.register.promotion_gate import Gate
from components.register.registration import register_model

WRITES = ("write_if_absent", "write_if_unchanged")
MOMENTS = ("before", "amid", "after")


@dataclasses.dataclass(frozen=True)
class Point:
    """When an attempt is killed: by itself at a write, or by its parent after some seconds; neither: it is not.

    Attributes:
        folders: Of the evaluated project: model, evaluation, splits, exports.
        registry: URI.
        entry: Folder for its output.
        write: Number of the write to die at, from 1; 0 for none.
        moment: One of ``MOMENTS``; amid is when the bytes lie aside and are not yet published.
        seconds: After how long the parent kills it; 0 for never.
    """

    folders: list[str]
    registry: str
    entry: str
    write: int = 0
    moment: str = "before"
    seconds: float = 0.0


def attempt(point: Point) -> None:
    """Register, or die trying."""
    _arrange_death(point.write, point.moment)
    register_model(
        *map(Path, point.folders),
        registry_uri=point.registry,
        model_name="trees",
        gate=Gate(0.5),
        origin=Origin("photos", "run"),
        created="now",
        entry=Path(point.entry),
        card=Path(f"{point.entry}.html"),
    )


def _arrange_death(number: int, moment: str) -> None:
    writes = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def mortal(write: Callable[..., bool]) -> Callable[..., bool]:
        def call(*arguments: Any) -> bool:
            nonlocal writes
            writes += 1
            if writes != number:
                return write(*arguments)
            if moment == "before":
                die()
            if moment == "amid":
                os.link = os.rename = Path.replace = storage._upload = lambda *_: die()  # type: ignore
            written = write(*arguments)
            die()
            return written

        return call

    for name in WRITES:
        setattr(storage, name, mortal(getattr(storage, name)))


def fork(point: Point, pipe: tuple[int, int] | None = None) -> int:
    """Start an attempt in a child and return its process id; with a pipe it waits for the parent to close that."""
    child = os.fork()
    if child:
        return child
    try:
        if pipe is not None:
            os.close(pipe[1])
            os.read(pipe[0], 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        attempt(point)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def one_by_one(points: Sequence[Point]) -> None:
    for point in points:
        began = time.monotonic()
        child = fork(point)
        if point.seconds:
            time.sleep(point.seconds)
            os.kill(child, signal.SIGKILL)
        _report(point, os.waitpid(child, 0)[1], time.monotonic() - began)


def at_once(points: Sequence[Point]) -> None:
    pipe = os.pipe()
    children = [(fork(point, pipe), point) for point in points]
    os.close(pipe[1])
    began = time.monotonic()
    for child, point in sorted(children, key=lambda pair: pair[1].seconds):
        if point.seconds:
            time.sleep(max(0.0, began + point.seconds - time.monotonic()))
            os.kill(child, signal.SIGKILL)
    for child, point in children:
        _report(point, os.waitpid(child, 0)[1], time.monotonic() - began)


def _report(point: Point, status: int, seconds: float) -> None:
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    print(json.dumps({"registry": point.registry, "killed": killed, "exit_code": code, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # Known in the parent, they cost no child anything; nor do the modules imported above.
    code_revision()
    installed_packages()
    run = at_once if plan["at_once"] else one_by_one
    run([Point(**point) for point in plan["points"]])
