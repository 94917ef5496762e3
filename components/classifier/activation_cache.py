"""Activations on local disk: what frozen layers give for each image, computed once and read in any order.

A folder for each kind of activations::

    <root>/boundary-5b0c.../
      cache.json                     what they are of, and their arrays
      train-view-0-00000.shard       512 images each, see components.classifier.activation_shards
      validation-00000.shard

The name of the folder is a digest of all that decides what the activations are: images, weights, preprocessing, where
the backbone is cut, augmentation, precision. Whatever differs leads to another folder, so nothing is ever read that
does not belong. A shard that is missing or damaged is computed again, and no other is. Several runs may share a root:
one at a time writes to a cache, the others wait and find what it has written.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from components import __version__, storage
from components.classifier.activation_shards import DamagedShardError, read_arrays, shard_places
from components.classifier.training_mode import Mode, ModeSettings
from components.failures import UserError
from components.ordered_work import processors
from components.publishing import published_file, remove_abandoned_copies, write_json

IMAGES_PER_SHARD = 512
_FACTS_FILE = "cache.json"
_CONTENTS_FILE = "contents.json"
_LOCK_FILE = ".lock"
_SHARD_SUFFIX = ".shard"

_ELSEWHERE = "let cache_directory name another place"
_OUTPUT_ELSEWHERE = "give the output another place"

_MOUNTS = Path("/proc/mounts")


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """One array of each image.

    Attributes:
        name: Of what it is.
        shape: Without the batch.
        dtype: ``float16`` or ``float32``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of one image's before compression."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class ActivationCache:
    """The activations of one kind, under a digest of what they are of.

    Args:
        root: Folder that holds caches.
        kind: ``boundary`` or ``features``.
        facts: All that decides what they are, as JSON.
        arrays: What is stored of each image, in order.
        handed_over: More folders like ``root``, which are read and never written.
    """

    def __init__(
        self,
        root: Path,
        kind: str,
        facts: Mapping[str, Any],
        arrays: Sequence[StoredArray],
        handed_over: Sequence[Path] = (),
    ) -> None:
        self.arrays = tuple(arrays)
        self._facts = {**facts, "arrays": [dataclasses.asdict(array) for array in arrays], "version": __version__}
        canonical = json.dumps(self._facts, sort_keys=True, allow_nan=False)
        name = f"{kind}-{hashlib.sha256(canonical.encode()).hexdigest()[:20]}"
        self.folder = root / name
        self._handed_over = [folder / name for folder in handed_over]
        self._found: dict[str, tuple[Path, np.ndarray]] = {}
        self._told: set[Path] = set()
        self._damage: list[str] = []

    @property
    def damage(self) -> str:
        """What was first found damaged while it was read, in words; empty for nothing."""
        return next(iter(self._damage), "")

    @property
    def bytes_per_image(self) -> int:
        """Before compression."""
        return sum(array.nbytes for array in self.arrays)

    def stored_bytes(self) -> int:
        """Return how much is on disk."""
        return sum(path.stat().st_size for path in self.folder.glob(f"[!.]*{_SHARD_SUFFIX}"))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Make the folder, say in it what it is of, and let no other run write to it in the block.

        Another run that is at it is waited for; one that dies lets go.

        Raises:
            UserError: When something is in the way that may be somebody's, see ``_make_folder``, or may not be written.
        """
        _make_folder(self.folder, _ELSEWHERE)
        with _opened_lock(self.folder) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"another run writes to {self.folder}: waiting for what it computes", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno == errno.EBADF:  # NFS locks for one alone only what that one may write
                    raise UserError(_not_permitted(lock.name, _ELSEWHERE)) from error
                if error.errno not in storage.LOCKS_UNSUPPORTED:
                    raise
                print(f"{self.folder} has no locks: let one run at a time use its disk", flush=True)
            freed = remove_abandoned_copies(self.folder)
            if freed:
                print(f"removed {freed:,} bytes that killed runs left half-written in {self.folder}", flush=True)
            if not (self.folder / _FACTS_FILE).exists():
                write_json(self.folder / _FACTS_FILE, self._facts)
            yield

    def shard(self, section: str, number: int) -> Path:
        """Return where a shard of a section is written, inside of ``writing``."""
        return self.folder / _file(section, number)

    def hand_over(self, root: Path) -> None:
        """Put all that is whole into another folder that holds caches: linked where that can be, else copied."""
        destination = root / self.folder.name
        if destination == self.folder:
            return
        _make_folder(destination, _OUTPUT_ELSEWHERE)
        write_json(destination / _FACTS_FILE, self._facts)
        for file, (path, _) in self._found.items():
            with published_file(destination / file) as aside:
                aside.unlink(missing_ok=True)
                try:
                    aside.hardlink_to(path)
                except OSError:  # another disk, or a file system without links
                    shutil.copyfile(path, aside)

    def missing_shards(self, section: str, images: int) -> list[int]:
        """Return the numbers of the shards that are not there or damaged, and say which are damaged.

        Args:
            section: ``validation``, or ``train-view-0`` for example.
            images: How many it is of.
        """
        unknown = [number for number in shards_of(images) if _file(section, number) not in self._found]
        copied = [
            folder
            for folder in self._handed_over
            if folder != self.folder and os.access(folder, os.X_OK) and is_mounted_bucket(folder, _MOUNTS)
        ]  # images are read one by one, over and over
        if unknown and copied:
            _make_folder(self.folder, _ELSEWHERE)
        with ThreadPoolExecutor(processors()) as pool:
            found = pool.map(lambda number: self._find(section, number, images, copied), unknown)
            return [number for number, whole in zip(unknown, found, strict=True) if not whole]

    def _find(self, section: str, number: int, images: int, copied: Collection[Path]) -> bool:
        file, chunks = _file(section, number), len(images_of_shard(number, images)) * len(self.arrays)
        for folder in (self.folder, *self._handed_over):
            path = folder / file
            try:
                places = shard_places(path, chunks)
            except FileNotFoundError:
                continue
            except DamagedShardError as error:
                if path not in self._told:
                    self._told.add(path)
                    print(f"{error}: it is not used", flush=True)
            else:
                if folder in copied:
                    with published_file(self.folder / file, shared=True) as aside:
                        shutil.copyfile(path, aside)
                    path = self.folder / file
                self._found[file] = (path, places)
                return True
        return False

    def read(self, section: str, places: np.ndarray, array: int) -> np.ndarray:
        """Return one array of some images, in the order asked for, ``[places, *shape]``.

        Args:
            section: One without missing shards.
            places: Of the images in stored order.
            array: Which array, by its number.

        Raises:
            DamagedShardError: When a shard that was whole is so no longer.
        """
        stored = self.arrays[array]
        result = np.empty((len(places), *stored.shape), stored.dtype)
        numbers = places // IMAGES_PER_SHARD
        for number in np.unique(numbers):
            mine = np.flatnonzero(numbers == number)
            chunks = (places[mine] % IMAGES_PER_SHARD) * len(self.arrays) + array
            path, bounds = self._found[_file(section, int(number))]
            try:
                result[mine] = read_arrays(path, bounds, chunks.tolist(), stored.shape, result.dtype)
            except DamagedShardError as error:
                self._damage.append(str(error))
                raise
        return result


def cache_root(settings: ModeSettings, output: Path) -> Path:
    """Return the folder that caches are written to: the one asked for, else ``output`` where that is a local disk."""
    if settings.cache_directory:
        return Path(settings.cache_directory)
    return Path(tempfile.gettempdir()) / "activations" if is_mounted_bucket(output, _MOUNTS) else output


def is_mounted_bucket(path: Path, mounts: Path) -> bool:
    """Say whether a path lies in a mounted bucket, from which images cannot be read one by one at any speed.

    Vertex AI has outputs written to ``/gcs/...``, a mounted bucket; what Kubeflow's launcher uploads from
    a folder of that name is on a disk.

    Args:
        path: Need not exist.
        mounts: ``/proc/mounts``; where there is none, nothing is known to be mounted.
    """
    if not mounts.exists():
        return False
    kinds = {Path(words[1]): words[2] for words in map(str.split, mounts.read_text(encoding="utf-8").splitlines())}
    place = path.absolute()
    return next((kinds[folder] for folder in (place, *place.parents) if folder in kinds), "").startswith("fuse")


def hand_over_caches(caches: Iterable[ActivationCache], output: Path, mode: Mode) -> None:
    """Leave caches, and nothing that earlier attempts left, in an output of a step.

    Args:
        caches: Perhaps none.
        output: The output's folder.
        mode: Why they are there or not, which is written beside them.
    """
    output.mkdir(parents=True, exist_ok=True)
    names = set()
    for cache in caches:
        cache.hand_over(output)
        names.add(cache.folder.name)
    for leftover in output.iterdir():
        if leftover.name in names:
            (leftover / _LOCK_FILE).unlink(missing_ok=True)
        elif leftover.is_dir():
            shutil.rmtree(leftover)
    write_json(output / _CONTENTS_FILE, {"caches": sorted(names), "training_mode": mode.name, "reason": mode.reason})


def shards_of(images: int) -> range:
    """Return the numbers of the shards of so many images."""
    return range(math.ceil(images / IMAGES_PER_SHARD))


def images_of_shard(number: int, images: int) -> range:
    """Return the places of the images of a shard."""
    return range(number * IMAGES_PER_SHARD, min((number + 1) * IMAGES_PER_SHARD, images))


def _file(section: str, number: int) -> str:
    return f"{section}-{number:05d}{_SHARD_SUFFIX}"


def _make_folder(folder: Path, elsewhere: str) -> None:
    """Make the folder of a cache, try to write to it, and replace nothing there that no cache has made.

    Args:
        folder: Which may be there.
        elsewhere: How to have another one, for messages.

    Raises:
        UserError: When a file is in the place of the folder, or a folder in that of one of its files, or it is somebody
            else's.
    """
    way_out = f"move it away, or {elsewhere}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.is_dir() and (path.suffix == _SHARD_SUFFIX or path.name.endswith((_FACTS_FILE, _LOCK_FILE))):
                raise UserError(f"{path} is a folder, and a cache needs a file there: {way_out}")
    except (FileExistsError, NotADirectoryError) as error:
        file = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        raise UserError(f"{file} is a file, and a cache needs a folder there: {way_out}") from error
    except PermissionError as error:
        raise UserError(_not_permitted(error.filename or folder, elsewhere)) from error
    try:
        storage.require_writable(str(folder))
    except UserError as error:
        raise UserError(f"{error}, or {elsewhere}") from error


def _opened_lock(folder: Path) -> IO[bytes]:
    """Open the lock of a cache, which may be locked by whoever may read it.

    Raises:
        UserError: When this user may not.
    """
    path = folder / _LOCK_FILE
    try:
        return path.open("ab")
    except PermissionError:
        with contextlib.suppress(PermissionError):
            return path.open("rb")  # somebody else's, in a folder that users share
        raise UserError(_not_permitted(path, _ELSEWHERE)) from None


def _not_permitted(path: Path | str, elsewhere: str) -> str:
    return f"no permission to write {path}; change its owner or mode, or {elsewhere}"
