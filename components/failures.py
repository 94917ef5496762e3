"""How a step fails: one clear sentence, an exit code that says who must act, and a record of the outcome.

Exit codes: 0 done; 2 the user's data or settings are wrong, never worth a retry; 75 (``EX_TEMPFAIL``) something
outside failed for now, and went on failing when the step tried again, or the step was asked to end; 130 stopped by
Ctrl-C; anything else is a defect of ours and shows its traceback.
"""

import errno
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

OUTCOMES_DIRECTORY_VARIABLE = "STEP_OUTCOMES_DIRECTORY"
"""Environment variable naming a folder where each step leaves ``<step>.json``; unset on a cluster."""

RETRY_WAITS_VARIABLE = "STEP_RETRY_WAITS_SECONDS"
"""Environment variable with the pauses before another attempt, seconds; unset: ``30 120``; empty: one attempt only."""

_DEFAULT_RETRY_WAITS = "30 120"

TERMINATION_MESSAGE = Path("/dev/termination-log")
"""What a container of Kubernetes writes here is the pod's own account of why it ended: in ``kubectl describe pod``,
and in the message that Argo's retry expressions can read. Kubernetes makes the file; elsewhere there is none."""

_LONGEST_TERMINATION_MESSAGE = 2000  # bytes; Kubernetes keeps 4096 of a container


class UserError(Exception):
    """The user's data or settings are wrong. The message is one sentence that names the fix."""

    exit_code = 2


class TransientError(Exception):
    """Something outside failed for now: a network, a quota, a full disk. Trying again later may work."""

    exit_code = 75


INTERRUPTED = 130
"""Exit code after Ctrl-C, 128 and the number of SIGINT, as of shells."""


class ElsewhereError(TransientError):
    """Something outside failed under this process, which can do nothing more. Another, elsewhere perhaps, may work."""


class StoppedError(Exception):
    """The step was asked to end, by SIGTERM. Another attempt elsewhere goes on; here there is no time for one."""

    exit_code = 75


_UNUSABLE = {
    errno.EROFS: (UserError.exit_code, "the file system is read-only; give the step another place to write to"),
    errno.EFBIG: (UserError.exit_code, "the file system, or ulimit -f, allows no file of the size that is needed"),
    errno.EIO: (TransientError.exit_code, "the disk fails; run the step on another one"),
}
"""What a place is like in which a step cannot work, by what the system says of it."""

_UNFIT_PATHS = {
    errno.EACCES: "this step may not use {path}; change its owner or mode",
    errno.EPERM: "this step may not use {path}; change its owner or mode",
    errno.ENAMETOOLONG: "{path} is longer than the file system allows; give another one",
    errno.ELOOP: "{path} is a link that leads back to itself; remove the link",
    errno.ENOTDIR: "{path} leads through a file as if it were a folder; give another one",
}
"""What is wrong with a path that an input or an output has, by what the system says of it."""


class Attempt:
    """One try at a step's body: turns a failure into a sentence and an exit code, and records how it ended."""

    def __init__(self, step: str, started: float, wait_seconds: float | None) -> None:
        self._step = step
        self._started = started
        self._wait_seconds = wait_seconds
        self.succeeded = False

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            self.succeeded = True
            self._record(0, "")
        elif (
            isinstance(error, TransientError)
            and not isinstance(error, ElsewhereError)
            and self._wait_seconds is not None
        ):
            print(f"{self._step}: {error}; trying again in {self._wait_seconds:g} s", file=sys.stderr, flush=True)
            self._pause(self._wait_seconds)
        else:
            self._fail(error)
        return error is not None

    def _pause(self, seconds: float) -> None:
        from components.termination import terminable  # noqa: PLC0415 - which raises an error of this module

        try:
            with terminable():
                time.sleep(seconds)
        except (KeyboardInterrupt, StoppedError) as stopped:
            self._fail(stopped)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, UserError | TransientError | StoppedError):
            exit_code, message = error.exit_code, str(error)
        elif isinstance(error, KeyboardInterrupt):
            exit_code, message = INTERRUPTED, "stopped by SIGINT; a rerun goes on from what was kept"
        elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            # Not tried again here, where the disk stays full; another pod may find more room.
            exit_code = TransientError.exit_code
            where = error.filename or os.strerror(error.errno)  # HDF5 says a page of its own instead
            message = f"the disk is full ({where}); free some of it, or give the step more ephemeral storage"
        elif isinstance(error, OSError) and error.errno in _UNUSABLE:
            exit_code, what = _UNUSABLE[error.errno]
            message = f"{what} ({error.filename or os.strerror(error.errno)})"
        elif isinstance(error, OSError) and error.errno in _UNFIT_PATHS and error.filename:
            exit_code, message = UserError.exit_code, _UNFIT_PATHS[error.errno].format(path=error.filename)
        else:
            exit_code, message = 1, f"{type(error).__name__}: {error}"
            traceback.print_exception(error)
        if exit_code != 1:
            print(f"{self._step}: error: {message}", file=sys.stderr, flush=True)
        self._record(exit_code, message)
        sys.exit(exit_code)

    def _record(self, exit_code: int, message: str) -> None:
        if exit_code and TERMINATION_MESSAGE.exists():
            _leave_account(f"exit code {exit_code}: {message}")
        directory = os.environ.get(OUTCOMES_DIRECTORY_VARIABLE)
        if not directory:
            return
        seconds = round(time.monotonic() - self._started, 2)
        outcome = {"step": self._step, "exit_code": exit_code, "message": message, "seconds": seconds}
        aside = Path(directory) / f".{self._step}.json.partial"
        aside.write_text(json.dumps(outcome), encoding="utf-8")
        aside.replace(Path(directory) / f"{self._step}.json")


def _leave_account(message: str) -> None:
    account = message.encode()[:_LONGEST_TERMINATION_MESSAGE].decode(errors="ignore")
    try:
        TERMINATION_MESSAGE.write_text(account, encoding="utf-8")
    except OSError as error:
        # The exit code and the log say it too, and must not be lost over this.
        print(f"cannot write {TERMINATION_MESSAGE}: {error.strerror}", file=sys.stderr, flush=True)


def attempts(step: str) -> Iterator[Attempt]:
    """Yield contexts to run a step's body in, until one succeeds: trouble outside is tried again, wrong data never is.

    Retries of the platform know no difference between the two, so they are made here, in the container::

        for attempt in attempts("clean"):
            with attempt:
                clean_archive(...)

    The record of the outcome exists because local runners can report success for a step that failed; whoever started
    the run trusts only a record that says ``"exit_code": 0``.

    Args:
        step: Name of the step, ``train_frozen`` for example.

    Raises:
        SystemExit: With 2 when the body raised ``UserError``, 75 when the last attempt raised ``TransientError`` or any
            ``ElsewhereError``, the disk is full, or SIGTERM came and the body raised ``StoppedError``; 130 after
            Ctrl-C; 1 for anything else.
    """
    started = time.monotonic()
    waits = [float(wait) for wait in os.environ.get(RETRY_WAITS_VARIABLE, _DEFAULT_RETRY_WAITS).split()]
    for wait_seconds in (*waits, None):
        attempt = Attempt(step, started, wait_seconds)
        yield attempt
        if attempt.succeeded:
            return
