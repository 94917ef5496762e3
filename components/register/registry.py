"""One model's place in the registry: immutable bundles, and an index that many writers change safely.

    <registry>/<model name>/
      index.json                            Index: versions and aliases, changed by compare-and-swap
      versions/<version>/<content>/         a bundle, see components.formats.model_bundle

A bundle's folder is named by its own content, so all writers of one folder write the same bytes: whatever stopped an
earlier attempt, its leftovers are either completed exactly or left aside, never mixed with another attempt's files.
(Two attempts at one version can differ in bytes that do not define the model, such as the time a file was saved.)
A version is what the index lists: the first complete bundle stays.
"""

import dataclasses
import hashlib
import random
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from components import storage
from components.failures import TransientError, UserError
from components.formats.champion import INDEX_FILE
from components.formats.model_bundle import (
    MANIFEST_FILE,
    Manifest,
    fetch_bundle,
    read_manifest,
    verify_bundle,
    write_bundle,
)
from components.register.promotion_gate import Gate, Scores
from components.register.version_index import Index, VersionRecord, enter

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_CONTENT_DIGITS = 12
_ATTEMPTS = 60
_LONGEST_PAUSE_SECONDS = 2.0


def bundle_path(manifest: Manifest) -> str:
    """Return where in the registry a bundle of exactly these files lies."""
    content = hashlib.sha256(manifest.to_bytes()).hexdigest()[:_CONTENT_DIGITS]
    return f"versions/{manifest.version}/{content}"


class ModelRegistry:
    """The versions of one model.

    Args:
        registry_uri: ``gs://bucket/prefix`` or a local folder.
        model_name: Letters, digits, ``.``, ``_`` and ``-``, at most 63.

    Raises:
        UserError: When either is malformed.
    """

    def __init__(self, registry_uri: str, model_name: str) -> None:
        if not registry_uri.strip():
            raise UserError("registry_uri is empty: give a gs:// URI or a local folder")
        if not _MODEL_NAME.fullmatch(model_name):
            raise UserError(
                f"model_name is {model_name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or "
                "digit, at most 63"
            )
        if not storage.is_remote(registry_uri):
            if "://" in registry_uri:
                raise UserError(f"registry_uri is {registry_uri}: give a gs:// URI or a local folder")
            registry_uri = str(Path(registry_uri).absolute())
        self.model_name = model_name
        self._uri = storage.join(registry_uri, model_name)
        self._index_uri = storage.join(self._uri, INDEX_FILE)

    def read_index(self) -> Index:
        """Return the index; an empty one when the model has no version yet.

        Raises:
            UserError: When it is damaged or may not be read.
        """
        return self._read_index()[0]

    def bundle_uri(self, record: VersionRecord) -> str:
        """Return where a version's bundle lies."""
        return storage.join(self._uri, record.path)

    def place(self, manifest: Manifest, files: Mapping[str, bytes | Path]) -> str:
        """Make sure that a complete bundle of the version lies in the registry and return its path inside it.

        One that was accepted is kept, whatever this one holds besides the model; one that was rejected is not.

        Raises:
            UserError: When the registry may not be written.
            TransientError: When it does not answer.
        """
        listed = self.read_index().find(manifest.version)
        if listed is not None and listed.accepted and self._is_complete(listed):
            return listed.path
        path = bundle_path(manifest)
        write_bundle(storage.join(self._uri, path), manifest, files)
        return path

    def verify(self, record: VersionRecord) -> Manifest:
        """Check every byte of a version's bundle, the manifest's own included: its digest is the folder's name.

        Raises:
            UserError: When a file is missing, differs or is not in the manifest, naming it.
            TransientError: When the registry does not answer.
        """
        self._require_own_manifest(record)
        return verify_bundle(self.bundle_uri(record))

    def fetch(self, record: VersionRecord, directory: Path) -> Manifest:
        """Copy a version's bundle into a new folder, every byte checked as by ``verify``.

        Raises:
            UserError: Likewise, or when the folder exists.
            TransientError: When the registry does not answer.
        """
        self._require_own_manifest(record)
        return fetch_bundle(self.bundle_uri(record), directory)

    def enter(self, record: VersionRecord, gate: Gate, scores: Scores) -> tuple[Index, VersionRecord]:
        """List a version and move the aliases, see ``version_index.enter``.

        Raises:
            UserError: When the index may not be written.
            TransientError: When others keep changing it.
        """

        def entered(index: Index) -> Index:
            listed = index.find(record.version)
            if listed and listed.path != record.path and listed.accepted and self._is_complete(listed):
                # Its exports were tried when it was accepted; those made now are not in it.
                kept = dataclasses.replace(record, path=listed.path)
                return enter(index, kept, gate, dataclasses.replace(scores, broken_exports=()))[0]
            return enter(index, record, gate, scores)[0]

        index = self.change(entered)
        return index, index.named(record.version)

    def change(self, change: Callable[[Index], Index]) -> Index:
        """Change the index by compare-and-swap and return it: what others wrote meanwhile is looked at, never lost.

        Args:
            change: From the index as it is to the index as it should be; called again when others were faster.

        Raises:
            UserError: When the index may not be written.
            TransientError: When others keep changing it.
        """
        for attempt in range(_ATTEMPTS):
            index, stored_version = self._read_index()
            changed = change(index)
            if changed == index or storage.write_if_unchanged(self._index_uri, changed.to_bytes(), stored_version):
                return changed
            time.sleep(random.uniform(0.0, min(_LONGEST_PAUSE_SECONDS, 0.02 * 2**attempt)))  # noqa: S311  no secret
        raise TransientError(f"{self._index_uri} was changed by others {_ATTEMPTS} times in a row: try again later")

    def _read_index(self) -> tuple[Index, int]:
        found = storage.read_versioned(self._index_uri)
        if found is None:
            return Index(self.model_name, (), {}), 0
        return Index.from_bytes(found[0], self._index_uri), found[1]

    def _require_own_manifest(self, record: VersionRecord) -> None:
        uri = storage.join(self.bundle_uri(record), MANIFEST_FILE)
        found = storage.read_versioned(uri)
        if found is None:
            raise UserError(f"{self.bundle_uri(record)} is damaged: {MANIFEST_FILE} is missing")
        if hashlib.sha256(found[0]).hexdigest()[:_CONTENT_DIGITS] != PurePosixPath(record.path).name:
            raise UserError(f"{uri} is damaged: it is not the manifest that was registered")

    def _is_complete(self, record: VersionRecord) -> bool:
        return read_manifest(self.bundle_uri(record)) is not None


def model_names(registry_uri: str) -> list[str]:
    """Return the names of the models in a registry, sorted.

    Raises:
        UserError: When it does not exist or may not be read.
    """
    ModelRegistry(registry_uri, "any")  # refuses what is no registry
    # Bundles hold folders of their own: an index lies exactly one level down.
    base = registry_uri.rstrip("/") if storage.is_remote(registry_uri) else str(Path(registry_uri).absolute())
    files = storage.list_files(base)
    paths = (PurePosixPath(file.uri[len(base) :].lstrip("/")) for file in files)
    return sorted(path.parts[0] for path in paths if len(path.parts) == 2 and path.name == INDEX_FILE)
