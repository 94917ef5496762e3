"""The pass over the archive: every image read and decoded once, in a process of its own, and a row for each, always.

A decoder that crashes or hangs takes its process with it. Which images were being decoded is known; each of these is
tried alone, in a process of its own. The one that does it again is the culprit: it becomes a row that says so, and the
pass goes on where it was.
"""

import dataclasses
import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.audit.finished_chunks import FinishedChunks, measuring_identity
from components.audit.measured_chunk import KEY_BYTES, MeasuredChunk, chunk_key
from components.audit.measured_images import MeasuredImages
from components.audit.measuring_process import DECODE_SECONDS, MeasuringProcess
from components.failures import TransientError
from components.image_progress import ImageProgress

CHUNK_IMAGES = 64

_CHUNKS_AHEAD = 2  # per thread: no thread waits for the parent, and little is lost when a process dies
_WAIT_SECONDS = 0.5
_UNEXPLAINED_DEATHS = 5


@dataclass(frozen=True)
class Chunk:
    """Consecutive images of the catalog.

    Attributes:
        number: From 0.
        first: Row of its first image in the catalog.
        key: ``chunk_key`` of its images.
        places: Part, offset and size of each image.
        whole: Whether to decode them at full size, for the digest of their pixels alone.
    """

    number: int
    first: int
    key: bytes
    places: list[tuple[str, int, int]]
    whole: bool = False

    def request(self, verdicts: dict[int, str]) -> bytes:
        """Return what is sent to the process: ``verdicts`` are for images that are not to be decoded, by row."""
        images = [[*place, verdicts.get(self.first + position)] for position, place in enumerate(self.places)]
        request = {"number": self.number, "key": self.key.hex(), "first": self.first, "images": images}
        request["whole"] = self.whole
        return json.dumps(request).encode() + b"\n"


def measure_archive(archive: Path, catalog: pd.DataFrame, workers: int, kept: Path | None) -> MeasuredImages:
    """Measure every image of an archive and return the measurements in catalog order.

    Args:
        archive: The archive's folder.
        catalog: Its catalog, or some rows of it, numbered from 0.
        workers: Threads that decode, at least 1.
        kept: File that finished chunks are kept in until the caller deletes it, and taken from when a pass that was
            stopped left it behind; ``None`` keeps nothing.
    """
    measured = MeasuredImages(len(catalog))
    progress = ImageProgress("audit", len(catalog))
    with ExitStack() as stack:
        finished = stack.enter_context(FinishedChunks(kept)) if kept else None
        chunks = _Chunks(catalog)
        missing = []
        for number in range(len(chunks)):
            found = finished.take(chunks.key(number), number) if finished else None
            if found is None:
                missing.append(number)
            else:
                measured.add(number * CHUNK_IMAGES, found)
        progress.resumed(len(catalog) - sum(chunks.images(number) for number in missing))
        for chunk, found in measured_chunks(archive, map(chunks.chunk, missing), workers):
            measured.add(chunk.first, found)
            if finished is not None:
                finished.keep(found)
            progress.done(len(chunk.places))
    return measured


def whole_pixels(archive: Path, catalog: pd.DataFrame, workers: int) -> npt.NDArray[np.uint64]:
    """Decode images at full size and return a digest of the pixels of each, 0 for one that cannot be decoded so.

    Args:
        archive: The archive's folder.
        catalog: Some rows of its catalog, numbered from 0.
        workers: Threads that decode, at least 1.
    """
    digests = np.zeros(len(catalog), np.uint64)
    chunks = _Chunks(catalog)
    whole = (dataclasses.replace(chunks.chunk(number), whole=True) for number in range(len(chunks)))
    for chunk, found in measured_chunks(archive, whole, workers):
        digests[chunk.first : chunk.first + len(chunk.places)] = found.rows["pixels"]
    return digests


def measured_chunks(archive: Path, chunks: Iterable[Chunk], threads: int) -> Iterator[tuple[Chunk, MeasuredChunk]]:
    """Yield each chunk with its measurements, in the order in which they are ready.

    Args:
        archive: The archive's folder.
        chunks: What to measure, taken one by one as there is room.
        threads: Of the process that measures, at least 1.

    Raises:
        RuntimeError: When the process fails for another reason than an image.
        TransientError: When the system kills it again and again.
    """
    fresh, room = iter(chunks), threads * _CHUNKS_AHEAD
    waiting = deque(itertools.islice(fresh, room))
    under_way: dict[int, Chunk] = {}
    blame = _Blame(lambda chunk: _failure_alone(archive, chunk))
    while waiting or under_way:
        waiting.extendleft(under_way[number] for number in sorted(under_way, reverse=True))
        under_way.clear()
        with MeasuringProcess(archive, threads) as process:
            failure = None
            while failure is None and (waiting or under_way):
                while waiting and len(under_way) < room:
                    chunk = waiting.popleft()
                    under_way[chunk.number] = chunk
                    process.send(chunk.request(blame.verdicts))
                    waiting.extend(itertools.islice(fresh, room - len(waiting)))
                for found in process.receive(_WAIT_SECONDS):
                    blame.unexplained = 0
                    yield under_way.pop(found.number), found
                failure = process.failure() if under_way else None
            suspects = process.suspects() if failure else []
        if failure:
            blame.after(failure, suspects, under_way.values())


class _Blame:
    """Finds out which image ended a process.

    Attributes:
        verdicts: What is wrong with the images that do, by row.
        unexplained: How many processes in a row ended without a culprit.
    """

    def __init__(self, failure_alone: Callable[[Chunk], str | None]) -> None:
        self.verdicts: dict[int, str] = {}
        self.unexplained = 0
        self._failure_alone = failure_alone

    def after(self, failure: str, suspects: Sequence[int], chunks: Iterable[Chunk]) -> None:
        """Try each image that was being decoded when the process failed alone."""
        places = {chunk.first + at: place for chunk in chunks for at, place in enumerate(chunk.places)}
        what = "an image was" if len(suspects) == 1 else f"{len(suspects)} images were"
        print(f"audit: {what} being decoded when this happened: {failure}; trying each alone", flush=True)
        whole = {chunk.first + at: chunk.whole for chunk in chunks for at in range(len(chunk.places))}
        found = {
            row: self._failure_alone(Chunk(0, row, bytes(KEY_BYTES), [places[row]], whole[row])) for row in suspects
        }
        culprits = {row: verdict for row, verdict in found.items() if verdict}
        self.verdicts |= culprits
        self.unexplained = 0 if culprits else self.unexplained + 1
        if self.unexplained < _UNEXPLAINED_DEATHS:
            return
        if "SIGKILL" in failure:
            raise TransientError(
                "the system kills the process that decodes images again and again, most likely for its memory; give "
                "the audit more memory, or fewer workers"
            )
        raise RuntimeError(
            f"the process that decodes images ends again and again, though no image alone ends it: {failure}"
        )


def _failure_alone(archive: Path, chunk: Chunk) -> str | None:
    with MeasuringProcess(archive, 1) as process:
        process.send(chunk.request({}))
        while True:
            if process.receive(_WAIT_SECONDS):
                return None
            if failure := process.failure():
                return failure


class _Chunks:
    """The images of a catalog, numbered from 0, in chunks, made when they are asked for: all at once take memory."""

    def __init__(self, catalog: pd.DataFrame) -> None:
        self._catalog = catalog
        self._identity = measuring_identity(DECODE_SECONDS)

    def __len__(self) -> int:
        return math.ceil(len(self._catalog) / CHUNK_IMAGES)

    def images(self, number: int) -> int:
        """Return how many images a chunk has."""
        return min(CHUNK_IMAGES, len(self._catalog) - number * CHUNK_IMAGES)

    def key(self, number: int) -> bytes:
        """Return the key of a chunk."""
        return chunk_key(self._identity, self._column("md5", number))

    def chunk(self, number: int) -> Chunk:
        """Return a chunk."""
        columns = [self._column(name, number) for name in ("part", "offset", "size_bytes")]
        return Chunk(number, number * CHUNK_IMAGES, self.key(number), list(zip(*columns, strict=True)))

    def _column(self, name: str, number: int) -> list[Any]:
        first = number * CHUNK_IMAGES
        return self._catalog[name].iloc[first : first + CHUNK_IMAGES].tolist()
