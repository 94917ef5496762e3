"""Pair search in a process of its own, which takes the compiler's 80 MB and the search's buffers with it when it ends.

    python -m components.copies.search_process

reads searches from standard input and writes pairs to standard output, pickled by and for ``SearchProcess``.
"""

import contextlib
import io
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from components.copies.pair_search import Pairs, SearchLimits, find_pairs
from components.copies.perceptual_hashes import Hashes
from components.failures import TransientError


@contextlib.contextmanager
def pair_search(engine: str) -> Iterator[Callable[[Hashes, Hashes, int, SearchLimits], Pairs]]:
    """Yield ``pair_search.find_pairs`` with one of its engines, where it compiles in a process of its own."""
    if engine == "numba":
        with SearchProcess() as process:
            yield process.find_pairs
    else:
        yield partial(find_pairs, engine=engine)


class SearchProcess:
    """A process that finds pairs with numba, begun at the first search: code is compiled once for all of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def find_pairs(self, references: Hashes, queries: Hashes, maximum_distance: int, limits: SearchLimits) -> Pairs:
        """Do what ``pair_search.find_pairs`` does.

        Raises:
            RuntimeError: When the process fails; its traceback is on standard error.
            TransientError: When the system kills it.
        """
        if self._process is None:
            self._process = _begun()
        # The types of Popen do not know that PIPE makes pipes.
        searches, answers = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        try:
            pickle.dump((references, queries, maximum_distance, limits, "numba"), searches, protocol=5)
            searches.flush()
            return cast(Pairs, pickle.load(answers))  # noqa: S301, what this program wrote itself
        except (BrokenPipeError, EOFError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            if code == -signal.SIGKILL:
                raise TransientError(
                    "the system killed the process that searches for near duplicates, most likely for its memory; give "
                    "the step more memory"
                ) from error
            raise RuntimeError(f"the process that searches for near duplicates ended with {code}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def _begun() -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    environment = {**os.environ, "PYTHONPATH": paths, "MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "components.copies.search_process"]
    # In a group of its own, which Ctrl-C does not reach: whoever began it ends it.
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, process_group=0)


def main() -> None:
    """Answer searches until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    searches = io.BufferedReader(io.FileIO(0))
    while searches.peek(1):
        search = pickle.load(searches)  # noqa: S301, from the parent
        pickle.dump(find_pairs(*search), answers, protocol=5)
        answers.flush()


if __name__ == "__main__":
    main()
