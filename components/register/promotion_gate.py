"""The registry's index and the gate: which version is listed, and which one is the champion."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from components.failures import UserError
from components.formats.model_bundle import json_bytes

CANDIDATE = "candidate"
CHAMPION = "champion"
PREVIOUS = "previous"


@dataclasses.dataclass(frozen=True)
class VersionRecord:
    """One version in the index.

    Attributes:
        version: Identity of the model.
        path: Of its bundle, inside the model's folder.
        created: When it was first registered, UTC, ISO 8601.
        accuracy: On its test split, [0, 1].
        dataset_digest: Of the splits it was trained and tested on.
        run: The pipeline run that registered it first.
        gate_passed: Whether it has ever become the champion.
        gate_reason: Why, or why not.
    """

    version: str
    path: str
    created: str
    accuracy: float
    dataset_digest: str
    run: str
    gate_passed: bool = False
    gate_reason: str = ""


@dataclasses.dataclass(frozen=True)
class Index:
    """What ``index.json`` says.

    Attributes:
        model_name: Name in the registry.
        versions: In the order they were first registered.
        aliases: Version by alias: ``candidate`` is the newest, ``champion`` the best that passed the gate,
            ``previous`` the champion before it.
    """

    model_name: str
    versions: tuple[VersionRecord, ...]
    aliases: Mapping[str, str]

    def find(self, version: str | None) -> VersionRecord | None:
        """Return a version's record, None when it is not listed."""
        return next((record for record in self.versions if record.version == version), None)

    def to_bytes(self) -> bytes:
        """Return the content of ``index.json``."""
        value = {"versions": [dataclasses.asdict(record) for record in self.versions], "aliases": dict(self.aliases)}
        return json_bytes({"model_name": self.model_name} | value)

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "Index":
        """Parse ``index.json``.

        Args:
            data: Its content.
            name: What to call it in an error.

        Raises:
            UserError: When it is damaged.
        """
        try:
            value: dict[str, Any] = json.loads(data)
            versions = tuple(VersionRecord(**record) for record in value["versions"])
            return cls(value["model_name"], versions, {str(k): str(v) for k, v in value["aliases"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{name} is damaged: restore it from an earlier copy, or move it away") from error


def enter(index: Index, record: VersionRecord, minimum_accuracy: float) -> tuple[Index, VersionRecord]:
    """List a version, let it through the gate or not, and move the aliases.

    Entering a version again changes nothing, except that one which has never been champion is judged anew, for the
    minimum or the champion may be another one by now.

    Args:
        index: As it is.
        record: The version; what is already listed of it stays, but for its path.
        minimum_accuracy: The least test accuracy of a champion, [0, 1].

    Returns:
        The index as it should be, and the version's record in it.
    """
    aliases = dict(index.aliases)
    known = index.find(record.version)
    if known is None:
        aliases[CANDIDATE] = record.version
    else:
        record = dataclasses.replace(known, path=record.path)
    if not record.gate_passed:
        passed, reason = judge(index, record, minimum_accuracy)
        record = dataclasses.replace(record, gate_passed=passed, gate_reason=reason)
        if passed:
            if CHAMPION in aliases:
                aliases[PREVIOUS] = aliases[CHAMPION]
            aliases[CHAMPION] = record.version
    if known is None:
        versions = (*index.versions, record)
    else:
        versions = tuple(record if old.version == record.version else old for old in index.versions)
    return Index(index.model_name, versions, aliases), record


def judge(index: Index, record: VersionRecord, minimum_accuracy: float) -> tuple[bool, str]:
    """Return whether a version should become the champion, and why.

    Accuracies are compared only on the same dataset, so on the same test images.
    """
    accuracy = f"test accuracy {record.accuracy:.4f}"
    if record.accuracy < minimum_accuracy:
        return False, f"{accuracy} is below the required {minimum_accuracy:.4f}"
    champion = index.find(index.aliases.get(CHAMPION))
    reached = f"{accuracy} reaches the required {minimum_accuracy:.4f}"
    if champion is None:
        return True, f"{reached}; there was no champion"
    if champion.dataset_digest != record.dataset_digest:
        return True, f"{reached}; champion {champion.version} was tested on other images, so they are not compared"
    if record.accuracy < champion.accuracy:
        return (
            False,
            f"{accuracy} is below the {champion.accuracy:.4f} of champion {champion.version} on the same images",
        )
    return True, f"{reached} and is not below the {champion.accuracy:.4f} of champion {champion.version}"
