"""Read a ZIP file that a stranger may have made: nothing is extracted, and no number in it is believed.

The rules are those of the zip bomb and path traversal literature (Fifield, "A better zip bomb", 2019; CWE-22, CWE-409):
safe and distinct names, regular files only, no encryption, no overlapping members, and limits on what is actually
decompressed. That takes a method that decompresses piece by piece, which zipfile offers for deflate alone: 700 bytes of
bzip2 become a gigabyte in one call.
"""

import stat
import threading
import zipfile
import zlib
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import IO

from components.failures import UserError
from components.ingest.limits import Limits, require_distinct_names, require_safe_names
from components.ordered_work import in_order
from components.storage import StoredFile

_ENCRYPTED_FLAG = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_QUOTED_CHARACTERS = 200
_CHUNK_BYTES = 2**20
# Small files may be mostly empty; a bomb needs more room than this.
_RATIO_COUNTS_FROM_BYTES = 2**20
_LOCAL_HEADER_BYTES = 30


class ZipContents:
    """The files in a ZIP. Several threads may read at once.

    Args:
        path: The ZIP file on this machine, or an open one.
        file: What it is a copy of.
        limits: What is too much.

    Raises:
        UserError: When it is not a ZIP file, or not a safe one.
    """

    def __init__(self, path: Path | IO[bytes], file: StoredFile, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._lock = threading.Lock()
        self._read_bytes = 0
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UserError(
                f"{file.uri} is not a ZIP file, or is cut short ({_short(error)}); zip the class folders and upload it "
                "again"
            ) from error
        try:
            self._members = self._checked_members()
        except BaseException:
            self._zip.close()
            raise

    @property
    def sizes(self) -> Mapping[str, int]:
        """Size in bytes by name, as the ZIP claims."""
        return {name: member.file_size for name, member in self._members.items()}

    def origin(self, name: str) -> StoredFile:  # noqa: ARG002  of a folder it depends on the name
        """Return the ZIP file."""
        return self._file

    def read_all(self, names: Sequence[str], workers: int) -> Generator[bytes]:
        """Yield the content of each file, in order, a few of them ahead."""
        return in_order(self._read, names, workers, lambda name: self._members[name].file_size)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        uri = self._file.uri
        members = self._zip.infolist()
        self._limits.require_files(uri, len(members))
        # The original name: zipfile cuts what follows a NUL.
        require_safe_names(uri, (member.orig_filename.removesuffix("/") for member in members))
        require_safe_names(uri, (member.filename.removesuffix("/") for member in members))
        for member in members:
            self._require_plain(member)
        files = [member for member in members if not member.is_dir()]
        require_distinct_names(uri, (member.filename for member in files))
        self._require_apart(members)
        for member in files:
            self._limits.require_file(f"{member.filename} in {uri}", member.file_size)
        self._limits.require_total(uri, sum(member.file_size for member in files))
        return {member.filename: member for member in files}

    def _require_plain(self, member: zipfile.ZipInfo) -> None:
        where = f"{_short(repr(member.filename))} in {self._file.uri}"
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFDIR if member.is_dir() else stat.S_IFREG):
            what = "a symbolic link" if kind == stat.S_IFLNK else "a special file"
            raise UserError(f"{where} is {what}; zip the files themselves")
        if member.flag_bits & _ENCRYPTED_FLAG:
            raise UserError(f"{where} is encrypted; zip the class folders without a password")
        if member.compress_type not in _METHODS:
            method = member.compress_type
            raise UserError(
                f"{where} is compressed by method {method}; zip the class folders with the usual one, deflate"
            )
        if member.is_dir() and member.file_size:
            raise UserError(f"{where} is a folder with content of its own; zip the class folders again")

    def _require_apart(self, members: Sequence[zipfile.ZipInfo]) -> None:
        """Raise when two members share compressed bytes, which is how a small file unpacks to a petabyte."""
        end = 0
        for member in sorted(members, key=lambda member: member.header_offset):
            if member.header_offset < end:
                raise UserError(
                    f"{member.filename!r} in {self._file.uri} shares its bytes with another file, as in a zip bomb; "
                    "zip the class folders again"
                )
            end = member.header_offset + _LOCAL_HEADER_BYTES + member.compress_size

    def _read(self, name: str) -> bytes:
        member = self._members[name]
        where = f"{_short(name)} in {self._file.uri}"
        try:
            # Opening and closing count references without a lock; reading has its own.
            with self._lock:
                stream = self._zip.open(member)
            try:
                return self._read_counted(stream, member, where)
            finally:
                with self._lock:
                    stream.close()
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{where} cannot be unpacked ({_short(error)}); zip the class folders and upload it again"
            ) from error

    def _read_counted(self, stream: IO[bytes], member: zipfile.ZipInfo, where: str) -> bytes:
        chunks = []
        size_bytes = 0
        while chunk := stream.read(_CHUNK_BYTES):
            chunks.append(chunk)
            size_bytes += len(chunk)
            with self._lock:
                self._read_bytes += len(chunk)
            self._limits.require_file(where, size_bytes)
            self._limits.require_total(self._file.uri, self._read_bytes)
            ratio = size_bytes / max(member.compress_size, 1)
            if size_bytes > _RATIO_COUNTS_FROM_BYTES and ratio > self._limits.max_compression_ratio:
                raise UserError(
                    f"{where} unpacks to over {ratio:,.0f} times its compressed size, as in a zip bomb; remove it or "
                    f"raise max_compression_ratio = {self._limits.max_compression_ratio:,}"
                )
        return b"".join(chunks)


def _short(quoted: object) -> str:
    """Return text of a stranger's making, names of 65,535 characters for example, as a sentence can bear it."""
    text = str(quoted)
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}..."
