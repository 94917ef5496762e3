"""The parent's end of the process that decodes: sends chunks, collects answers, and notices a crash or a hang."""

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import numpy as np

from components.audit.measured_chunk import MeasuredChunk, unpacked
from components.audit.measuring import BOARD_ROW, DEFECT_EXIT_CODE

DECODE_SECONDS = 10.0
"""An image that takes longer to decode and measure is given up."""

PROGRAM = ("-m", "components.audit.measuring")

_READ_BYTES = 2**20


class MeasuringProcess:
    """A process with threads that measures chunks of an archive.

    Args:
        archive: The archive's folder.
        threads: How many, at least 1.
    """

    def __init__(self, archive: Path, threads: int) -> None:
        with tempfile.NamedTemporaryFile(prefix="audit-board-", delete=False) as file:
            file.write(np.zeros(threads, BOARD_ROW).tobytes())
        self._board_file = Path(file.name)
        self._board = np.memmap(self._board_file, BOARD_ROW, "r", shape=(threads,))
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        # Two memory arenas instead of eight per processor: what threads free is used again by others. And no threads of
        # the linear algebra library, which has nothing to do: they wait for work at full speed.
        environment = {**os.environ, "PYTHONPATH": paths, "MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, *PROGRAM, str(archive), str(self._board_file), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0, process_group=0
        )  # in a group of its own, which Ctrl-C does not reach: this process ends it
        # The types of Popen do not know that PIPE makes pipes.
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        # A process that hangs reads nothing: writing to it must not hang too.
        os.set_blocking(self._requests.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self._ended = False

    def send(self, request: bytes) -> None:
        """Ask for a chunk, as a line of JSON: number, key, first, images as (part, offset, size_bytes, verdict)."""
        if not self._outgoing:
            self._selector.register(self._requests, selectors.EVENT_WRITE)
        self._outgoing += request

    def receive(self, seconds: float) -> list[MeasuredChunk]:
        """Return the chunks that arrive; after at most so many seconds, none."""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._requests:
                self._write()
            else:
                self._read()
        chunks = []
        while (found := unpacked(memoryview(self._incoming).toreadonly())) is not None:
            chunks.append(found[0])
            del self._incoming[: found[1]]
        return chunks

    def failure(self) -> str | None:
        """Return why the process answers no more, as said of an image; ``None`` while it may.

        Raises:
            RuntimeError: When it ended for another reason than an image.
        """
        if not self._ended:
            hangs = self._seconds().max() > DECODE_SECONDS
            return f"it was not decoded within {DECODE_SECONDS:g} seconds" if hangs else None
        code = self._process.wait()
        if code == DEFECT_EXIT_CODE:
            raise RuntimeError("the process that decodes images failed; its traceback is above")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its decoder crashed ({name})"

    def suspects(self) -> list[int]:
        """Return which images may be the cause of a failure, by their row in the catalog."""
        seconds = self._seconds()
        at_fault = seconds > (0 if self._ended else DECODE_SECONDS)
        return [int(image) for image in self._board["image"][at_fault]]

    def _seconds(self) -> Any:
        started = np.array(self._board["started"])
        return np.where(started > 0, np.maximum(time.monotonic() - started, 1e-9), 0.0)

    def _write(self) -> None:
        try:
            written = os.write(self._requests.fileno(), self._outgoing)
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self._outgoing)
        del self._outgoing[:written]
        if not self._outgoing:
            self._selector.unregister(self._requests)

    def _read(self) -> None:
        data = os.read(self._answers.fileno(), _READ_BYTES)
        self._incoming += data
        if not data:
            self._ended = True
            self._selector.unregister(self._answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()
        self._selector.close()
        self._board_file.unlink(missing_ok=True)
