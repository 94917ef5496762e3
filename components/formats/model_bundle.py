"""The model bundle: everything needed to serve, judge and trace one version of a model, checksummed.

The folder, local or in Cloud Storage:

    <bundle>/
      model.keras            takes images in [0, 255], gives probabilities; as all exports do, calibrated ones where
                             apply_temperature said so: preprocessing.json tells the temperature
      saved_model/1/         TF Serving layout, takes raw image bytes; when asked for, as the next two
      *.h5                   older HDF5 format
      model.tflite           weights in float16; takes what model.keras takes
      model.onnx             likewise in float32
      golden_batch.json      a predict request of test images, and what must be answered
      exports.json           temperature, how far each export's answers to that are from the evaluated ones, and the
                             SavedModel's answers to files as they were in the source
      labels.json            {"class_names": [...]} in label order
      labels.txt             one class name a line, for tools that expect it
      preprocessing.json     what an image must look like, and what happens inside the model
      metrics.json           components.formats.evaluation
      per_class.csv          likewise
      predictions.parquet    likewise, without the probabilities of every class where they would be large
      slices.csv             likewise
      confusion_matrix.png, roc.png, curves.png, reliability.png
      history.csv            components.formats.trained_model
      lineage.json           source, dataset, training settings, digests, code revision, hardware
      packages.txt           what was installed where it was registered, name==version
      README.md              the model card
      model_card.html        the same as a page
      manifest.json          Manifest; written last: a folder without it is no bundle

Files are created and never replaced. Names that begin with a dot are leftovers of an interrupted writer.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from components import storage
from components.failures import TransientError, UserError
from components.publishing import published_directory

MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden_batch.json"
EXPORTS_FILE = "exports.json"
LABELS_FILE = "labels.json"
LABELS_TEXT_FILE = "labels.txt"
PREPROCESSING_FILE = "preprocessing.json"
LINEAGE_FILE = "lineage.json"
PACKAGES_FILE = "packages.txt"
MODEL_CARD_FILE = "README.md"
MODEL_CARD_PAGE = "model_card.html"

_EXPORT_SUFFIXES = {".h5", ".tflite", ".onnx"}
_SAVED_MODEL = "saved_model"


class DamagedBundleError(UserError):
    """A bundle is not what was registered: a file is missing, differs, or is not in its manifest."""


@dataclasses.dataclass(frozen=True)
class BundleFile:
    """One file of a bundle.

    Attributes:
        path: POSIX, inside the bundle.
        size_bytes: Of its content.
        sha256: Of its content, hexadecimal.
    """

    path: str
    size_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says.

    Attributes:
        model_name: Name in the registry.
        version: Identity of the model: same weights, classes, preprocessing and dataset, same version.
        files: Every other file of the bundle, by path.
    """

    model_name: str
    version: str
    files: list[BundleFile]

    def to_bytes(self) -> bytes:
        """Return the content of ``manifest.json``, the same bytes each time."""
        return json_bytes(dataclasses.asdict(self))

    @property
    def exports(self) -> set[str]:
        """What there is besides ``model.keras``: ``saved_model``, and the names of files in other formats."""
        paths = [PurePosixPath(file.path) for file in self.files]
        return {path.parts[0] for path in paths if path.suffix in _EXPORT_SUFFIXES or path.parts[0] == _SAVED_MODEL}


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return ``value`` as indented strict JSON, the same bytes each time.

    Raises:
        ValueError: When ``value`` holds a float that is not finite.
    """
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def describe_files(files: Mapping[str, bytes | Path]) -> list[BundleFile]:
    """Return size and digest of each file, by path.

    Args:
        files: Content, or a local file that holds it, by path inside the bundle.
    """
    return [_describe(path, files[path]) for path in sorted(files)]


def write_bundle(location: str, manifest: Manifest, files: Mapping[str, bytes | Path]) -> None:
    """Create a bundle's files where they do not exist yet, the manifest last.

    Any number of writers of the same bundle may run at once or be stopped and started again.

    Args:
        location: Local folder or ``gs://`` prefix.
        manifest: From ``describe_files`` of the same files.
        files: Content, or a local file that holds it, by path inside the bundle.

    Raises:
        UserError: When the location may not be written, or a file of that name holds other bytes.
        TransientError: When Cloud Storage does not answer.
    """
    for file in manifest.files:
        _create(location, file, files[file.path])
    _create(location, _describe(MANIFEST_FILE, manifest.to_bytes()), manifest.to_bytes())


def read_manifest(location: str) -> Manifest | None:
    """Read a bundle's manifest, or None when there is none, so no bundle either.

    Raises:
        DamagedBundleError: When the manifest is damaged.
    """
    found = storage.read_versioned(storage.join(location, MANIFEST_FILE))
    if found is None:
        return None
    try:
        value = json.loads(found[0])
        manifest = Manifest(value["model_name"], value["version"], [BundleFile(**file) for file in value["files"]])
        size_bytes = sum(file.size_bytes for file in manifest.files)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedBundleError(
            f"{location} is damaged: {MANIFEST_FILE} is not a manifest; register the model again"
        ) from error
    for file in manifest.files:
        path = PurePosixPath(str(file.path))
        if path.is_absolute() or ".." in path.parts or str(path) != file.path:
            raise DamagedBundleError(f"{location} is not to be trusted: its manifest names the path {file.path!r}")
    if not isinstance(size_bytes, int):
        raise DamagedBundleError(f"{location} is damaged: {MANIFEST_FILE} tells no sizes; register the model again")
    return manifest


def read_bundle_file(location: str, manifest: Manifest, path: str) -> bytes:
    """Read a small file of a bundle, its bytes checked.

    Args:
        location: Local folder or ``gs://`` prefix.
        manifest: Of the bundle.
        path: Of the file, inside the bundle.

    Raises:
        DamagedBundleError: When the file is missing or differs.
        TransientError: When Cloud Storage does not answer.
    """
    file = next((file for file in manifest.files if file.path == path), None)
    found = None if file is None else storage.read_versioned(storage.join(location, path))
    if found is None:
        raise DamagedBundleError(f"{location} is damaged: {path} is missing; register the model again")
    if _describe(path, found[0]) != file:
        raise _differing(location, path)
    return found[0]


def verify_bundle(location: Path | str) -> Manifest:
    """Check every byte of a bundle against its manifest.

    Args:
        location: Local folder or ``gs://`` prefix.

    Returns:
        The manifest.

    Raises:
        DamagedBundleError: When a file is missing, differs or is not in the manifest, naming it.
        TransientError: When Cloud Storage does not answer.
    """
    location = str(location)
    manifest = read_manifest(location)
    if manifest is None:
        raise DamagedBundleError(f"{location} is no model bundle: it has no {MANIFEST_FILE}")
    known = {storage.join(location, file.path): file for file in manifest.files}
    stored = {file.uri: file for file in storage.list_files(location)}
    for uri, file in known.items():
        if uri not in stored:
            raise DamagedBundleError(f"{location} is damaged: {file.path} is missing; register the model again")
        if stored[uri].size_bytes != file.size_bytes or _stored_sha256(uri) != file.sha256:
            raise _differing(location, file.path)
    for uri in sorted(stored.keys() - known.keys() - {storage.join(location, MANIFEST_FILE)}):
        if not uri.rsplit("/", 1)[-1].startswith("."):
            raise DamagedBundleError(
                f"{location} is not to be trusted: {uri} is not in its {MANIFEST_FILE}; delete it, nobody registered it"
            )
    return manifest


def fetch_bundle(location: str, directory: Path) -> Manifest:
    """Copy a bundle into a new folder, every byte of it checked against the manifest: how to load a model.

    Args:
        location: Local folder or ``gs://`` prefix.
        directory: To be made; whole or not at all.

    Returns:
        The manifest.

    Raises:
        UserError: When a file is missing or differs, naming it, or the folder exists.
        TransientError: When Cloud Storage does not answer, or the disk is full.
    """
    if directory.exists():
        raise UserError(f"{directory} exists: give a new folder")
    manifest = read_manifest(location)
    if manifest is None:
        raise UserError(f"{location} is no model bundle: it has no {MANIFEST_FILE}")
    with _room_for(directory, manifest), published_directory(directory) as aside:
        for file in manifest.files:
            target = aside / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with storage.localized(storage.join(location, file.path)) as path:
                shutil.copyfile(path, target)
            if _describe(file.path, target) != file:
                raise _differing(location, file.path)
        (aside / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    return manifest


@contextlib.contextmanager
def _room_for(directory: Path, manifest: Manifest) -> Iterator[None]:
    """Say which disk is full: copying a file blames the one it reads, writing one blames none."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        size_mb = sum(file.size_bytes for file in manifest.files) / 1e6
        raise TransientError(
            f"the disk of {directory} is full: the bundle takes {size_mb:,.1f} MB; make room, or name a folder on "
            "another disk"
        ) from error


def _differing(location: str, path: str) -> DamagedBundleError:
    return DamagedBundleError(
        f"{location} is damaged: {path} differs from its SHA-256 in {MANIFEST_FILE}; register the model again"
    )


def _create(location: str, file: BundleFile, data: bytes | Path) -> None:
    uri = storage.join(location, file.path)
    if not storage.write_if_absent(uri, data) and _stored_sha256(uri) != file.sha256:
        raise UserError(f"{uri} exists and holds other bytes than it should: delete it and register again")


def _describe(path: str, data: bytes | Path) -> BundleFile:
    if isinstance(data, Path):
        with data.open("rb") as stream:
            return BundleFile(path, data.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())
    return BundleFile(path, len(data), hashlib.sha256(data).hexdigest())


def _stored_sha256(uri: str) -> str:
    with storage.localized(uri) as path:
        return _describe("", path).sha256
