"""Register a model: collect its bundle, place it in the registry, list it, and say what became of it."""

import dataclasses
from pathlib import Path
from typing import Any

from components.failures import UserError
from components.formats.model_bundle import Manifest, describe_files, read_manifest
from components.publishing import published_directory, write_json
from components.register.bundle_content import collect_bundle
from components.register.promotion_gate import CHAMPION, VersionRecord
from components.register.registry import ModelRegistry

ENTRY_FILE = "entry.json"


@dataclasses.dataclass(frozen=True)
class Registration:
    """Where a version lies and what became of it.

    Attributes:
        uri: Of the bundle.
        version: Identity of the model.
        accuracy: On the test split, [0, 1].
        champion: Whether it is the champion now.
        versions: How many versions the model has.
    """

    uri: str
    version: str
    accuracy: float
    champion: bool
    versions: int


def register_model(
    model: Path,
    evaluation: Path,
    splits: Path,
    *,
    registry_uri: str,
    model_name: str,
    minimum_accuracy: float,
    source: str,
    pipeline_run: str,
    created: str,
    entry: Path,
) -> Registration:
    """Register a trained and evaluated model. Registering it again gives the same version and changes nothing.

    Args:
        model: Folder of the trained model.
        evaluation: Folder of its evaluation.
        splits: Folder of the splits of both.
        registry_uri: ``gs://bucket/prefix`` or a local folder.
        model_name: Name in the registry.
        minimum_accuracy: The least test accuracy of a champion, [0, 1].
        source: Where the images came from.
        pipeline_run: Name of the run.
        created: The time, UTC, ISO 8601; kept only for a new version.
        entry: Folder to publish, with ``entry.json``.

    Raises:
        UserError: When a setting is wrong or the inputs do not belong together.
        TransientError: When the registry does not answer.
    """
    check_minimum_accuracy(minimum_accuracy)
    registry = ModelRegistry(registry_uri, model_name)
    content = collect_bundle(model, evaluation, splits, model_name=model_name, source=source, pipeline_run=pipeline_run)
    manifest = Manifest(model_name, content.version, describe_files(content.files))
    size_mb = sum(file.size_bytes for file in manifest.files) / 1e6
    print(f"register: version {content.version}, {len(manifest.files)} files, {size_mb:.1f} MB", flush=True)
    try:
        record = VersionRecord(
            version=content.version,
            path=registry.place(manifest, content.files),
            created=created,
            accuracy=content.evaluation.accuracy,
            dataset_digest=content.evaluation.dataset_digest,
            run=pipeline_run,
        )
        index, record = registry.enter(record, minimum_accuracy)
    except OSError as error:
        # A read-only file system, for example: pods have one as their root.
        raise UserError(f"the registry {registry_uri} cannot be written: {error}; give another registry_uri") from error
    uri = registry.bundle_uri(record)
    aliases = sorted(alias for alias, version in index.aliases.items() if version == record.version)
    print(f"register: {uri} ({', '.join(aliases) or 'no alias'}): {record.gate_reason}", flush=True)
    stored = read_manifest(uri)
    _write_entry(
        entry,
        {
            "model_name": model_name,
            "version": record.version,
            "uri": uri,
            "created": record.created,
            "aliases": aliases,
            "accuracy": record.accuracy,
            "gate": {
                "minimum_accuracy": minimum_accuracy,
                "passed": record.gate_passed,
                "reason": record.gate_reason,
            },
            "files": [dataclasses.asdict(file) for file in (stored or manifest).files],
        },
    )
    return Registration(uri, record.version, record.accuracy, CHAMPION in aliases, len(index.versions))


def check_minimum_accuracy(minimum_accuracy: float) -> None:
    """Raise ``UserError`` when the least accuracy of a champion is not in [0, 1]."""
    if not 0.0 <= minimum_accuracy <= 1.0:
        raise UserError(f"minimum_accuracy is {minimum_accuracy}: give a number from 0 to 1")


def _write_entry(destination: Path, value: dict[str, Any]) -> None:
    with published_directory(destination) as directory:
        write_json(directory / ENTRY_FILE, value)
