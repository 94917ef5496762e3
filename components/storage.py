"""Cloud Storage objects and local files behind one small interface: the only module that knows Google Cloud Storage.

A URI is ``gs://bucket/name`` or a local path. Whatever a server or a disk answers becomes one sentence: a ``UserError``
names the fix, a ``TransientError`` says that trying again may help. Google's client is imported where it is first
needed, because work on local files need not wait for it. ``STORAGE_EMULATOR_HOST`` is honoured.
"""

import base64
import contextlib
import contextvars
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from components.failures import TransientError, UserError

RETRY_SECONDS = 120.0
"""A request, or a download during which nothing arrives, is given up after this long."""

_patience_seconds: contextvars.ContextVar[float | None] = contextvars.ContextVar("patience_seconds", default=None)

_SCHEME = "gs://"
_FILE_SCHEME = "file://"
_LONGEST_PAUSE_SECONDS = 16.0
_PROGRESS_SECONDS = 5.0
_MEGABYTE = 1_000_000
# One stream from Cloud Storage is slower than the network of a cloud machine: large objects come in parallel slices.
_SLICED_FROM_BYTES = 64 * 2**20
_SLICE_BYTES = 32 * 2**20
_PART_BYTES = 2**20
# Enough for threads never to wait for a connection; requests' own pool drops what exceeds 10.
_CONNECTIONS = 64
# Files handed to the transfer manager at once, per worker: it reports a failure only when all of them have ended.
_FILES_PER_WORKER = 16
_WORKERS_FOR_ONE_FILE = 8
_WRITER_KEY = "written-by"
_MISTYPED_SCHEME = re.compile(r"(gs|s3):(?!//)")
# What the library puts before the server's own words.
_REQUEST = re.compile(r"^[A-Z]+ https?://\S+: ")
# Beside local files, never listed.
_PARTIAL = ".storage-partial"
_LOCK = ".storage-lock"
_WRITTEN_ASIDE = re.compile(rf"\.[0-9a-f]{{32}}{re.escape(_PARTIAL)}")
LOCKS_UNSUPPORTED = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EBADF})
"""What file systems without locks answer; EBADF: NFS, to a reader that asks for an exclusive one."""

IDLE_SECONDS = 3600.0
"""What was written to since may be another machine's, whose lock is not seen here; none writes at a file for so long
without a byte."""

# Being written, or published, or somebody else's, or a folder that a person gave such a name.
_NOT_ABANDONED = (BlockingIOError, FileNotFoundError, PermissionError, IsADirectoryError)
_ABANDONED_SECONDS = 86_400.0  # where no lock tells: no write of a file goes without a byte for a day


@dataclass(frozen=True)
class StoredFile:
    """One object or local file, as it was when it was looked up.

    Attributes:
        uri: ``gs://bucket/name`` or a local path.
        size_bytes: Stored size.
        generation: Cloud Storage's number of this very content, 0 for a local file.
        crc32c: Checksum of the stored bytes, base64 of big-endian bytes; empty where not known.
        encoding: ``gzip`` when the stored bytes are compressed on top of the file's own format, normally empty.
    """

    uri: str
    size_bytes: int
    generation: int
    crc32c: str = ""
    encoding: str = ""


def is_remote(uri: str) -> bool:
    """Return whether ``uri`` names an object or bucket of Cloud Storage and not a local path."""
    return uri.startswith(_SCHEME)


def join(uri: str, *parts: str) -> str:
    """Return the URI of something inside a bucket, prefix or folder.

    >>> join("gs://photos/animals/", "bird", "owl.jpg")
    'gs://photos/animals/bird/owl.jpg'

    Raises:
        UserError: When it is of another store, which would end as a local folder called ``s3:``.
    """
    if is_remote(uri):
        return _SCHEME + "/".join([uri.removeprefix(_SCHEME).rstrip("/"), *(part.strip("/") for part in parts)])
    return str(_local_path(uri).joinpath(*parts))


def require_sound_path(name: str, uri: str) -> None:
    """Check that somebody who names an input or an output can mean what they say.

    Args:
        name: Of the parameter, for the message.
        uri: ``gs://`` URI or local path; empty for none.

    Raises:
        UserError: When it is blank, or a local path that no file can have, that a shell should have replaced, or that
            TensorFlow cannot open.
    """
    if is_remote(uri):
        return
    if uri and not uri.strip():
        raise UserError(f"{name} is blank: give it a path or a gs:// URI")
    if "\0" in uri:
        raise UserError(f"{name} is {uri!r}: no path can hold a NUL character")
    if _MISTYPED_SCHEME.match(uri):
        store, rest = uri.split(":", maxsplit=1)
        raise UserError(
            f"{name} is {uri}: if a bucket is meant, write {store}://{rest.lstrip('/')}; if a folder, ./{uri}"
        )
    if uri.startswith("~"):
        raise UserError(f"{name} is {uri}: write out the folder that ~ stands for, as nothing but a shell replaces it")
    try:
        uri.encode()
    except UnicodeEncodeError:
        raise UserError(f"{name} is {uri!a}, which is not UTF-8, as paths must be here: rename it") from None


def require_no_broken_link(name: str, uri: str) -> None:
    """Check that a local path leads through no link to nothing: what is made there would lie in an unexpected place.

    Args:
        name: Of the parameter, for the message.
        uri: ``gs://`` URI, or local path of what may be made; empty for none.

    Raises:
        UserError: When it does.
    """
    if not uri or is_remote(uri):
        return
    path = Path(uri).absolute()
    # Of os.path, because pathlib raises where a name is too long or links lead back to themselves.
    for place in (path, *path.parents):
        if os.path.islink(place) and not os.path.exists(place):  # noqa: PTH110, PTH114
            missing = os.path.realpath(place)
            if missing == str(place):
                raise UserError(f"{name} is {uri}: {place} is a link that leads back to itself; remove it")
            raise UserError(
                f"{name} is {uri}: {place} is a link to {missing}, where nothing is; make that folder, or remove the "
                "link"
            )


@contextlib.contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Give up requests that this thread makes in the block after so long, for callers that a person waits for.

    A single answer is waited for so long too; together that is twice ``seconds`` at most. It does not hold for
    ``download`` of many files, which uses threads of its own.
    """
    before = _patience_seconds.set(seconds)
    try:
        yield
    finally:
        _patience_seconds.reset(before)


def list_files(uri: str) -> list[StoredFile]:
    """Return every file under a prefix or a local folder, however deep, sorted by URI.

    Empty objects that only mark a folder are left out. Links inside a local folder are followed. A local file or folder
    that somebody removes meanwhile is left out.

    Returns:
        An empty list when nothing lies there.

    Raises:
        UserError: When the bucket or the local folder does not exist or may not be read.
        TransientError: When Cloud Storage does not answer.
    """
    if not is_remote(uri):
        with _explained(uri, "read"):
            return sorted(_local_files(_local_path(uri), frozenset()), key=lambda file: file.uri)
    bucket, name = _split(uri)
    prefix = f"{name.rstrip('/')}/" if name else ""
    fields = "items(name,size,generation,crc32c,contentEncoding),nextPageToken"
    with _explained(uri, "read"):
        blobs = _client().list_blobs(bucket, prefix=prefix, fields=fields, **_limits())
        files = [_stored(bucket, blob) for blob in blobs if not blob.name.endswith("/")]
    return sorted(files, key=lambda file: file.uri)


def stat_file(uri: str) -> StoredFile | None:
    """Return what is known of one object or local file, or None when there is none by that name.

    Raises:
        UserError: When the bucket does not exist or may not be read.
        TransientError: When Cloud Storage does not answer.
    """
    if not is_remote(uri):
        path = _local_path(uri)
        with _explained(uri, "read"):
            if path.is_file():
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    return StoredFile(uri, path.stat().st_size, 0)
            return None
    bucket, name = _split(uri)
    if not name:
        return None
    with _explained(uri, "read"):
        blob = _client().bucket(bucket).get_blob(name, **_limits())
        if blob is None:
            _require_bucket(bucket)
        return None if blob is None else _stored(bucket, blob)


def read_bytes(uri: str) -> bytes:
    """Return the content of one object or local file.

    Raises:
        UserError: When it does not exist or may not be read.
        TransientError: When Cloud Storage does not answer.
    """
    found = read_versioned(uri)
    if found is None:
        raise UserError(_missing(uri))
    return found[0]


def read_versioned(uri: str) -> tuple[bytes, int] | None:
    """Return a small file's content and its version for ``write_if_unchanged``, or None when it does not exist.

    Raises:
        UserError: When the bucket does not exist or the file may not be read.
        TransientError: When Cloud Storage does not answer.
    """
    if not is_remote(uri):
        with _explained(uri, "read"):
            try:
                data = _local_path(uri).read_bytes()
            except FileNotFoundError:
                return None
            return data, _content_version(data)
    bucket, name = _split(uri)
    _require_name(uri, name)
    # An object replaced between the two requests is gone under its old generation: look again.
    while (file := stat_file(uri)) is not None:
        with _explained(uri, "read"):
            content = _read_generation(bucket, name, file)
        if content is not None:
            return content, file.generation
    return None


def download(files: Sequence[StoredFile], directory: Path, *, workers: int) -> list[Path]:
    """Bring objects to this machine, many at once, exactly in the generations that ``files`` names.

    Many objects come one per thread, a large one in slices. A file appears under its final name only after its size
    and checksum were compared with the object's. What the library checks is not enough: it skips the checksum of a
    download that it resumed.

    Args:
        files: What to bring. Local files are not copied.
        directory: An existing folder for the downloads.
        workers: Threads, at least 1.

    Returns:
        One local path per file, in order; a download keeps the suffix of its object.

    Raises:
        UserError: When an object is gone, was replaced, may not be read, or does not fit on the disk.
        TransientError: When Cloud Storage stops answering, the disk fills up, or bytes arrive damaged.
    """
    paths = [
        directory / f"{position:06d}{PurePosixPath(file.uri).suffix[:16]}" if is_remote(file.uri) else Path(file.uri)
        for position, file in enumerate(files)
    ]
    remote = [(file, path) for file, path in zip(files, paths, strict=True) if is_remote(file.uri)]
    for file, _ in remote:
        require_plain(file)
    _require_space(directory, sum(file.size_bytes for file, _ in remote))
    with _Progress(sum(file.size_bytes for file, _ in remote)) as progress:
        large = [pair for pair in remote if pair[0].size_bytes >= _SLICED_FROM_BYTES]
        small = [pair for pair in remote if pair[0].size_bytes < _SLICED_FROM_BYTES]
        at_once = workers * _FILES_PER_WORKER
        batches = [[pair] for pair in large] + [small[at : at + at_once] for at in range(0, len(small), at_once)]
        for batch in batches:
            _download_batch(batch, workers, progress)
    return paths


def require_plain(file: StoredFile) -> None:
    """Raise ``UserError`` when Cloud Storage holds a file compressed on top of its own format."""
    if file.encoding:
        raise UserError(
            f"{file.uri} is stored with Content-Encoding {file.encoding}; upload it again without -z, -Z or -j"
        )


@contextlib.contextmanager
def opened(uri: str) -> Iterator[IO[bytes]]:
    """Yield one file to read parts of; of an object only the parts that are read are fetched, some 1 MiB at least.

    Raises:
        UserError: When the file does not exist or may not be read.
        TransientError: When Cloud Storage does not answer.
    """
    file = stat_file(uri)
    if file is None:
        raise UserError(_missing(uri))
    with _explained(uri, "read"):
        if not is_remote(uri):
            with _local_path(uri).open("rb") as stream:
                yield stream
            return
        bucket, name = _split(uri)
        blob = _client().bucket(bucket).blob(name, generation=file.generation)
        with blob.open("rb", chunk_size=_PART_BYTES, **_limits()) as stream:
            yield stream


@contextlib.contextmanager
def localized(uri: str) -> Iterator[Path]:
    """Yield a local path to read one file from: the file itself, or a download that ends with the block.

    Raises:
        UserError: When the file does not exist or may not be read.
        TransientError: When Cloud Storage does not answer.
    """
    file = stat_file(uri)
    if file is None:
        raise UserError(_missing(uri))
    if not is_remote(uri):
        yield _local_path(uri)
        return
    with tempfile.TemporaryDirectory(prefix="download-") as directory:
        yield download([file], Path(directory), workers=_WORKERS_FOR_ONE_FILE)[0]


def write_if_absent(uri: str, data: bytes | Path) -> bool:
    """Create an object or local file, whole or not at all, unless one exists by that name.

    Of several writers exactly one succeeds.

    Args:
        uri: What to create. Missing local folders are made, buckets are not.
        data: The content, or a local file that holds it.

    Returns:
        False when it exists already; it stays as it was.

    Raises:
        UserError: When the bucket does not exist or may not be written.
        TransientError: When Cloud Storage does not answer or the disk is full.
    """
    with _explained(uri, "write"):
        if is_remote(uri):
            return _upload(uri, data, 0)
        path = _local_path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _written_aside(path, data) as aside:
            return _link(aside, path)


def write_if_unchanged(uri: str, data: bytes, version: int) -> bool:
    """Replace a small file, such as an index, only if nobody changed it since it was read.

    Args:
        uri: What to write.
        data: The new content.
        version: What ``read_versioned`` returned with the old content; 0 when there was none.

    Returns:
        False when somebody else changed it: read it again and decide anew.

    Raises:
        UserError: When the bucket does not exist or may not be written.
        TransientError: When Cloud Storage does not answer or the disk is full.
    """
    with _explained(uri, "write"):
        if is_remote(uri):
            return _upload(uri, data, version)
        path = _local_path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path), _written_aside(path, data) as aside:
            found = read_versioned(uri)
            if version != (found[1] if found else 0):
                return False
            aside.replace(path)
            return True


def delete_file(uri: str) -> bool:
    """Delete one object or local file. Where a bucket keeps old versions, this one becomes such.

    Returns:
        False when there was none by that name.

    Raises:
        UserError: When the bucket does not exist, or the file may not be deleted.
        TransientError: When Cloud Storage does not answer.
    """
    with _explained(uri, "delete"):
        if not is_remote(uri):
            try:
                _local_path(uri).unlink()
            except FileNotFoundError:
                return False
            return True
        from google.api_core import exceptions  # noqa: PLC0415

        bucket, name = _split(uri)
        _require_name(uri, name)
        try:
            _client().bucket(bucket).blob(name).delete(**_limits())
        except exceptions.NotFound:
            _require_bucket(bucket)
            return False
        return True


def remove_abandoned(uri: str, *, below: bool = False, idle_seconds: float = IDLE_SECONDS) -> int:
    """Delete what processes that were killed amid a write left half-written in a local folder.

    Nothing that somebody still writes: who does holds a lock, which ends with the process, and has just written to it.
    What holds no byte yet, or lies where there are no locks, stays for a day. Cloud Storage keeps nothing half-written.

    Args:
        uri: A ``gs://`` prefix, or a local folder that need not exist.
        below: Also in the folders below it; links are not followed.
        idle_seconds: What was written to since stays. Not 0 where other machines may write: some file systems that
            they share show a lock to the machine alone that holds it, NFS mounted with ``nolock`` for example.

    Returns:
        How many bytes were freed.

    Raises:
        UserError: When the folder may not be read or written.
    """
    with _explained(uri, "delete"):
        return sum(remove_if_abandoned(aside, idle_seconds) for aside in _written_asides(uri, below=below))


def abandoned_files(uri: str, *, idle_seconds: float = IDLE_SECONDS) -> list[StoredFile]:
    """Return what ``remove_abandoned`` would delete in and below a folder, sorted; nothing is changed.

    Raises:
        UserError: When the folder may not be read.
    """
    with _explained(uri, "read"):
        found = (_if_abandoned(aside, idle_seconds) for aside in _written_asides(uri, below=True))
        return sorted((file for file in found if file), key=lambda file: file.uri)


@contextlib.contextmanager
def claimed(aside: Path) -> Iterator[None]:
    """Let ``remove_if_abandoned`` leave a local file, which is there and still empty, as long as the block lasts.

    It is locked by a handle of its own, as some file systems publish only what is closed, and with a shared lock, as
    NFS gives no other to a reader.
    """
    with aside.open("rb") as handle:
        _lock_if_supported(handle, fcntl.LOCK_SH)
        yield


def remove_if_abandoned(aside: Path, idle_seconds: float = IDLE_SECONDS) -> int:
    """Delete a half-written local file unless its writer, who has claimed it, is at it.

    Args:
        aside: The file.
        idle_seconds: It must have been left alone for so long besides, where other machines' locks may not be seen.

    Returns:
        How many bytes that freed.
    """
    try:
        with aside.open("r+b") as file:
            if _is_abandoned(file, idle_seconds):
                size_bytes = _own_bytes(file)
                aside.unlink()
                return size_bytes
    except _NOT_ABANDONED:
        pass
    return 0


def require_writable(uri: str) -> None:
    """Check that files can be made and deleted under a prefix, or in a local folder, and leave nothing behind.

    Args:
        uri: A ``gs://`` prefix, or a local folder that need not exist: then the folder it would be made in is tried.

    Raises:
        UserError: When the bucket does not exist or may not be written, or no file can be made in the folder.
        TransientError: When Cloud Storage does not answer or the disk is full.
    """
    if is_remote(uri):
        name = f"probe-{uuid.uuid4().hex[:8]}"
        write_if_absent(join(uri, name), b"")
        delete_file(join(uri, name))
        return
    folder = _local_path(uri).absolute()
    with _explained(uri, "write"):
        existing = next(place for place in (folder, *folder.parents) if place.exists() or place.is_symlink())
        if not existing.exists():
            raise UserError(f"cannot write {uri}: {existing} is a link to nothing; make what it names, or remove it")
        if not existing.is_dir():
            raise UserError(f"cannot write {uri}: {existing} is a file; give a folder")
        probe = existing / f".{uuid.uuid4().hex}{_PARTIAL}"  # of a killed process it goes like any other
        try:
            probe.open("xb").close()
            try:
                probe.write_bytes(b"\0")
            finally:
                probe.unlink(missing_ok=True)
        except FileNotFoundError as error:  # of a folder that is there, but takes no files: of /proc for example
            raise UserError(f"cannot write {uri}: no file can be made in {existing}; give another place") from error
        except PermissionError as error:  # names the probe
            raise UserError(f"no permission to write {existing}; change its owner or mode") from error


def access_token() -> str:
    """Return a token of whoever runs this, for other services of Google Cloud.

    Raises:
        UserError: When there are no credentials.
        TransientError: When Google does not answer.
    """
    import google.auth  # noqa: PLC0415
    import google.auth.exceptions  # noqa: PLC0415
    import google.auth.transport.requests  # noqa: PLC0415

    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        credentials.refresh(google.auth.transport.requests.Request())
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise UserError("no Google Cloud credentials; run: gcloud auth application-default login") from error
    except google.auth.exceptions.GoogleAuthError as error:
        raise TransientError(f"Google gives no token, try again later ({error})") from error
    return str(credentials.token)


# Cloud Storage ------------------------------------------------------------------------------------------------------


_clients: dict[str, Any] = {}  # one at most, by the emulator it talks to; empty for the cloud
_clients_lock = threading.Lock()


def _client() -> Any:
    # A process keeps one client, and one only: finding credentials takes a request or more.
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    with _clients_lock:
        if emulator not in _clients:
            while _clients:
                _clients.popitem()[1].close()
            _clients[emulator] = _new_client()
        return _clients[emulator]


def _new_client() -> Any:
    import requests.adapters  # noqa: PLC0415
    from google.cloud import storage  # noqa: PLC0415

    client = storage.Client(project=None)
    # It would ask for each bucket's metadata in the background, for traces nobody takes and often without the right to.
    client._bucket_metadata_cache = None
    session = client._http
    if not getattr(session, "is_mtls", False):
        adapter = requests.adapters.HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
    return client


def _limits() -> dict[str, Any]:
    """Return how long a call may take: for an answer to arrive, and with all retries."""
    from google.cloud.storage.constants import _DEFAULT_TIMEOUT  # noqa: PLC0415
    from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: PLC0415

    patience_seconds = _patience_seconds.get()
    retry = DEFAULT_RETRY.with_timeout(patience_seconds or RETRY_SECONDS)
    return {
        "retry": retry.with_delay(maximum=_LONGEST_PAUSE_SECONDS),
        "timeout": patience_seconds or _DEFAULT_TIMEOUT,
    }


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix(_SCHEME).partition("/")
    if not bucket:
        raise UserError(f"{uri!r} names no bucket; write gs://bucket/name")
    return bucket, name


def _require_name(uri: str, name: str) -> None:
    if not name or name.endswith("/"):
        raise UserError(f"{uri} names no object; write gs://bucket/name")


def _stored(bucket: str, blob: Any) -> StoredFile:
    return StoredFile(
        uri=f"{_SCHEME}{bucket}/{blob.name}",
        size_bytes=blob.size,
        generation=blob.generation,
        crc32c=blob.crc32c or "",
        encoding="" if blob.content_encoding in (None, "", "identity") else blob.content_encoding,
    )


def _require_bucket(bucket: str) -> None:
    """Raise when the bucket of an object that was not found does not exist itself."""
    from google.api_core import exceptions  # noqa: PLC0415

    # Listing needs only the right to read objects. Whoever may not list learns of the missing object at least.
    with contextlib.suppress(exceptions.Forbidden):
        try:
            next(iter(_client().list_blobs(bucket, max_results=1, fields="items(name)", **_limits())), None)
        except exceptions.NotFound:
            raise UserError(_missing(_SCHEME + bucket)) from None


def _read_generation(bucket: str, name: str, file: StoredFile) -> bytes | None:
    from google.api_core import exceptions  # noqa: PLC0415

    blob = _client().bucket(bucket).blob(name, generation=file.generation)
    try:
        data: bytes = blob.download_as_bytes(**_limits())
    except exceptions.NotFound:
        return None
    if not file.encoding:
        _require_same(file, len(data), _crc32c([data]))
    return data


def _download_batch(batch: Sequence[tuple[StoredFile, Path]], workers: int, progress: "_Progress") -> None:
    partials = [path.with_name(f"{path.name}.partial") for _, path in batch]
    progress.watch(partials)
    try:
        for (file, path), partial, failure in zip(
            batch, partials, _transfer([file for file, _ in batch], partials, workers, progress), strict=True
        ):
            with _explained(file.uri, "read"):
                if failure is not None:
                    raise failure
                with partial.open("rb") as stream:
                    _require_same(file, partial.stat().st_size, _crc32c(iter(lambda: stream.read(2**20), b"")))
                partial.rename(path)
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)
    progress.finished(sum(file.size_bytes for file, _ in batch))


def _transfer(
    files: Sequence[StoredFile], partials: Sequence[Path], workers: int, progress: "_Progress"
) -> Sequence[Exception | None]:
    """Fetch files that are all small, or a single large one; return what failed, None for success, in order."""
    with _explained(files[0].uri, "read"):
        from google.cloud.storage import transfer_manager  # noqa: PLC0415

        client = _client()
        blobs = []
        for file in files:
            bucket, name = _split(file.uri)
            blobs.append(client.bucket(bucket).blob(name, generation=file.generation))
        arguments = {"raw_download": True, "retry": progress.retry()}
        if files[0].size_bytes >= _SLICED_FROM_BYTES:
            # Its own checksum is of the object it finds now; ours, below, is of the one that was looked up.
            transfer_manager.download_chunks_concurrently(
                blobs[0],
                str(partials[0]),
                chunk_size=_SLICE_BYTES,
                download_kwargs=arguments,
                worker_type=transfer_manager.THREAD,
                max_workers=workers,
                crc32c_checksum=False,
            )
            return [None]
        results: Sequence[Exception | None] = transfer_manager.download_many(
            [(blob, str(partial)) for blob, partial in zip(blobs, partials, strict=True)],
            download_kwargs=arguments,
            worker_type=transfer_manager.THREAD,
            max_workers=workers,
        )
        return results


class _Progress:
    """Measure a download by the bytes on disk: print lines a person can follow, and notice when nothing arrives."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._finished_bytes = 0
        self._watched: Sequence[Path] = ()
        self._largest = 0
        self._largest_since = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._print_lines, daemon=True)

    def __enter__(self) -> "_Progress":
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if kind is None and time.monotonic() - self._started > _PROGRESS_SECONDS:
            self._print_line(self._total_bytes)

    def watch(self, partials: Sequence[Path]) -> None:
        """Count these files' bytes as arriving."""
        self._watched = partials

    def finished(self, size_bytes: int) -> None:
        """Count the watched files as arrived."""
        self._watched = ()
        self._finished_bytes += size_bytes

    def retry(self) -> Any:
        """Retry with pauses while bytes arrive from time to time, so that an outage ends all threads at once."""
        from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: PLC0415

        should_retry: Callable[[Exception], bool] = DEFAULT_RETRY._predicate
        self._largest_since = time.monotonic()
        return (
            DEFAULT_RETRY.with_timeout(None)
            .with_delay(maximum=_LONGEST_PAUSE_SECONDS)
            .with_predicate(lambda error: should_retry(error) and self._stalled_seconds() < RETRY_SECONDS)
        )

    def _arrived_bytes(self) -> int:
        arriving = 0
        for path in self._watched:
            with contextlib.suppress(FileNotFoundError):
                # Blocks and not the size: slices of one file arrive in any order.
                arriving += path.stat().st_blocks * 512
        return min(self._finished_bytes + arriving, self._total_bytes)

    def _stalled_seconds(self) -> float:
        arrived = self._arrived_bytes()
        if arrived > self._largest:
            self._largest, self._largest_since = arrived, time.monotonic()
        return time.monotonic() - self._largest_since

    def _print_lines(self) -> None:
        while not self._ended.wait(_PROGRESS_SECONDS):
            self._print_line(self._arrived_bytes())

    def _print_line(self, arrived_bytes: int) -> None:
        speed = arrived_bytes / _MEGABYTE / max(time.monotonic() - self._started, 1e-3)
        print(
            f"downloaded {arrived_bytes / _MEGABYTE:,.1f} MB of {self._total_bytes / _MEGABYTE:,.1f} MB "
            f"({speed:,.1f} MB/s)",
            flush=True,
        )


def _upload(uri: str, data: bytes | Path, generation: int) -> bool:
    """Write an object if its current generation is ``generation``, 0 for none; return whether it was written."""
    from google.api_core import exceptions  # noqa: PLC0415

    bucket, name = _split(uri)
    _require_name(uri, name)
    blob = _client().bucket(bucket).blob(name)
    # When the answer to a successful write is lost, the library's retry meets its own object: the mark tells.
    mark = uuid.uuid4().hex
    blob.metadata = {_WRITER_KEY: mark}
    arguments = {"if_generation_match": generation, **_limits(), "checksum": "crc32c"}
    try:
        if isinstance(data, Path):
            blob.upload_from_filename(str(data), **arguments)
        else:
            blob.upload_from_string(data, content_type="application/octet-stream", **arguments)
    except exceptions.PreconditionFailed:
        found = _client().bucket(bucket).get_blob(name, **_limits())
        return found is not None and (found.metadata or {}).get(_WRITER_KEY) == mark
    except exceptions.NotFound:
        # Also the answer for a generation of an object that somebody deleted.
        _require_bucket(bucket)
        return False
    return True


# Checksums and space ------------------------------------------------------------------------------------------------


def _crc32c(chunks: Iterable[bytes]) -> str:
    import google_crc32c  # noqa: PLC0415

    checksum = 0
    for chunk in chunks:
        checksum = google_crc32c.extend(checksum, chunk)
    return base64.b64encode(checksum.to_bytes(4, "big")).decode()


def _require_same(file: StoredFile, size_bytes: int, crc32c: str) -> None:
    if size_bytes != file.size_bytes or (file.crc32c and crc32c != file.crc32c):
        raise TransientError(
            f"{file.uri} arrived damaged ({size_bytes} of {file.size_bytes} bytes, checksum {crc32c} for "
            f"{file.crc32c or 'none'}); nothing of it was kept, try again"
        )


def _require_space(directory: Path, size_bytes: int) -> None:
    free_bytes = shutil.disk_usage(directory).free
    if size_bytes > free_bytes:
        raise UserError(
            f"{directory} has {free_bytes / _MEGABYTE:,.0f} MB free and the download needs "
            f"{size_bytes / _MEGABYTE:,.0f} MB; give the step more ephemeral storage, or set TMPDIR to a larger disk"
        )


# Local files --------------------------------------------------------------------------------------------------------


def _local_path(uri: str) -> Path:
    if uri.startswith(_FILE_SCHEME):
        raise UserError(f"{uri} is no local path: write it as {uri.removeprefix(_FILE_SCHEME)}")
    if "://" in uri:
        raise UserError(f"{uri} is neither a gs:// URI nor a local path; other stores are not supported")
    return Path(uri)


def _local_files(directory: Path, parents: frozenset[tuple[int, int]]) -> Iterator[StoredFile]:
    status = directory.stat()
    here = (status.st_dev, status.st_ino)
    if here in parents:
        raise UserError(f"{directory} is a link to a folder that contains it; remove the link")
    with os.scandir(directory) as scanned:
        entries = list(scanned)
    for entry in entries:
        if entry.name.endswith((_PARTIAL, _LOCK)):
            continue
        # A name that is gone may be back by the next look at it, so nothing is looked up twice.
        with contextlib.suppress(FileNotFoundError):
            yield from _files_of_entry(entry, parents | {here})


def _files_of_entry(entry: os.DirEntry[str], parents: frozenset[tuple[int, int]]) -> Iterator[StoredFile]:
    path = Path(entry)
    try:
        status = path.stat()
    except FileNotFoundError:
        if entry.is_symlink() and path.is_symlink():
            raise UserError(f"{path} is a broken link; remove it") from None
        raise
    if stat.S_ISDIR(status.st_mode):
        yield from _local_files(path, parents)
    elif stat.S_ISREG(status.st_mode):
        yield StoredFile(str(path), status.st_size, 0)
    else:
        raise UserError(f"{path} is not a regular file; remove it")


def _content_version(data: bytes) -> int:
    # 0 means absent, so no content may have it.
    return int.from_bytes(hashlib.sha256(data).digest()[:7], "big") + 1


@contextlib.contextmanager
def _written_aside(path: Path, data: bytes | Path) -> Iterator[Path]:
    """Yield a finished copy of the content in the same folder, where a link or a rename publishes it in one step.

    It is claimed before its first byte, for ``remove_abandoned`` to leave it.
    """
    aside = path.with_name(f".{uuid.uuid4().hex}{_PARTIAL}")
    with contextlib.ExitStack() as claim:
        try:
            with aside.open("xb") as target:
                claim.enter_context(claimed(aside))
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, target, 2**20)
                else:
                    target.write(data)
                target.flush()
                os.fsync(target.fileno())
            yield aside
        finally:
            aside.unlink(missing_ok=True)


def _written_asides(uri: str, *, below: bool) -> Iterator[Path]:
    """Yield every file that a writer made to publish it under another name, finished or not."""
    folder = None if is_remote(uri) else _local_path(uri)
    if folder is None or not folder.is_dir():
        return
    paths = (Path(here, name) for here, _, names in os.walk(folder) for name in names) if below else folder.iterdir()
    yield from (path for path in paths if _WRITTEN_ASIDE.fullmatch(path.name))


def _if_abandoned(aside: Path, idle_seconds: float) -> StoredFile | None:
    try:
        with _opened_for_lock(aside) as file:
            if _is_abandoned(file, idle_seconds):
                return StoredFile(str(aside), _own_bytes(file), 0)
    except _NOT_ABANDONED:
        pass
    return None


def _opened_for_lock(aside: Path) -> IO[bytes]:
    """Open a file to be written, as NFS gives a reader no lock that excludes others; to be read where it must be."""
    try:
        return aside.open("r+b")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return aside.open("rb")


def _own_bytes(file: IO[bytes]) -> int:
    """Return how many bytes no other name has: none of what was published."""
    status = os.fstat(file.fileno())
    return status.st_size if status.st_nlink < 2 else 0


def _is_abandoned(file: IO[bytes], idle_seconds: float) -> bool:
    """Return whether the writer of a file has ended.

    Raises:
        BlockingIOError: When it certainly has not.
    """
    locked = _lock_if_supported(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    status = os.fstat(file.fileno())
    # Whoever has made one is about to lock it, and then only writes to it.
    ended = locked and status.st_size > 0
    waited_seconds = time.time() - status.st_mtime
    return waited_seconds > _ABANDONED_SECONDS or (ended and (not idle_seconds or waited_seconds > idle_seconds))


def _lock_if_supported(file: IO[bytes], operation: int) -> bool:
    """Lock a file and return whether that can be where it lies."""
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno not in LOCKS_UNSUPPORTED:
            raise
        return False
    return True


def _link(aside: Path, path: Path) -> bool:
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    except OSError as error:
        # File systems without hard links, object-store mounts for example.
        if error.errno not in {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK}:
            raise
        with _locked(path):
            if path.exists():
                return False
            aside.rename(path)
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_name(f".{path.name}{_LOCK}").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# Failures -----------------------------------------------------------------------------------------------------------


def _missing(uri: str) -> str:
    if not is_remote(uri):
        if Path(uri).is_dir():
            return f"{uri} is a folder and not a file; check the path"
        return f"{uri} does not exist; check the path"
    bucket, name = _split(uri)
    if not name:
        return f"{uri} does not exist; check its name, or create it with: gcloud storage buckets create {uri}"
    return f"{uri} does not exist; see what does with: gcloud storage ls {_SCHEME}{bucket}"


@contextlib.contextmanager
def _explained(uri: str, verb: str) -> Iterator[None]:
    """Turn what a server or a disk answers into a sentence.

    Args:
        uri: What the block works on.
        verb: ``read``, ``write`` or ``delete``.
    """
    try:
        yield
    except (UserError, TransientError):
        raise
    except Exception as error:
        explanation = _explain_remote(error, uri, verb) if is_remote(uri) else None
        explanation = explanation or _explain_local(error, uri, verb)
        if explanation is None:
            raise
        raise explanation from error


_FULL = (TransientError, "the disk is full while working on {uri}; free some space or give the step more")
_OF_DISKS: dict[int, tuple[type[UserError | TransientError], str]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EIO: (TransientError, "the disk fails while working on {uri}; try another one"),
    errno.EROFS: (UserError, "cannot {verb} {uri}: its file system is read-only; give another place"),
    errno.EFBIG: (UserError, "cannot {verb} {uri}: its file system, or ulimit -f, allows no file of that size"),
    errno.ENAMETOOLONG: (
        UserError,
        "cannot {verb} {uri}: that is longer than file systems allow; give another path",
    ),
    errno.ELOOP: (UserError, "cannot {verb} {uri}: it is a link that leads back to itself; remove the link"),
}


def _explain_local(error: Exception, uri: str, verb: str) -> UserError | TransientError | None:
    if not isinstance(error, OSError):
        return None
    if error.errno in _OF_DISKS:
        kind, sentence = _OF_DISKS[error.errno]
        return kind(sentence.format(verb=verb, uri=uri))
    if isinstance(error, FileNotFoundError):
        unmade = f"cannot write {uri}: {error.filename or uri} is not there and cannot be made"
        return UserError(unmade if verb == "write" else _missing(error.filename or uri))
    if isinstance(error, NotADirectoryError | IsADirectoryError | FileExistsError):
        return UserError(f"cannot {verb} {uri}: {os.strerror(error.errno or 0).lower()}; check the path")
    if isinstance(error, PermissionError):
        return UserError(f"no permission to {verb} {error.filename or uri}; change its owner or mode")
    return None


def _explain_remote(error: Exception, uri: str, verb: str) -> UserError | TransientError | None:
    import requests.exceptions  # noqa: PLC0415
    import urllib3.exceptions  # noqa: PLC0415
    from google.api_core import exceptions as api  # noqa: PLC0415
    from google.auth import exceptions as auth  # noqa: PLC0415
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse  # noqa: PLC0415

    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        error = error.cause
    if isinstance(error, InvalidResponse):
        # What an upload or download still says when its retries are used up.
        error = api.from_http_response(error.response)
    if isinstance(error, api.GoogleAPICallError):
        return _explain_answer(error, uri, verb)
    if isinstance(error, auth.DefaultCredentialsError):
        return UserError(
            f"no Google Cloud credentials to {verb} {uri}; run: gcloud auth application-default login, "
            "or on a cluster give the pod's service account Workload Identity"
        )
    if isinstance(error, auth.RefreshError) and not error.retryable:
        return UserError(
            f"Google Cloud credentials no longer work; run: gcloud auth application-default login ({error})"
        )
    if isinstance(error, DataCorruption):
        return TransientError(f"{uri} arrived damaged; nothing of it was kept, try again")
    unreachable = (
        auth.GoogleAuthError,
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        api.RetryError,
        ConnectionError,
        TimeoutError,
    )
    if isinstance(error, unreachable):
        return TransientError(f"cannot reach Cloud Storage to {verb} {uri}, try again later ({_root_cause(error)})")
    return None


def _root_cause(error: BaseException) -> str:
    """Return what the operating system said, without the wrappings of the libraries above it."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror.lower()
        inner = inner.__cause__ or inner.__context__
    return str(error)


def _explain_answer(error: Any, uri: str, verb: str) -> UserError | TransientError:
    bucket, name = _split(uri)
    status = int(error.code or 500)
    # The first line says it; the library repeats the whole response after it.
    first_line = str(error.message).strip().partition("\n")[0]
    answer = f"{status} {_REQUEST.sub('', first_line)[:300]}"
    if status == 404:
        return _explain_not_found(bucket, name, uri)
    if status == 401:
        return UserError(f"Cloud Storage does not know who asks for {uri}; run: gcloud auth application-default login")
    if status == 403:
        role = "roles/storage.objectViewer" if verb == "read" else "roles/storage.objectUser"
        return UserError(
            f"no permission to {verb} {uri}; grant {role} on {_SCHEME}{bucket} to the account that runs this step "
            f"(Cloud Storage answered {answer})"
        )
    if status in (408, 429) or status >= 500:
        return TransientError(f"Cloud Storage could not {verb} {uri} for now, try again later: {answer}")
    return UserError(f"Cloud Storage refuses to {verb} {uri}: {answer}")


def _explain_not_found(bucket: str, name: str, uri: str) -> UserError:
    from google.api_core import exceptions  # noqa: PLC0415

    try:
        with contextlib.suppress(exceptions.GoogleAPICallError):
            _require_bucket(bucket)
    except UserError as missing:
        return missing
    return UserError(f"{_missing(uri)} (or it was replaced while this step ran)" if name else _missing(uri))
