"""Register a model: collect its bundle, place it in the registry, list it, and say what became of it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components import storage
from components.failures import UserError
from components.formats.champion import CHAMPION
from components.formats.model_bundle import MODEL_CARD_PAGE, Manifest, describe_files, read_manifest
from components.publishing import published_directory, published_file, write_json
from components.register.bundle_content import collect_bundle
from components.register.card_verdict import gate_verdict, page_with_verdict
from components.register.lineage import Origin
from components.register.other_registries import announce, other_registry
from components.register.promotion_gate import Gate, check_floors
from components.register.registry import ModelRegistry
from components.register.version_index import VersionRecord

ENTRY_FILE = "entry.json"


@dataclasses.dataclass(frozen=True)
class Registration:
    """Where a version lies and what became of it.

    Attributes:
        uri: Of the bundle.
        version: Identity of the model.
        accuracy: On the test split, [0, 1].
        rejected: Why the gate rejects it, a sentence each; empty when it does not.
        champion: Whether it is the champion now.
        versions: How many versions the model has.
    """

    uri: str
    version: str
    accuracy: float
    rejected: tuple[str, ...]
    champion: bool
    versions: int


def register_model(
    model: Path,
    evaluation: Path,
    splits: Path,
    exports: Path,
    decisions: Path | None = None,
    *,
    registry_uri: str,
    model_name: str,
    gate: Gate,
    origin: Origin,
    created: str,
    entry: Path,
    card: Path,
    other_registries: Sequence[str] = (),
) -> Registration:
    """Register a trained and evaluated model. Registering it again gives the same version and changes nothing.

    Args:
        model: Folder of the trained model.
        evaluation: Folder of its evaluation.
        splits: Folder of the splits of both.
        exports: Folder of its exports, from ``model_exports.write_exports``.
        decisions: Folder of what cleaning decided about the images; None when there was no cleaning.
        registry_uri: ``gs://bucket/prefix`` or a local folder.
        model_name: Name in the registry.
        gate: What is asked of the model; one that does not pass is registered as rejected, with the reasons.
        origin: Where it comes from.
        created: The time, UTC, ISO 8601; kept only for a new version.
        entry: Folder to publish, with ``entry.json``.
        card: HTML file to publish: the model card of the bundle, the gate's verdict at its top.
        other_registries: Who else is told of the version, ``mlflow:http://mlflow:5000`` for example.

    Raises:
        UserError: When a setting is wrong or the inputs do not belong together.
        TransientError: When the registry does not answer.
    """
    registry = ModelRegistry(registry_uri, model_name)
    told = [other_registry(target) for target in other_registries]
    content = collect_bundle(model, evaluation, splits, exports, decisions, model_name=model_name, origin=origin)
    check_floors(gate.class_recall_floors, content.scores.recalls, "this model")
    manifest = Manifest(model_name, content.version, describe_files(content.files))
    size_mb = sum(file.size_bytes for file in manifest.files) / 1e6
    print(f"register: version {content.version}, {len(manifest.files)} files, {size_mb:.1f} MB", flush=True)
    try:
        scores = content.scores
        if freed := registry.remove_half_written():
            print(f"register: removed {freed:,} bytes that killed attempts left half-written", flush=True)
        place, note = registry.place(manifest, content.files, exports_work=not scores.broken_exports)
        if note:
            print(f"register: {note}", flush=True)
        record = VersionRecord(
            version=content.version,
            path=place,
            created=created,
            accuracy=content.scores.accuracy,
            dataset_digest=content.dataset_digest,
            run=origin.pipeline_run,
            accuracy_low=content.scores.accuracy_low,
            accuracy_high=content.scores.accuracy_high,
        )
        index, record = registry.enter(record, manifest, gate, scores, content.beside)
    except OSError as error:
        # A read-only file system, for example: pods have one as their root.
        raise UserError(f"the registry {registry_uri} cannot be written: {error}; give another registry_uri") from error
    uri = registry.bundle_uri(record)
    aliases = index.aliases_of(record)
    print(f"register: {uri} ({', '.join(aliases) or 'no alias'}): {record.gate_reason}", flush=True)
    if record.accepted and not record.promoted:
        print(f"register: to make it the champion all the same: {registry.promotion(record)}", flush=True)
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
                **dataclasses.asdict(gate),
                "passed": record.gate_passed,
                "reason": record.gate_reason,
                "rejections": list(record.gate_rejections),
            },
            "files": [dataclasses.asdict(file) for file in (stored or manifest).files],
        },
    )
    page = storage.read_bytes(storage.join(uri, MODEL_CARD_PAGE)).decode("utf-8")
    with published_file(card) as path:
        path.write_text(page_with_verdict(page, gate_verdict(record, aliases)), encoding="utf-8")
    for other in told:
        name = announce(other, registry, {record.version})[record.version]
        print(f"register: {type(other).__name__} knows it as {name}", flush=True)
    champion = CHAMPION in aliases
    return Registration(uri, record.version, record.accuracy, record.gate_rejections, champion, len(index.versions))


def _write_entry(destination: Path, value: dict[str, Any]) -> None:
    with published_directory(destination) as directory:
        write_json(directory / ENTRY_FILE, value)
