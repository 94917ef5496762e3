"""Read the files of a folder of class folders, local or a prefix in Cloud Storage."""

import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

from components import storage
from components.failures import UserError
from components.ingest.limits import Limits, require_safe_names
from components.ingest.source import Source
from components.ordered_work import in_order
from components.storage import StoredFile

# Objects wait on disk between download and archive, this many at a time.
_BATCH_FILES = 500
_BATCH_BYTES = 128 * 2**20


class FolderContents:
    """The files under a prefix or a local folder.

    Args:
        source: A folder that was looked up.
        limits: What is too much.

    Raises:
        UserError: When it holds too much, or names that are not safe.
    """

    def __init__(self, source: Source, limits: Limits) -> None:
        limits.require_files(source.uri, len(source.files))
        require_safe_names(source.uri, source.names)
        for file in source.files:
            limits.require_file(file.uri, file.size_bytes)
        limits.require_total(source.uri, sum(file.size_bytes for file in source.files))
        self._files = dict(zip(source.names, source.files, strict=True))
        self._remote = storage.is_remote(source.uri)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Size in bytes by name."""
        return {name: file.size_bytes for name, file in self._files.items()}

    def origin(self, name: str) -> StoredFile:
        """Return the object or local file itself."""
        return self._files[name]

    def read_all(self, names: Sequence[str], workers: int) -> Generator[bytes]:
        """Yield the content of each file, in order; objects are downloaded in batches that are then removed."""
        if not self._remote:
            yield from in_order(self._read, names, workers, lambda name: self._files[name].size_bytes)
            return
        for batch in self._batches(names):
            with tempfile.TemporaryDirectory(prefix="ingest-") as directory:
                for path in storage.download(batch, Path(directory), workers=workers):
                    yield path.read_bytes()
                    path.unlink()

    def close(self) -> None:
        """Nothing is open between reads."""

    def _batches(self, names: Sequence[str]) -> Iterator[list[StoredFile]]:
        batch: list[StoredFile] = []
        batch_bytes = 0
        for file in (self._files[name] for name in names):
            if batch and (len(batch) >= _BATCH_FILES or batch_bytes + file.size_bytes > _BATCH_BYTES):
                yield batch
                batch, batch_bytes = [], 0
            batch.append(file)
            batch_bytes += file.size_bytes
        if batch:
            yield batch

    def _read(self, name: str) -> bytes:
        file = self._files[name]
        data = storage.read_bytes(file.uri)
        if len(data) != file.size_bytes:
            raise UserError(f"{file.uri} changed while it was read; submit again when nobody writes to the folder")
        return data
