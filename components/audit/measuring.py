"""The process that decodes: reads chunks to measure from standard input and writes what it measured to standard output.

It holds nothing but threads and buffers, so a decoder that crashes it, or hangs, costs a fraction of a second; see
``measuring_process``. It imports neither pandas nor pyarrow, which would double its memory.

    python -m components.audit.measuring ARCHIVE BOARD THREADS
"""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

import cv2
import numpy as np

from components.audit.measured_chunk import MeasuredChunk
from components.audit.measurements import Measurement, measure, unreadable, whole_pixels_of
from components.copies.fingerprints import Sketch, fingerprints_of
from components.formats.archive_parts import ArchiveReader

DEFECT_EXIT_CODE = 70
"""Something other than an image is wrong; the traceback is on standard error."""

BOARD_ROW = np.dtype([("image", "<i8"), ("started", "<f8")])
"""Of each thread, in a file that both processes map: the image it is at, and since when, 0 when at none.

Seconds of the monotonic clock, which on one machine all processes share. The board outlives a crash, and can be read
while a decoder holds the interpreter's lock.
"""


class Measuring:
    """Measures chunks, each in one of several threads.

    Args:
        reader: Of the archive.
        board: ``BOARD_ROW`` per thread.
        answers: Where to write what was measured.
    """

    def __init__(self, reader: ArchiveReader, board: Any, answers: BinaryIO) -> None:
        self._reader = reader
        self._board = board
        self._answers = answers
        self._writing = threading.Lock()
        self._slots: SimpleQueue[int] = SimpleQueue()
        for slot in range(len(board)):
            self._slots.put(slot)

    def answer(self, request: dict[str, Any]) -> None:
        """Measure the images of a request and write the chunk; a request is what ``measuring_process`` sends."""
        try:
            slot = self._slots.get()
            measured, sketches = [], []
            for position, image in enumerate(request["images"]):
                measurement, sketch = self._measured(slot, request["first"] + position, image, whole=request["whole"])
                measured.append(measurement)
                sketches.append(sketch)
            self._slots.put(slot)
            key = bytes.fromhex(request["key"])
            packed = MeasuredChunk.of(request["number"], key, measured, fingerprints_of(sketches)).packed()
            with self._writing:
                self._answers.write(packed)
                self._answers.flush()
        except BaseException:
            traceback.print_exc()
            os._exit(DEFECT_EXIT_CODE)

    def _measured(self, slot: int, image: int, place: list[Any], *, whole: bool) -> tuple[Measurement, Sketch | None]:
        part, offset, size_bytes, verdict = place
        if verdict:
            return unreadable("unreadable", verdict), None
        data = self._reader.read(part, offset, size_bytes)  # not timed: a slow disk is no fault of the image
        with self._on_the_board(slot, image):
            try:
                return (whole_pixels_of(data), None) if whole else measure(data)
            except Exception as error:
                # Nothing that a file leads a library to raise may keep the others from being measured.
                return unreadable("unreadable", f"it cannot be measured: {type(error).__name__}: {error}"), None

    @contextlib.contextmanager
    def _on_the_board(self, slot: int, image: int) -> Iterator[None]:
        self._board["image"][slot] = image
        self._board["started"][slot] = time.monotonic()
        yield
        self._board["started"][slot] = 0.0


def main(archive: str, board: str, threads: str) -> None:
    """Answer requests, a line of JSON each, until standard input ends; then end at once, whatever is under way."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    cv2.setNumThreads(1)  # the threads here already keep every processor busy
    warnings.simplefilter("ignore")  # what Pillow warns about, checks report
    rows = np.memmap(board, BOARD_ROW, "r+", shape=(int(threads),))
    measuring = Measuring(ArchiveReader(Path(archive)), rows, answers)
    pool = ThreadPoolExecutor(int(threads))
    for line in sys.stdin:
        pool.submit(measuring.answer, json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
