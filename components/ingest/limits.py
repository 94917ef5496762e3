"""What a source may be: limits that keep a mistake or an attack from filling memory and disk, and safe names."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from components.failures import UserError

_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """How much a source may hold.

    Attributes:
        max_files: Files of any kind, at least 1.
        max_file_mib: Size of one file, at least 1.
        max_total_gib: Size of all files together, at least 1.
        max_compression_ratio: How many times larger than its compressed form a file of a ZIP may be, at least 1.
    """

    max_files: int
    max_file_mib: int
    max_total_gib: int
    max_compression_ratio: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1")

    @property
    def max_file_bytes(self) -> int:
        """Size of one file."""
        return self.max_file_mib * _MEBIBYTE

    @property
    def max_total_bytes(self) -> int:
        """Size of all files together."""
        return self.max_total_gib * 1024 * _MEBIBYTE

    def require_files(self, source: str, files: int) -> None:
        """Raise ``UserError`` when a source holds too many files."""
        if files > self.max_files:
            raise UserError(
                f"{source} holds {files:,} files, more than max_files = {self.max_files:,}; "
                "raise max_files if that is intended"
            )

    def require_file(self, name: str, size_bytes: int) -> None:
        """Raise ``UserError`` when a file is too large."""
        if size_bytes > self.max_file_bytes:
            raise UserError(
                f"{name} is larger than max_file_mib = {self.max_file_mib:,}; remove it or raise max_file_mib"
            )

    def require_total(self, source: str, size_bytes: int) -> None:
        """Raise ``UserError`` when a source is too large."""
        if size_bytes > self.max_total_bytes:
            raise UserError(
                f"{source} holds more than max_total_gib = {self.max_total_gib:,}; raise max_total_gib if that is "
                "intended"
            )


def unsafe_reason(name: str) -> str | None:
    """Return why a name inside a source cannot be an image's name, or None when it can.

    A safe name is a relative POSIX path in normal form: joined to any folder it stays inside it, on any system, and it
    can be printed, logged and stored as UTF-8.
    """
    reasons = {
        "it is empty": not name,
        "it contains a control character": any(unicodedata.category(character) == "Cc" for character in name),
        "it is not valid UTF-8": any("\ud800" <= character <= "\udfff" for character in name),
        "it contains a backslash": "\\" in name,
        "it is an absolute path": name.startswith("/"),
        "it starts with a drive letter": len(name) > 1 and name[1] == ":" and name[0].isascii() and name[0].isalpha(),
        "it contains an empty, '.' or '..' folder": any(part in {"", ".", ".."} for part in name.split("/")),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def require_safe_names(source: str, names: Iterable[str]) -> None:
    """Raise ``UserError`` for the first name that is not safe."""
    for name in names:
        # Finder keeps the picture of a folder in a file of this very name.
        reason = unsafe_reason(name.removesuffix("\r") if name.endswith("Icon\r") else name)
        if reason:
            raise UserError(f"{source} contains {name!r}, which is not a safe name: {reason}; rename the file")


def require_distinct_names(source: str, names: Iterable[str]) -> None:
    """Raise ``UserError`` when two names would be one file on a system that ignores case or Unicode normal form."""
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if key in seen:
            same = "twice" if seen[key] == name else f"and {seen[key]!r}, which many systems take for the same name"
            raise UserError(f"{source} contains {name!r} {same}; rename or remove one of the two")
        seen[key] = name


def suffix_of(name: str) -> str:
    """Return a name's extension in lower case, with its dot."""
    return PurePosixPath(name).suffix.lower()
