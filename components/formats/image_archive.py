"""The archive: a few tar parts of original image bytes, and a catalog with one row per image.

Thousands of loose objects take a cluster's launcher minutes to move; a few large parts take seconds. A part is a
plain tar file that ``tar -tf`` reads, and the catalog knows at which offset each image's bytes start, so a reader
needs no tar parsing and any number of threads can read at once.

    archive/
      part-00000.tar ...   original bytes, untouched
      catalog.parquet      one row per image, CATALOG_COLUMNS
      skipped.parquet      one row per file that was not ingested: path, reason
      ingest.json          where it came from
"""

import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd

from components.formats.archive_parts import ArchiveReader

__all__ = [
    "CATALOG_COLUMNS",
    "CATALOG_FILE",
    "SKIPPED_COLUMNS",
    "SKIPPED_FILE",
    "SUMMARY_FILE",
    "ArchiveReader",
    "ArchiveWriter",
    "read_catalog",
    "read_skipped",
    "write_catalog",
]

CATALOG_FILE = "catalog.parquet"
SKIPPED_FILE = "skipped.parquet"
SUMMARY_FILE = "ingest.json"

CATALOG_COLUMNS: Mapping[str, str] = {
    "path": "str",  # POSIX path inside the source: the image's name everywhere, unique
    "filename": "str",  # last component of path
    "label": "str",  # the class folder
    "recorded_label": "str",  # label in the source's own label file, missing where it has none
    "part": "str",  # file name of the tar part
    "offset": "int64",  # where the image's bytes start in the part
    "size_bytes": "int64",
    "md5": "str",  # hex digest of the bytes: their identity
    "crc32": "int64",  # CRC-32 of the bytes: tells in a seventh of the time of an MD5 whether they arrived as they were
    "source_uri": "str",  # object or local file the bytes came from
    "source_generation": "int64",  # Cloud Storage generation of that object, 0 for local files
}

SKIPPED_COLUMNS: Mapping[str, str] = {"path": "str", "reason": "str"}

_TAR_BLOCK = 512


class ArchiveWriter:
    """Write images into tar parts and collect their catalog rows. The same images give the same bytes.

    ``close`` finishes the archive; leaving a ``with`` block without it, because of an error, only closes the file.

    Args:
        directory: An empty folder.
        part_size_bytes: A part is closed once it holds at least this much.
    """

    def __init__(self, directory: Path, part_size_bytes: int) -> None:
        self._directory = directory
        self._part_size_bytes = part_size_bytes
        self._rows: list[dict[str, Any]] = []
        self._skipped: list[dict[str, str]] = []
        self._part: io.BufferedWriter | None = None
        self._parts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._part is not None:
            self._part.close()

    def add(
        self,
        path: str,
        label: str,
        data: bytes,
        *,
        source_uri: str,
        source_generation: int = 0,
        recorded_label: str | None = None,
    ) -> None:
        """Append one image's bytes."""
        part = self._open_part()
        header = tarfile.TarInfo(path)
        header.size = len(data)
        header.mode = 0o644
        part.write(header.tobuf(tarfile.PAX_FORMAT))
        offset = part.tell()
        part.write(data)
        part.write(bytes(-len(data) % _TAR_BLOCK))
        self._rows.append(
            {
                "path": path,
                "filename": path.rsplit("/", 1)[-1],
                "label": label,
                "recorded_label": recorded_label,
                "part": Path(part.name).name,
                "offset": offset,
                "size_bytes": len(data),
                "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
                "crc32": zlib.crc32(data),
                "source_uri": source_uri,
                "source_generation": source_generation,
            }
        )
        if part.tell() >= self._part_size_bytes:
            self._close_part()

    def skip(self, path: str, reason: str) -> None:
        """Record a file of the source that is not an image to train on."""
        self._skipped.append({"path": path, "reason": reason})

    def close(self) -> pd.DataFrame:
        """Finish the last part, write both tables and return the catalog."""
        self._close_part()
        catalog = pd.DataFrame(self._rows, columns=list(CATALOG_COLUMNS)).astype(dict(CATALOG_COLUMNS))
        write_catalog(catalog, self._directory)
        skipped = pd.DataFrame(self._skipped, columns=list(SKIPPED_COLUMNS)).astype(dict(SKIPPED_COLUMNS))
        skipped.to_parquet(self._directory / SKIPPED_FILE, index=False)
        return catalog

    def _open_part(self) -> io.BufferedWriter:
        if self._part is None:
            self._part = (self._directory / f"part-{self._parts:05d}.tar").open("wb")
            self._parts += 1
        return self._part

    def _close_part(self) -> None:
        if self._part is not None:
            self._part.write(bytes(2 * _TAR_BLOCK))
            self._part.close()
            self._part = None


def write_catalog(catalog: pd.DataFrame, directory: Path) -> None:
    """Write a catalog, with whatever columns a step added, as ``catalog.parquet``."""
    catalog.to_parquet(directory / CATALOG_FILE, index=False)


def read_catalog(directory: Path) -> pd.DataFrame:
    """Read the catalog of an archive, or of a cleaned one, sorted as it was written.

    Raises:
        FileNotFoundError: When the folder has no catalog.
    """
    return pd.read_parquet(directory / CATALOG_FILE)


def read_skipped(directory: Path) -> pd.DataFrame:
    """Read which files of the source were not ingested, and why."""
    return pd.read_parquet(directory / SKIPPED_FILE)
