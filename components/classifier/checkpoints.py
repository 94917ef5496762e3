"""Checkpoints of a training phase: kept in Cloud Storage or a local folder, found again by an attempt that starts over.

A folder belongs to one phase of one training::

    <checkpoint_uri>/fine_tune-5b0c.../
      newest.json                            names the checkpoints to go on from, newest first; ``of`` says what they
                                             belong to
      epoch-0004-000120-1f3a...-9c2e....npz  immutable: epochs that were finished, batches of the next one, the attempt
      epoch-0004-000000-1f3a...-04b7....npz  that wrote it, the digest of its bytes

A checkpoint is written whole under a name of its own before ``newest.json`` names it, and the one before stays:
whatever stops an attempt, and whatever an older one of the same run still does, a whole checkpoint remains. The files
hold arrays and JSON, never pickles: reading one runs no code. Each says what it belongs to, as the name of the folder
does, so one that was copied into another's folder is not gone on from.
"""

import dataclasses
import hashlib
import io
import json
import re
import struct
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from components import __version__, storage

_POINTER = "newest.json"
_KEPT = 2
_NAME = re.compile(r"epoch-(?P<epoch>\d{4,})-(?P<batches>\d{6,})-[0-9a-f]{8}-(?P<digest>[0-9a-f]{32})\.npz")
_PROBE = "probe-"
_STATE = "state.json"
_OF = "of"
_OF_ANOTHER_VERSION = "was written by another version"
"""Said of what has another form, while its digest says that it is as it was written."""

_UNREADABLE = (  # what a file raises that is no archive of arrays, whatever its bytes
    ValueError, TypeError, KeyError, EOFError, OSError, RuntimeError, MemoryError, struct.error, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Everything a phase needs to go on after an epoch, or in the midst of one.

    Attributes:
        epoch: The last one that was finished, from 1; 0 before the first.
        batches: Of the next one that were trained on.
        state: What fits into JSON.
        arrays: The rest, by name.
    """

    epoch: int
    batches: int
    state: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Checkpoints:
    """The checkpoints of one phase of one training.

    Args:
        checkpoint_uri: ``gs://`` prefix or local folder that holds the checkpoints of any number of trainings.
        phase: ``frozen`` or ``fine_tune``.
        identity: All that decides what the phase comes to, as JSON: data, settings, model. Whatever differs, the
            version of this package included, leads to another folder, so that nothing is resumed that does not belong.
        every_seconds: How often to write one within an epoch; 0 for after each epoch alone.
    """

    def __init__(
        self, checkpoint_uri: str, phase: str, identity: Mapping[str, Any], every_seconds: float = 0.0
    ) -> None:
        self.every_seconds = every_seconds
        self._phase = phase
        self._identity = {**identity, "version": __version__}
        self._of = _identity_digest(self._identity)
        self.folder = storage.join(checkpoint_uri, f"{phase}-{self._of[:20]}")
        self._attempt = uuid.uuid4().hex[:8]
        self._kept: list[str] = []

    @classmethod
    def opened(
        cls, checkpoint_uri: str, phase: str, identity: Mapping[str, Any], every_seconds: float = 0.0
    ) -> "Checkpoints | None":
        """Return the checkpoints under a URI, known to be writable, or None when it is empty: none are wanted.

        What attempts that were killed left half-written goes, an hour after.

        Raises:
            UserError: When the bucket does not exist, or files in it may not be created or deleted.
            TransientError: When Cloud Storage does not answer.
        """
        if not checkpoint_uri:
            return None
        checkpoints = cls(checkpoint_uri, phase, identity, every_seconds)
        checkpoints._require_writable()
        checkpoints._remove_abandoned()
        return checkpoints

    def read_newest(self, fits: Callable[[Checkpoint], bool] = lambda _: True) -> Checkpoint | None:
        """Return the newest checkpoint that is whole and of this training, or None; say which ones are not.

        Args:
            fits: Says whether a checkpoint holds what the training needs to go on from it.

        Raises:
            UserError: When the folder may not be read.
            TransientError: When Cloud Storage does not answer.
        """
        return self._newest(self._pointed(), fits)

    def _newest(self, pointed: list[str], fits: Callable[[Checkpoint], bool]) -> Checkpoint | None:
        # Those that are not pointed at: leftovers of an attempt that was stopped, and what a lost pointer leaves.
        names = [*pointed, *sorted((name for name in self._stored() if name not in pointed), key=_place, reverse=True)]
        for name in names:
            checkpoint, why_not = self._read(name, fits)
            if checkpoint is not None:
                self._kept = [name]
                return checkpoint
            print(f"{self._phase}: checkpoint {self._uri(name)} {why_not}: looking for the one before", flush=True)
        if names:
            print(f"{self._phase}: no checkpoint to go on from in {self.folder}: starting anew", flush=True)
        return None

    def _read(self, name: str, fits: Callable[[Checkpoint], bool]) -> tuple[Checkpoint | None, str]:
        """Return a checkpoint, or None and why it is none to go on from, in words."""
        found = storage.read_versioned(self._uri(name))
        if found is None:
            return None, "is gone"
        if _digest(found[0]) != _matched(name)["digest"]:
            return None, "is damaged"
        unpacked = _unpacked(name, found[0])
        if unpacked is None:
            return None, _OF_ANOTHER_VERSION
        checkpoint, of = unpacked
        if of != self._of:
            return None, "is of another training"
        return (checkpoint, "") if fits(checkpoint) else (None, _OF_ANOTHER_VERSION)

    def finished_epochs(self) -> int | None:
        """Return how many epochs the newest checkpoint has behind it, None when there is none.

        It is known by its name alone where ``newest.json`` is whole and of this training.

        Raises:
            UserError: When the bucket does not exist or the folder may not be read.
            TransientError: When Cloud Storage does not answer.
        """
        if storage.read_versioned(self._uri(_POINTER)) is None:
            return None
        pointed = self._pointed()
        if pointed:
            return max(map(_place, pointed))[0]
        newest = self._newest([], lambda _: True)
        return newest.epoch if newest else None

    def write(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, and delete all but the one before it.

        Raises:
            UserError: When the folder may not be written.
            TransientError: When Cloud Storage does not answer or the disk is full.
        """
        data = _packed(checkpoint, self._of)
        place = f"{checkpoint.epoch:04d}-{checkpoint.batches:06d}"
        name = f"epoch-{place}-{self._attempt}-{_digest(data)}.npz"
        storage.write_if_absent(self._uri(name), data)
        self._kept = [name, *self._kept][:_KEPT]
        self._point()
        self._delete_outdated()

    def _require_writable(self) -> None:
        """Write and delete a probe: hours of training are too much to lose to a missing right."""
        probe = storage.join(self.folder, f"{_PROBE}{self._attempt}")
        storage.write_if_absent(probe, b"")
        storage.delete_file(probe)

    def _remove_abandoned(self) -> None:
        freed = storage.remove_abandoned(self.folder)
        if freed:
            print(f"{self._phase}: removed {freed:,} bytes of checkpoints that killed attempts left half-written")

    def _uri(self, name: str) -> str:
        return storage.join(self.folder, name)

    def _pointed(self) -> list[str]:
        found = storage.read_versioned(self._uri(_POINTER))
        if found is None:
            return []
        try:
            pointer = json.loads(found[0])
            names, of = pointer["newest"], _identity_digest(pointer["of"])
        except KeyError:
            what = _OF_ANOTHER_VERSION
        except (ValueError, TypeError):
            what = "is damaged"
        else:
            if of != self._of:
                what = "is of another training"
            elif not (isinstance(names, list) and names and all(map(_is_name, names))):
                what = "is damaged"
            else:
                return names
        print(f"{self._phase}: {self._uri(_POINTER)} {what}: looking through its folder", flush=True)
        return []

    def _stored(self) -> list[str]:
        names = [file.uri.rpartition("/")[2] for file in storage.list_files(self.folder)]
        return [name for name in names if _NAME.fullmatch(name)]

    def _point(self) -> None:
        pointer = {"newest": self._kept, "of": self._identity}
        data = json.dumps(pointer, indent=2, allow_nan=False).encode()
        written = False
        # An older attempt of the same run, if it is still alive, comes to the same weights: whoever is last may win.
        while not written:
            found = storage.read_versioned(self._uri(_POINTER))
            written = storage.write_if_unchanged(self._uri(_POINTER), data, 0 if found is None else found[1])

    def _delete_outdated(self) -> None:
        """Delete by age alone, so that of two attempts at once neither takes what the other has just written."""
        oldest = min(_place(name) for name in self._kept)
        for name in self._stored():
            if _place(name) < oldest:
                storage.delete_file(self._uri(name))


def _identity_digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _packed(checkpoint: Checkpoint, of: str) -> bytes:
    state = np.frombuffer(json.dumps(checkpoint.state, allow_nan=False).encode(), np.uint8)
    buffer = io.BytesIO()
    belongs = np.frombuffer(of.encode(), np.uint8)
    np.savez(buffer, allow_pickle=False, **{_STATE: state, _OF: belongs}, **checkpoint.arrays)
    return buffer.getvalue()


def _unpacked(name: str, data: bytes) -> tuple[Checkpoint, str] | None:
    """Return the checkpoint in a file and the digest of what it belongs to; None where it has not the form of one."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        state = json.loads(arrays.pop(_STATE).tobytes())
        of = arrays.pop(_OF).tobytes().decode()
    except _UNREADABLE:
        return None
    return (Checkpoint(*_place(name), state, arrays), of) if isinstance(state, dict) else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _matched(name: str) -> dict[str, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name} is not the name of a checkpoint")
    return match.groupdict()


def _place(name: str) -> tuple[int, int]:
    """Return epochs that were finished and batches of the next, by which checkpoints are older or newer."""
    match = _matched(name)
    return int(match["epoch"]), int(match["batches"])
