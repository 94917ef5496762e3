"""Measured chunks kept in a file while the audit runs, so that an audit that was stopped measures only the others.

The file is a row of packed chunks. A chunk's key says which bytes were measured and by which code, so a chunk of other
images or another version is never taken for one that is asked for. What was cut off while it was written, or damaged
later, fails its checksum; from there on the file is written anew.
"""

import contextlib
import hashlib
import importlib
import importlib.metadata
from pathlib import Path
from types import TracebackType
from typing import Self

from components.audit.measured_chunk import ROW, MeasuredChunk, unpacked
from components.formats.image_formats import read_formats

# All that decides what is measured of given bytes.
_MODULES = (
    "components.audit.decoding",
    "components.audit.decoding_memory",
    "components.audit.file_ends",
    "components.audit.iso_media",
    "components.audit.jpeg_scans",
    "components.audit.measurements",
    "components.audit.measured_chunk",
    "components.copies.detail_comparison",
    "components.copies.fingerprints",
    "components.copies.perceptual_hashes",
    "components.formats.image_formats",
    "components.formats.stored_pixels",
)
_LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "pillow-heif", "simplejpeg")


def measuring_identity(decode_seconds: float) -> bytes:
    """Return a digest of the code, and versions of libraries, that measure: whatever changes, chunks are not reused."""
    identity = hashlib.sha256(f"{ROW.descr} {decode_seconds} {read_formats()}".encode())
    for name in _MODULES:
        source = importlib.import_module(name).__file__
        identity.update(Path(source).read_bytes() if source else b"")
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # of one that reads HEIC
            identity.update(f"{name} {importlib.metadata.version(name)} ".encode())
    return identity.digest()


class FinishedChunks:
    """Chunks by key, in a file that is read once and appended to.

    Args:
        path: The file; made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._places: dict[bytes, tuple[int, int]] = {}
        end = self._index()
        self._file.truncate(end)
        self._file.seek(end)

    def __len__(self) -> int:
        return len(self._places)

    def take(self, key: bytes, number: int) -> MeasuredChunk | None:
        """Return the chunk of a key under another number, ``None`` when there is none."""
        if key not in self._places:
            return None
        start, size_bytes = self._places[key]
        self._file.seek(start)
        found = unpacked(self._file.read(size_bytes))
        if found is None:
            return None
        chunk = found[0]
        return MeasuredChunk(number, key, chunk.rows, chunk.fingerprints, chunk.texts)

    def keep(self, chunk: MeasuredChunk) -> None:
        """Append a chunk. A power cut may lose it, the end of this process cannot."""
        packed = chunk.packed()
        self._file.seek(0, 2)
        self._file.write(packed)
        self._file.flush()

    def _index(self) -> int:
        """Find the chunks that are whole, and return where the last of them ends."""
        self._file.seek(0)
        buffer, start = b"", 0
        while True:
            more = self._file.read(2**20)
            buffer += more
            position = 0
            try:
                while (found := unpacked(memoryview(buffer)[position:])) is not None:
                    self._places[found[0].key] = (start + position, found[1])
                    position += found[1]
            except ValueError:
                return start + position
            buffer, start = buffer[position:], start + position
            if not more:
                return start

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
