"""Write aside, then publish: an output is whole or absent, whatever stops the step."""

import contextlib
import errno
import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from components import storage
from components.failures import UserError

_SHARED_ASIDE = re.compile(r"\.partial\.[0-9a-f]{32}\..+")
# What object-store mounts (Cloud Storage FUSE on Vertex) answer to renaming a folder with files in it.
_RENAME_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EXDEV, errno.EMFILE, errno.ENOTEMPTY}
# A write takes what fits before it fails; more than a buffer or a block of it is left of no full disk.
_FULL_BELOW_BYTES = 2**20


@contextlib.contextmanager
def published_directory(destination: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``destination`` that takes its place when the block succeeds.

    Leftovers of an earlier attempt are replaced. When the block raises, ``destination`` stays as it was.

    Args:
        destination: Where the finished folder will be.
    """
    aside = destination.with_name(f".{destination.name}.partial")
    replaced = destination.with_name(f".{destination.name}.replaced")
    _remove(aside)
    aside.mkdir(parents=True)
    try:
        with _named_if_full(destination):
            yield aside
        _remove(replaced)
        _move_away(destination, replaced)
        try:
            aside.rename(destination)
        except OSError as error:
            if error.errno not in _RENAME_UNSUPPORTED:
                raise
            shutil.copytree(aside, destination, dirs_exist_ok=True)
    finally:
        _remove(aside)
        _remove(replaced)


@contextlib.contextmanager
def published_file(destination: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a path beside ``destination`` whose file takes its place when the block succeeds.

    Args:
        destination: Where the finished file will be. Its suffix is kept on the temporary name, because writers
            such as Keras choose the format by it.
        shared: Whether several processes may write it at once; then the temporary name is nobody else's, an empty file
            is there already, to be written and not replaced, and what a killed one leaves is for
            ``remove_abandoned_copies``.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    own = f"{uuid.uuid4().hex}." if shared else ""
    aside = destination.with_name(f".partial.{own}{destination.name}")
    with contextlib.ExitStack() as claim:
        try:
            if shared:
                aside.open("xb").close()
                claim.enter_context(storage.claimed(aside))
            with _named_if_full(destination):
                yield aside
            aside.replace(destination)
        finally:
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _named_if_full(destination: Path) -> Iterator[None]:
    """Let an error of a full disk say what was being written: of a file that is open the system names no path.

    Only where this disk is full just then: the block may have filled another one. An exhausted quota cannot be seen.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:
            with contextlib.suppress(OSError):  # of a disk that is gone, the error says enough
                if shutil.disk_usage(destination.parent).free < _FULL_BELOW_BYTES:
                    error.filename = str(destination)
        raise


def working_path(destination: Path, purpose: str) -> Path:
    """Return a path beside an output for what is needed only until it is written, and perhaps by a rerun.

    Whoever uses it removes it. Of a process that was killed it stays for the rerun; where none will be, it goes with
    what else is half-written.

    Args:
        destination: Of the output.
        purpose: In one word.
    """
    return destination.with_name(f".{destination.name}.{purpose}.partial")


def remove_abandoned_copies(folder: Path, idle_seconds: float = storage.IDLE_SECONDS) -> int:
    """Delete what killed writers of shared files left in a folder itself, and nothing that somebody still writes.

    Args:
        folder: Which other machines may write to.
        idle_seconds: What was written to since stays, see ``storage.remove_abandoned``.

    Returns:
        How many bytes were freed.
    """
    left = [path for path in folder.iterdir() if _SHARED_ASIDE.fullmatch(path.name)]
    return sum(storage.remove_if_abandoned(path, idle_seconds) for path in left)


def remove_half_written(folder: Path) -> None:
    """Delete what killed users of this module left under a folder; nobody may be writing there, nor mean to go on."""
    for pattern in (".*.partial", ".partial.*"):
        for leftover in list(folder.rglob(pattern)):
            _remove(leftover)


def require_publishable(*, folders: Iterable[Path], files: Iterable[Path]) -> None:
    """Check, before hours of work depend on it, that outputs can take their places, and leave nothing behind.

    What an earlier attempt published does not hinder: it will be replaced.

    Args:
        folders: Destinations of ``published_directory``, which need not exist.
        files: Likewise of ``published_file``.

    Raises:
        UserError: Naming what is in the way, or may not be written.
        TransientError: When a disk is full.
    """
    try:
        places = _places_to_write(folders, files)
    except PermissionError as error:
        raise UserError(
            f"no permission to reach {error.filename}; change its owner or mode, or that of a folder it lies in"
        ) from error
    for place in places:
        storage.require_writable(str(place))


def _places_to_write(folders: Iterable[Path], files: Iterable[Path]) -> dict[Path, None]:
    places: dict[Path, None] = {}  # as an ordered set
    for folder in folders:
        if folder.is_mount():
            raise UserError(f"cannot replace {folder}: a disk is mounted there; give a folder in it")
        # What is in it will be deleted; and the new one is made beside it.
        places |= dict.fromkeys([folder.parent] if folder.is_file() else [folder, folder.parent])
    for file in files:
        if file.is_dir():
            raise UserError(
                f"cannot write {file}: it is a folder, and a file is to be there; move it away, or give another path"
            )
        places[file.parent] = None
    return places


def require_replaceable(folder: Path, option: str, marker: str) -> None:
    """Check that ``published_directory`` replaces nothing of somebody's when they name a folder for an output.

    Args:
        folder: That will be replaced, if it is there.
        option: That names it, for the message.
        marker: A file that every such output has: a folder with it is an earlier one.

    Raises:
        UserError: When it is a file, or holds anything but an earlier output.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file; give {option} a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / marker).is_file():
        raise UserError(f"{folder} is not empty and holds no {marker}; give {option} a new folder")


def write_json(destination: Path, value: Mapping[str, Any]) -> None:
    """Publish ``value`` as indented strict JSON (RFC 8259: no NaN, no Infinity), the same bytes each time.

    Raises:
        ValueError: When ``value`` holds a float that is not finite.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    with published_file(destination) as path:
        path.write_text(text, encoding="utf-8")


def _move_away(path: Path, elsewhere: Path) -> None:
    """Free ``path`` at once where folders can be renamed, so that nobody ever finds it half deleted."""
    try:
        path.rename(elsewhere)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in _RENAME_UNSUPPORTED:
            raise
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
