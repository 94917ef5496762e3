"""Where a dataset comes from, and the fingerprint that pins its content from submission to the run."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from components import storage
from components.failures import UserError
from components.ingest.class_folders import junk_reason
from components.storage import StoredFile


@dataclass(frozen=True)
class Source:
    """A dataset as it was when it was looked up.

    Attributes:
        uri: What the user wrote.
        zipped: Whether it is one ZIP file and not a folder.
        files: The ZIP file, or every file of the folder, by name.
        names: Each file's path inside the folder; for a ZIP its own name.
    """

    uri: str
    zipped: bool
    files: Sequence[StoredFile]
    names: Sequence[str]


def find_source(uri: str) -> Source:
    """Look up a ZIP file or a folder of class folders, in Cloud Storage or on this machine.

    Raises:
        UserError: When nothing is there or it may not be read.
        TransientError: When Cloud Storage does not answer.
    """
    if not uri.strip():
        raise UserError("source is empty; give a ZIP file or a folder of class folders, gs:// or local")
    file = None if uri.endswith("/") else storage.stat_file(uri)
    if file is not None:
        return Source(uri, True, [file], [uri.rpartition("/")[2]])
    if not storage.is_remote(uri):
        uri = uri.rstrip("/") or "/"
    files = storage.list_files(uri)
    if not files:
        what = "does not exist or holds no files" if storage.is_remote(uri) else "holds no files"
        raise UserError(f"{uri} {what}; give a ZIP file or a folder of class folders{_how_to_look(uri)}")
    # Local paths come back as pathlib writes them, without a leading "./" for example.
    folder = storage.join(uri).rstrip("/") + "/"
    names = [found.uri.removeprefix("" if folder == "./" else folder) for found in files]
    return Source(uri, False, files, names)


def fingerprint_source(uri: str) -> str:
    """Return a digest of what a source holds now, 64 hex digits.

    The launcher takes it at submission and passes it to ingest: cached steps run again when the bucket's content
    changed, and a run never trains on other data than was submitted. For objects it covers names, generations and
    sizes, for local files names and content. Files such as ``.DS_Store`` do not count.

    Raises:
        UserError: When nothing is there or it may not be read.
        TransientError: When Cloud Storage does not answer.
    """
    return fingerprint(find_source(uri))


def fingerprint(source: Source) -> str:
    """Return the digest that ``fingerprint_source`` describes of a source that was looked up already."""
    named = zip(source.names, source.files, strict=True)
    pairs = [(name, file) for name, file in named if source.zipped or not junk_reason(name)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        contents = pool.map(_content_identity, [file for _, file in pairs])
        digest = hashlib.sha256()
        for (name, _), content in zip(pairs, contents, strict=True):
            # Each field ends with a character that names cannot contain: no two sources give the same text.
            digest.update(f"{name}\0{content}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def require_fingerprint(source: Source, expected: str) -> str:
    """Return a source's fingerprint, and raise ``UserError`` when it is not the expected one; empty expects none."""
    found = fingerprint(source)
    if expected and found != expected:
        raise UserError(
            f"{source.uri} changed since this run was submitted (fingerprint {found[:12]}, not {expected[:12]}); "
            "submit again to use what it holds now"
        )
    return found


def _content_identity(file: StoredFile) -> str:
    if file.generation:
        return f"{file.generation} {file.size_bytes}"
    with storage.localized(file.uri) as path, Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _how_to_look(uri: str) -> str:
    bucket = "/".join(uri.split("/")[:3])
    return f"; see what there is with: gcloud storage ls {bucket}" if storage.is_remote(uri) else ""
