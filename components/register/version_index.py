"""The registry's index: which versions there are, what the gate said of each, and which one each alias names."""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from components.failures import UserError
from components.formats.champion import CHAMPION
from components.formats.model_bundle import json_bytes
from components.register.promotion_gate import Gate, Scores, rejections, stands_above

CANDIDATE = "candidate"
PREVIOUS = "previous"
PROMOTED = "promoted"
"""The state of a version that a person made the champion though the gate rejected it."""
ALIASES = (CANDIDATE, CHAMPION, PREVIOUS)

_SHORTEST_PREFIX = 4
_PATH = re.compile(r"versions/[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_KINDS: Mapping[Any, Any] = {
    str: str,
    float: int | float,
    float | None: int | float | None,
    bool: bool,
    tuple[str, ...]: tuple,
}
"""What a field of ``VersionRecord`` may hold, by its annotation: JSON has numbers, and not two kinds of them."""


class _NotWholeError(ValueError):
    """What is wrong with an index."""


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
        accuracy_low: Lower end of the accuracy's 95 % interval.
        accuracy_high: Its upper end.
        gate_passed: Whether the gate let it through; else it is rejected.
        gate_reason: What the gate said, in one sentence.
        gate_rejections: Why it is rejected, a sentence each; empty when it is not.
        promoted: Whether it has ever been the champion.
    """

    version: str
    path: str
    created: str
    accuracy: float
    dataset_digest: str
    run: str
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    gate_passed: bool = False
    gate_reason: str = ""
    gate_rejections: tuple[str, ...] = ()
    promoted: bool = False

    @property
    def accepted(self) -> bool:
        """Whether it may be served: the gate let it through, or a person did."""
        return self.gate_passed or self.promoted

    @property
    def state(self) -> str:
        """``accepted``, ``rejected``, or ``promoted``: rejected, and made the champion by a person; for people."""
        if self.gate_passed:
            return "accepted"
        return PROMOTED if self.promoted else "rejected"


@dataclasses.dataclass(frozen=True)
class Index:
    """What ``index.json`` says.

    Attributes:
        model_name: Name in the registry.
        versions: In the order they were first registered.
        aliases: Version by alias: ``candidate`` is the newest that was not rejected, ``champion`` the one to serve,
            ``previous`` the champion before it.
    """

    model_name: str
    versions: tuple[VersionRecord, ...]
    aliases: Mapping[str, str]

    def find(self, version: str | None) -> VersionRecord | None:
        """Return a version's record, None when it is not listed."""
        return next((record for record in self.versions if record.version == version), None)

    def named(self, name: str) -> VersionRecord:
        """Return the record that a person means: by version, by its first digits, or by alias.

        Raises:
            UserError: When there is none, or more than one.
        """
        version = self.aliases.get(name, name)
        if record := self.find(version):
            return record
        begun = [record for record in self.versions if record.version.startswith(version)]
        if len(version) >= _SHORTEST_PREFIX and len(begun) == 1:
            return begun[0]
        known = [*sorted(self.aliases), *(record.version for record in self.versions[-5:])]
        what = "names more than one version" if len(version) >= _SHORTEST_PREFIX and begun else "is no version or alias"
        raise UserError(f"{name!r} {what} of {self.model_name}: choose one of {', '.join(known) or 'none so far'}")

    def aliases_of(self, record: VersionRecord) -> list[str]:
        """Return the aliases that name a version, sorted."""
        return sorted(alias for alias, version in self.aliases.items() if version == record.version)

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
            index = cls(value["model_name"], tuple(map(_record, value["versions"])), dict(value["aliases"].items()))
            _require_whole(index)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f" ({error})" if isinstance(error, _NotWholeError) else ""
            raise UserError(f"{name} is damaged{reason}: restore it from an earlier copy, or move it away") from error
        return index


def enter(index: Index, record: VersionRecord, gate: Gate, scores: Scores) -> tuple[Index, VersionRecord]:
    """List a version, let it through the gate or reject it, and move the aliases.

    A version that passes becomes the candidate; and the champion too, unless that one did better on the images that
    both were tested on, or these are too few.
    Entering a version again changes nothing, except that one which has never been champion is judged anew, for the
    gate or the champion may be another one by now.

    Args:
        index: As it is.
        record: The version; what is already listed of it stays, but for its path.
        gate: What is asked of it.
        scores: What it has to show.

    Returns:
        The index as it should be, and the version's record in it.
    """
    known = index.find(record.version)
    if known is not None:
        record = dataclasses.replace(known, path=record.path)
    if record.promoted:
        return _with_record(index, record), record
    champion = index.aliases.get(CHAMPION)
    against = rejections(gate, scores, champion)
    if against:
        reason = "rejected: " + "; ".join(against)
        record = dataclasses.replace(record, gate_passed=False, gate_reason=reason, gate_rejections=tuple(against))
        index = _with_record(index, record)
        aliases = {alias: version for alias, version in index.aliases.items() if version != record.version}
        accepted = [listed.version for listed in index.versions if listed.accepted]
        if CANDIDATE in index.aliases and CANDIDATE not in aliases and accepted:
            aliases[CANDIDATE] = accepted[-1]
        return dataclasses.replace(index, aliases=aliases), record
    above, reason = stands_above(gate, scores, champion)
    newly_passed = known is None or not known.gate_passed
    record = dataclasses.replace(record, gate_passed=True, gate_reason=reason, gate_rejections=())
    index = _with_record(index, record)
    if newly_passed:
        index = dataclasses.replace(index, aliases={**index.aliases, CANDIDATE: record.version})
    return make_champion(index, record) if above else (index, record)


def make_champion(index: Index, record: VersionRecord) -> tuple[Index, VersionRecord]:
    """Make a listed version the champion, and the champion before it ``previous``.

    Returns:
        The index as it should be, and the version's record in it.
    """
    aliases = dict(index.aliases)
    record = dataclasses.replace(record, promoted=True)
    if aliases.get(CHAMPION) != record.version:
        if CHAMPION in aliases:
            aliases[PREVIOUS] = aliases[CHAMPION]
        aliases[CHAMPION] = record.version
    return _with_record(dataclasses.replace(index, aliases=aliases), record), record


def promote(index: Index, name: str, *, even_rejected: bool) -> Index:
    """Make the version that a person names the champion.

    Args:
        index: As it is.
        name: Version, its first digits, or alias.
        even_rejected: Take one that the gate rejected too.

    Raises:
        UserError: When there is no such version, or the gate rejected it.
    """
    record = index.named(name)
    if not (record.accepted or even_rejected):
        raise UserError(
            f"{record.version} was {record.gate_reason}; register it again with another gate, or add --even-rejected"
        )
    return make_champion(index, record)[0]


def rollback(index: Index) -> Index:
    """Make the previous champion the champion again, and the champion ``previous``.

    Raises:
        UserError: When there was no champion before.
    """
    previous = index.find(index.aliases.get(PREVIOUS))
    if previous is None:
        raise UserError(f"{index.model_name} has had no champion before this one: promote a version instead")
    return make_champion(index, previous)[0]


def _with_record(index: Index, record: VersionRecord) -> Index:
    if index.find(record.version) is None:
        return dataclasses.replace(index, versions=(*index.versions, record))
    versions = tuple(record if old.version == record.version else old for old in index.versions)
    return dataclasses.replace(index, versions=versions)


def _require_whole(index: Index) -> None:
    """Raise unless records and aliases are such as are written here: what follows trusts paths and versions."""
    versions = {record.version for record in index.versions}
    if len(versions) < len(index.versions):
        raise _NotWholeError("it lists a version twice")
    for record in index.versions:
        for field in dataclasses.fields(record):
            kind = _KINDS[field.type]
            found = getattr(record, field.name)
            if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
                raise _NotWholeError(f"{field.name} of a version is {found!r}")
        if not _PATH.fullmatch(record.path) or record.path.split("/")[1] != record.version:
            raise _NotWholeError(f"the path of version {record.version!r} is {record.path!r}")
        if not all(0.0 <= share <= 1.0 for share in _shares(record)):
            raise _NotWholeError(f"the accuracy of version {record.version} is not from 0 to 1")
    for alias, version in index.aliases.items():
        if version not in versions:
            raise _NotWholeError(f"{alias} names {version!r}, which is not listed")


def _shares(record: VersionRecord) -> list[float]:
    shares = (record.accuracy, record.accuracy_low, record.accuracy_high)
    return [share for share in shares if share is not None]


def _record(value: dict[str, Any]) -> VersionRecord:
    # Before there were rejections, only a champion had passed the gate.
    promoted = value.get("promoted", value.get("gate_passed", False))
    rejected = tuple(map(str, value.get("gate_rejections", ())))
    return VersionRecord(**(value | {"promoted": promoted, "gate_rejections": rejected}))
