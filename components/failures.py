"""How a step fails: one clear sentence, an exit code that says who must act, and a record of the outcome.

Exit codes: 0 done; 2 the user's data or settings are wrong, never worth a retry; 75 (``EX_TEMPFAIL``) something
outside failed for now, worth a retry; anything else is a defect of ours and shows its traceback.
"""

import contextlib
import errno
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

OUTCOMES_DIRECTORY_VARIABLE = "STEP_OUTCOMES_DIRECTORY"
"""Environment variable naming a folder where each step leaves ``<step>.json``; unset on a cluster."""


class UserError(Exception):
    """The user's data or settings are wrong. The message is one sentence that names the fix."""

    exit_code = 2


class TransientError(Exception):
    """Something outside failed for now: a network, a quota, a full disk. Trying again later may work."""

    exit_code = 75


@contextlib.contextmanager
def step_outcome(step: str) -> Iterator[None]:
    """Run a step's body, turn its failure into a sentence and an exit code, and record how it ended.

    The record exists because local runners can report success for a step that failed; whoever started the run
    trusts only a record that says ``"exit_code": 0``.

    Args:
        step: Name of the step, ``train_frozen`` for example.

    Raises:
        SystemExit: With 2, 75 or 1 when the body raised.
    """
    started = time.monotonic()
    try:
        yield
    except (UserError, TransientError) as error:
        print(f"{step}: error: {error}", file=sys.stderr, flush=True)
        _record(step, error.exit_code, str(error), started)
        sys.exit(error.exit_code)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"the disk is full ({error.filename or error.strerror}); give the step more ephemeral storage"
            print(f"{step}: error: {message}", file=sys.stderr, flush=True)
            _record(step, TransientError.exit_code, message, started)
            sys.exit(TransientError.exit_code)
        if not isinstance(error, KeyboardInterrupt):
            traceback.print_exc()
        _record(step, 1, f"{type(error).__name__}: {error}", started)
        sys.exit(1)
    _record(step, 0, "", started)


def _record(step: str, exit_code: int, message: str, started: float) -> None:
    directory = os.environ.get(OUTCOMES_DIRECTORY_VARIABLE)
    if not directory:
        return
    seconds = round(time.monotonic() - started, 2)
    outcome = {"step": step, "exit_code": exit_code, "message": message, "seconds": seconds}
    aside = Path(directory) / f".{step}.json.partial"
    aside.write_text(json.dumps(outcome), encoding="utf-8")
    aside.replace(Path(directory) / f"{step}.json")
