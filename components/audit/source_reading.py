"""Any folder or ZIP file as an archive to audit, so that the audit works alone, on data that is not yet a data set.

Ingest is strict: it refuses what no pipeline should train on, such as one class or images beside class folders. Here
everything is let in that has the name of an image, and what cannot be read is left out with a reason.
"""

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from components.audit.checks.names import NOT_READ, OUTSIDE_CLASS_FOLDERS
from components.failures import UserError
from components.formats.image_archive import ArchiveWriter
from components.formats.image_formats import EXTENSIONS
from components.formats.recorded_labels import read_recorded_labels

PART_BYTES = 256 * 2**20
LARGEST_FILE_BYTES = 256 * 2**20
LARGEST_RATIO = 200
"""A member of a ZIP file that unpacks to more than this many times its size is not unpacked."""

_ENCRYPTED = 0x1
# Those that zipfile unpacks piece by piece, up to the size it was told: 700 bytes of bzip2 are a gigabyte at once.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, struct.error, zlib.error, zipfile.BadZipFile)
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class SourceFile:
    """A file that may be an image.

    Attributes:
        path: POSIX, inside the source, without a folder around everything.
        read: Returns its bytes.
        refusal: Why it is not read, empty when it is.
    """

    path: str
    read: Callable[[], bytes]
    refusal: str


def write_archive(source: Path, directory: Path, labels_file: str) -> None:
    """Write the images of a folder or ZIP file into an archive; the same source gives the same bytes.

    The class of an image is the outermost folder that it lies in; without any folders, the source.

    Args:
        source: A folder or a ZIP file.
        directory: An empty folder for the archive.
        labels_file: Name of a CSV file in the source, or in the one folder around everything, with labels to compare
            the class folders with; empty, or not there, for none. See ``components.formats.recorded_labels``.

    Raises:
        UserError: When there is no such source, or no image in it, or the labels file makes no sense.
    """
    if source.is_dir():
        _write(source, list(_folder_files(source, labels_file)), directory, labels_file)
    elif zipfile.is_zipfile(source):
        with _opened(source) as members:
            _write(source, list(_zip_files(members, labels_file)), directory, labels_file)
    else:
        raise UserError(f"{source} is neither a folder nor a ZIP file; give the path of one")


def _opened(source: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{source} is a damaged ZIP file ({error}); zip the class folders again") from error


def _write(source: Path, found: list[SourceFile], directory: Path, labels_file: str) -> None:
    of_labels = [file for file in found if _is_labels_file(PurePosixPath(file.path), labels_file)]
    images = [file for file in found if file not in of_labels]
    files, wrapping_folder = _stripped(images)
    if not files:
        endings = ", ".join(EXTENSIONS)
        raise UserError(f"{source} holds no files with the name of an image ({endings})")
    foldered = any("/" in file.path for file in files)
    recorded = _recorded_labels(of_labels, files, wrapping_folder)
    with ArchiveWriter(directory, PART_BYTES) as writer:
        for file in sorted(files, key=lambda one: one.path):
            label = file.path.partition("/")[0] if foldered else source.stem
            reason = f"{NOT_READ}{file.refusal}" if file.refusal else ""
            if foldered and "/" not in file.path and not reason:
                reason = OUTSIDE_CLASS_FOLDERS
            if not reason:
                try:
                    data, recorded_label = file.read(), recorded.get(file.path)
                    writer.add(file.path, label, data, source_uri=str(source), recorded_label=recorded_label)
                except _UNREADABLE as error:
                    reason = f"{NOT_READ}cannot be unpacked or read ({error})"
            if reason:
                writer.skip(file.path, reason)
        writer.close()


def _recorded_labels(of_labels: list[SourceFile], images: list[SourceFile], wrapping_folder: str) -> dict[str, str]:
    folders = ("", wrapping_folder)
    found = [file for file in of_labels if file.path.rpartition("/")[0] in folders and not file.refusal]
    if not found:
        return {}
    try:
        data = found[0].read()
    except _UNREADABLE as error:
        raise UserError(f"{found[0].path} cannot be read ({error}); mend it, or give --labels-file ''") from error
    try:
        return read_recorded_labels(data, found[0].path, [file.path for file in images], wrapping_folder).labels
    except UserError as error:
        raise UserError(f"{error}; if it holds no labels, give --labels-file ''") from error


def _folder_files(source: Path, labels_file: str) -> Iterator[SourceFile]:
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if not _is_wanted(PurePosixPath(inside.as_posix()), labels_file) or path.is_dir():
            continue
        refusal = ""
        if not path.is_file():
            refusal = "is no regular file"
        elif path.stat().st_size > LARGEST_FILE_BYTES:
            refusal = f"is larger than {LARGEST_FILE_BYTES // 2**20} MiB"
        name = inside.as_posix()
        if not _is_text(name):
            refusal = "has a name that is not UTF-8"
        yield SourceFile(_as_text(name), path.read_bytes, refusal)


def _zip_files(members: zipfile.ZipFile, labels_file: str) -> Iterator[SourceFile]:
    seen: set[str] = set()
    for member in members.infolist():
        name = member.filename.replace("\\", "/")  # what some programs on Windows write
        path = PurePosixPath(name)
        if name.endswith("/") or not _is_wanted(path, labels_file):
            continue
        refusal = ""
        leads_out = path.is_absolute() or ".." in path.parts or _DRIVE.match(name)
        if leads_out or stat.S_ISLNK(member.external_attr >> 16):
            refusal = "is a link, or has a path that leads out of the ZIP file"
        elif member.flag_bits & _ENCRYPTED:
            refusal = "is encrypted"
        elif member.compress_type not in _METHODS:
            refusal = f"is compressed by method {member.compress_type}, not the usual one, deflate"
        elif member.file_size > min(LARGEST_FILE_BYTES, LARGEST_RATIO * max(member.compress_size, 4096)):
            refusal = "unpacks to an absurd size"
        elif path.as_posix() in seen:
            refusal = "has the name of another file"
        elif not _is_text(name):
            refusal = "has a name that is not UTF-8"
        seen.add(path.as_posix())
        yield SourceFile(_as_text(path.as_posix()), lambda member=member: members.read(member), refusal)  # type: ignore[misc]


def _is_text(name: str) -> bool:
    """Return whether a file's name can be written down: any bytes but NUL and a slash can be a name on Linux."""
    return _as_text(name) == name


def _as_text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _is_wanted(path: PurePosixPath, labels_file: str) -> bool:
    hidden = any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in path.parts)
    return (path.suffix.lower() in EXTENSIONS or _is_labels_file(path, labels_file)) and not hidden


def _is_labels_file(path: PurePosixPath, labels_file: str) -> bool:
    return path.name == labels_file and path.suffix.lower() not in EXTENSIONS


def _stripped(files: list[SourceFile]) -> tuple[list[SourceFile], str]:
    """Take away the one folder around everything, if what is in it is not itself a class, and return it too."""
    wrapping: list[str] = []
    folders = {file.path.partition("/")[0] for file in files if not file.refusal}
    while len(folders) == 1 and sum(file.path.count("/") > 1 for file in files) * 2 > len(files):
        files = [SourceFile(file.path.partition("/")[2] or file.path, file.read, file.refusal) for file in files]
        wrapping += folders
        folders = {file.path.partition("/")[0] for file in files if not file.refusal}
    return files, "/".join(wrapping)
