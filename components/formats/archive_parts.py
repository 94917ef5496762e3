"""Reading from the tar parts of an archive, without what reading its catalog takes: pandas and 100 MB of memory."""

import os
import resource
from pathlib import Path
from types import TracebackType
from typing import Self

# What a process has open besides the parts, with room to spare.
_OTHER_OPEN_FILES = 200


class ArchiveReader:
    """Read images' original bytes by catalog position. Safe to share between threads.

    Args:
        directory: The archive's folder.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        parts = sorted(directory.glob("part-*.tar"))
        _allow_open_files(len(parts) + _OTHER_OPEN_FILES)
        self._descriptors = {path.name: os.open(path, os.O_RDONLY) for path in parts}

    def read(self, part: str, offset: int, size_bytes: int) -> bytes:
        """Return one image's bytes.

        Raises:
            EOFError: When the part ends before the image does.
        """
        data = os.pread(self._descriptors[part], size_bytes, offset)
        if len(data) != size_bytes:
            raise EOFError(f"{self._directory / part} ends inside the image at offset {offset}")
        return data

    def close(self) -> None:
        """Close every part."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _allow_open_files(files: int) -> None:
    """Raise this process's limit on open files, 1,024 or 256 by default, where the system lets it."""
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    if highest != resource.RLIM_INFINITY:
        files = min(files, highest)
    if resource.RLIM_INFINITY != limit < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, highest))
