"""How a program for people ends: with its work done, or with one sentence and an exit code that says who must act."""

import errno
import sys
from collections.abc import Callable

from components.failures import INTERRUPTED, StoppedError, TransientError, UserError
from components.termination import terminable

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
WRONG_PATH = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
"""What the system says of a path that a person should not have given."""


def run_program(name: str, work: Callable[[], None], when_interrupted: str = "nothing half-written is left") -> int:
    """Do the work and return the exit code: 0, 2 for wrong input, 75 for a passing trouble, 130 after Ctrl-C.

    Args:
        name: Of the program, before what it says on standard error.
        work: What it does.
        when_interrupted: What to say of work that was stopped.

    Raises:
        Exception: Whatever else the work raises: a defect of ours, which shows its traceback.
    """
    try:
        with terminable():
            work()
    except (UserError, TransientError, StoppedError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: stopped; {when_interrupted}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough: `| head`.
        sys.stderr.close()
    except OSError as error:
        where = error.filename if error.filename is not None else "a file"
        if error.errno in _DISK_FULL:
            print(f"{name}: error: the disk is full ({where}); make room, then start this again", file=sys.stderr)
            return TransientError.exit_code
        if error.errno not in WRONG_PATH:
            raise
        print(f"{name}: error: {where}: {error.strerror}; give another path, or change this one", file=sys.stderr)
        return UserError.exit_code
    return 0
