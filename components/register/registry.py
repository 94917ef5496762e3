"""One model's place in the registry: immutable bundles, and an index that many writers change safely.

    <registry>/<model name>/
      index.json                            Index: versions and aliases, changed by compare-and-swap
      versions/<version>/<content>/         a bundle, see components.formats.model_bundle

A bundle's folder is named by its own content, so all writers of one folder write the same bytes: whatever stopped an
earlier attempt, its leftovers are either completed exactly or left aside, never mixed with another attempt's files.
What a killed one left half-written in a local registry is deleted by a later one that registers.
(Two attempts at one version can differ in bytes that do not define the model, such as the time a file was saved.)
A version is what the index lists: the first complete bundle stays. Another one of the same version takes its place in
the index only where it is damaged, or where that one has everything that it has and an export besides.
"""

import dataclasses
import hashlib
import random
import re
import shlex
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath

from components import storage
from components.failures import TransientError, UserError
from components.formats.champion import CHAMPION, INDEX_FILE, Champion
from components.formats.model_bundle import (
    MANIFEST_FILE,
    DamagedBundleError,
    Manifest,
    fetch_bundle,
    read_bundle_file,
    read_manifest,
    verify_bundle,
    write_bundle,
)
from components.register.promotion_gate import Difference, Gate, NotCompared, Scores
from components.register.signatures import signature_uri
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
        self._registry_uri = registry_uri
        self._uri = storage.join(registry_uri, model_name)
        self._index_uri = storage.join(self._uri, INDEX_FILE)
        self._damages: dict[str, str] = {}  # by path of the bundles looked at, empty for a whole one

    def read_index(self) -> Index:
        """Return the index; an empty one when the model has no version yet.

        Raises:
            UserError: When it is damaged or may not be read.
        """
        return self._read_index()[0]

    def bundle_uri(self, record: VersionRecord) -> str:
        """Return where a version's bundle lies."""
        return storage.join(self._uri, record.path)

    def promotion(self, record: VersionRecord) -> str:
        """Return the command with which a person makes a version the champion."""
        words = ("python", "-m", "components.register", "promote", self._registry_uri, self.model_name, record.version)
        return shlex.join(words)

    def half_written(self) -> list[storage.StoredFile]:
        """Return what writers that were killed left half-written in a local registry, which nobody reads.

        Raises:
            UserError: When the registry may not be read.
        """
        return storage.abandoned_files(self._uri)

    def remove_half_written(self) -> int:
        """Delete it, and return how many bytes that freed. What a writer may still be at stays.

        Raises:
            UserError: When the registry may not be written.
        """
        return storage.remove_abandoned(self._uri, below=True)

    def place(self, manifest: Manifest, files: Mapping[str, bytes | Path], *, exports_work: bool) -> tuple[str, str]:
        """Make sure that a whole bundle of the version lies in the registry.

        One that was accepted is kept while it is whole and has all exports of this one; one that was rejected is not.

        Args:
            manifest: Of the files.
            files: Content, or a local file that holds it, by path inside the bundle.
            exports_work: Whether every export answers as the evaluated model does.

        Returns:
            Its path inside the registry, and in a sentence why it is not the bundle listed until now, or is that one
            all the same; empty when there is nothing to tell.

        Raises:
            UserError: When the registry may not be written, or these very files lie there and are damaged.
            TransientError: When it does not answer.
        """
        listed = self.read_index().find(manifest.version)
        path, told = bundle_path(manifest), ""
        if listed is not None and listed.accepted:
            replaced, told = self._decide(listed, manifest, exports_work=exports_work)
            if not replaced:
                return listed.path, told
        uri = storage.join(self._uri, path)
        write_bundle(uri, manifest, files)
        if listed is not None and listed.path == path:
            # Every file was there and is right, or was added; only what nobody registered can be wrong with it now.
            verify_bundle(uri)
            self._damages.pop(path, None)
        return path, told

    def verify(self, record: VersionRecord) -> Manifest:
        """Check every byte of a version's bundle, the manifest's own included: its digest is the folder's name.

        Raises:
            DamagedBundleError: When a file is missing, differs or is not in the manifest, naming it.
            TransientError: When the registry does not answer.
        """
        self._require_own_manifest(record)
        return verify_bundle(self.bundle_uri(record))

    def manifest(self, record: VersionRecord) -> Manifest:
        """Return what a version's bundle holds, as it was registered.

        Raises:
            DamagedBundleError: When it is another manifest by now, or none.
            TransientError: When the registry does not answer.
        """
        self._require_own_manifest(record)
        manifest = read_manifest(self.bundle_uri(record))
        if manifest is None:
            raise DamagedBundleError(f"{self.bundle_uri(record)} is damaged: {MANIFEST_FILE} is missing")
        return manifest

    def read_file(self, record: VersionRecord, path: str) -> bytes:
        """Return a small file of a version's bundle, as it was registered.

        Raises:
            DamagedBundleError: When it is missing or differs.
            TransientError: When the registry does not answer.
        """
        return read_bundle_file(self.bundle_uri(record), self.manifest(record), path)

    def fetch(self, record: VersionRecord, directory: Path) -> Manifest:
        """Copy a version's bundle into a new folder, every byte checked as by ``verify``.

        Raises:
            UserError: Likewise, or when the folder exists.
            TransientError: When the registry does not answer.
        """
        self._require_own_manifest(record)
        return fetch_bundle(self.bundle_uri(record), directory)

    def enter(
        self,
        record: VersionRecord,
        manifest: Manifest,
        gate: Gate,
        scores: Scores,
        beside: Callable[[Champion], Difference | NotCompared],
    ) -> tuple[Index, VersionRecord]:
        """List a version and move the aliases, see ``version_index.enter``.

        Args:
            record: The version, with the path that ``place`` returned.
            manifest: That was given to ``place``.
            gate: What is asked of it.
            scores: What it has to show.
            beside: Compares it with a champion with which its scores do not.

        Raises:
            UserError: When the index may not be written.
            TransientError: When others keep changing it.
        """

        def entered(index: Index) -> Index:
            listed, path, shown = index.find(record.version), record.path, scores
            if listed and listed.accepted and listed.path != path:
                # Somebody else was faster, with another bundle of the same version.
                working = not scores.broken_exports
                replaced = path == own and self._decide(listed, manifest, exports_work=working)[0]
                path = path if replaced else listed.path
            if path != own:
                # Its exports were tried when it was accepted; those made now are not in it.
                shown = dataclasses.replace(scores, broken_exports=())
            champion = index.find(index.aliases.get(CHAMPION))
            if champion and not (listed and listed.promoted):
                shown = dataclasses.replace(shown, beside=compared(champion))
            return enter(index, dataclasses.replace(record, path=path), gate, shown)[0]

        def compared(champion: VersionRecord) -> Difference | NotCompared:
            if champion.version not in known:
                uri = self.bundle_uri(champion)
                known[champion.version] = beside(Champion(champion.version, uri, champion.dataset_digest))
            return known[champion.version]

        own = bundle_path(manifest)
        known = {} if scores.beside is None else {scores.beside.champion: scores.beside}
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
            raise DamagedBundleError(
                f"{self.bundle_uri(record)} is damaged: {MANIFEST_FILE} is missing; register the model again"
            )
        if hashlib.sha256(found[0]).hexdigest()[:_CONTENT_DIGITS] != PurePosixPath(record.path).name:
            raise DamagedBundleError(
                f"{uri} is damaged: it is not the manifest that was registered; register the model again"
            )

    def _decide(self, listed: VersionRecord, manifest: Manifest, *, exports_work: bool) -> tuple[bool, str]:
        """Return whether another bundle takes the place of an accepted one, and why, in a sentence.

        Raises:
            UserError: When it should, for that one is damaged, and may not, for its own exports do not work.
        """
        if damage := self._damage(listed):
            if listed.promoted and not exports_work:
                raise UserError(
                    f"{damage}, and not every export made now answers as the model does: register it again with "
                    "exports that do"
                )
            if listed.path == bundle_path(manifest):
                return True, f"{damage}: it is completed"
            signed = "; sign it again" if self._is_signed(listed) else ""
            return True, f"{damage}: a new bundle takes its place{signed}"
        if listed.path == bundle_path(manifest):
            return False, ""
        kept = f"the bundle that was accepted is kept: {self.bundle_uri(listed)}"
        added, lost = _difference(manifest.exports, self.manifest(listed).exports)
        if not added:
            return False, kept
        if obstacle := self._obstacle(listed, lost, exports_work=exports_work):
            return False, f"{kept}; it has no {added}, and stays without: {obstacle}"
        return True, f"{added} is added: a new bundle takes the place of {self.bundle_uri(listed)}, which stays there"

    def _obstacle(self, listed: VersionRecord, lost: str, *, exports_work: bool) -> str:
        """Return why a whole bundle may not give way to one with more exports; empty when it may."""
        if not exports_work:
            return "not every export made now answers as the model does"
        if lost:
            return f"the new bundle would lack {lost}; let exports name them all"
        if self._is_signed(listed):
            signature = signature_uri(self.bundle_uri(listed))
            return f"it is signed; delete {signature}, register it again, and sign it again"
        return ""

    def _damage(self, record: VersionRecord) -> str:
        """Return what is wrong with a bundle, in words; empty when nothing is."""
        if record.path not in self._damages:
            try:
                self.verify(record)
            except DamagedBundleError as error:
                self._damages[record.path] = str(error).partition(";")[0]
            else:
                self._damages[record.path] = ""
        return self._damages[record.path]

    def _is_signed(self, record: VersionRecord) -> bool:
        return storage.stat_file(signature_uri(self.bundle_uri(record))) is not None


def _difference(new: Collection[str], old: Collection[str]) -> tuple[str, str]:
    """Return what only one of two has, in words."""
    return ", ".join(sorted(set(new) - set(old))), ", ".join(sorted(set(old) - set(new)))


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
