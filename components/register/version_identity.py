"""Which version a model is: a digest of what defines it, so that the same model is never registered twice."""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.failures import UserError

VERSION_DIGITS = 12
"""Of a SHA-256, hexadecimal: 48 bits, enough for the versions of one model."""

_METADATA_MEMBER = "metadata.json"
_CONFIGURATION_MEMBER = "config.json"
_WEIGHTS_MEMBER = "model.weights.h5"


def keras_content_sha256(keras_file: Path) -> str:
    """Return a digest of what a ``.keras`` file holds: configuration and weights, not when it was saved.

    The file is a ZIP with times in its headers, a date in ``metadata.json`` and addresses of the process's memory in
    ``config.json``; saving one model twice gives different files.

    Raises:
        UserError: When the file is no ``.keras`` file.
    """
    digest = hashlib.sha256()
    for name, data in sorted(_members(keras_file).items()):
        content = data
        if name == _METADATA_MEMBER:
            metadata = {key: value for key, value in json.loads(data).items() if key != "date_saved"}
            content = json.dumps(metadata, sort_keys=True).encode()
        elif name == _CONFIGURATION_MEMBER:
            content = _without_addresses(data)
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _without_addresses(configuration: bytes) -> bytes:
    """Number the objects that layers share as they appear; Keras numbers them by where they lay in memory."""
    numbers: dict[int, int] = {}

    def renumber(item: dict[str, Any]) -> dict[str, Any]:
        if "shared_object_id" in item:
            item["shared_object_id"] = numbers.setdefault(item["shared_object_id"], len(numbers))
        return item

    return json.dumps(json.loads(configuration, object_hook=renumber), sort_keys=True).encode()


def weights_sha256(keras_file: Path) -> str:
    """Return the SHA-256 of the weights inside a ``.keras`` file.

    Raises:
        UserError: When the file is no ``.keras`` file.
    """
    return hashlib.sha256(_members(keras_file)[_WEIGHTS_MEMBER]).hexdigest()


def version_of(
    content_sha256: str, class_names: Sequence[str], preprocessing: Mapping[str, Any], dataset_digest: str
) -> str:
    """Return the version of a model.

    Args:
        content_sha256: From ``keras_content_sha256``.
        class_names: In label order.
        preprocessing: The contract of ``preprocessing.json``.
        dataset_digest: Of the splits it was trained and tested on.
    """
    identity = {
        "model": content_sha256,
        "class_names": list(class_names),
        "preprocessing": dict(preprocessing),
        "dataset": dataset_digest,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:VERSION_DIGITS]


def _members(keras_file: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(keras_file) as archive:
            members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{keras_file.name} is missing or damaged: give the output of a training step") from error
    if not {_METADATA_MEMBER, _WEIGHTS_MEMBER} <= members.keys():
        raise UserError(f"{keras_file.name} is no Keras model: give the output of a training step")
    return members
