"""Cloud Storage and local files behind one interface: the emulator for what works, scripted answers for what fails."""

import base64
import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import google_crc32c
import pytest

from components import storage
from components.failures import TransientError, UserError
from components.launch.gcs_emulator import HOST_VARIABLE
from tests.permissions import unprivileged
from tests.scripted_gcs import Answer, scripted_gcs


@pytest.fixture(params=["local", "remote"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place to store files in, as a URI: a local folder and a bucket."""
    if request.param == "local":
        return str(tmp_path / "store")
    new_bucket: Callable[[], str] = request.getfixturevalue("new_bucket")
    return new_bucket()


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


@pytest.mark.parametrize(
    ("uri", "parts", "expected"),
    [
        ("gs://b", ("x",), "gs://b/x"),
        ("gs://b/", ("x/", "y"), "gs://b/x/y"),
        ("gs://b/p/", ("x.jpg",), "gs://b/p/x.jpg"),
        ("gs://b/p", (), "gs://b/p"),
        ("gs:///", ("x",), "gs:///x"),
        ("/data", ("x", "y"), "/data/x/y"),
        ("data/", ("x",), "data/x"),
    ],
)
def test_join(uri: str, parts: tuple[str, ...], expected: str) -> None:
    assert storage.join(uri, *parts) == expected


def test_only_gs_uris_are_remote() -> None:
    assert storage.is_remote("gs://b/x")
    assert not storage.is_remote("/gcs/b/x")
    with pytest.raises(UserError, match="neither a gs:// URI nor a local path"):
        storage.stat_file("s3://b/x")
    with pytest.raises(UserError, match="names no bucket"):
        storage.list_files("gs://")


def test_what_is_written_is_listed_looked_up_and_read(root: str) -> None:
    for name in ("b/z.txt", "a.txt", "b/a/deep.txt", "bb.txt"):
        assert storage.write_if_absent(storage.join(root, name), name.encode())

    listed = storage.list_files(root)
    assert [file.uri for file in listed] == [
        storage.join(root, name) for name in ("a.txt", "b/a/deep.txt", "b/z.txt", "bb.txt")
    ]
    assert [file.size_bytes for file in listed] == [5, 12, 7, 6]
    assert [file.uri for file in storage.list_files(storage.join(root, "b"))] == [
        storage.join(root, name) for name in ("b/a/deep.txt", "b/z.txt")
    ], "a prefix is a folder: bb.txt is not in b"
    assert storage.stat_file(storage.join(root, "a.txt")) == listed[0]
    assert storage.stat_file(storage.join(root, "none.txt")) is None
    assert storage.read_bytes(storage.join(root, "b/z.txt")) == b"b/z.txt"
    if storage.is_remote(root):
        assert all(file.generation > 0 and file.crc32c for file in listed)
    else:
        assert all(file.generation == 0 for file in listed)


def test_a_file_is_deleted_alone(root: str) -> None:
    for name in ("a/x.txt", "a/x.txt.more", "a/x"):
        assert storage.write_if_absent(storage.join(root, name), name.encode())
    assert storage.delete_file(storage.join(root, "a/x.txt"))
    assert not storage.delete_file(storage.join(root, "a/x.txt"))
    assert [file.uri for file in storage.list_files(root)] == [
        storage.join(root, name) for name in ("a/x", "a/x.txt.more")
    ]


def test_nothing_is_deleted_without_a_bucket_or_a_name(new_bucket: Callable[[], str]) -> None:
    with pytest.raises(UserError, match="does not exist"):
        storage.delete_file("gs://no-such-bucket/x")
    with pytest.raises(UserError, match="names no object"):
        storage.delete_file(f"{new_bucket()}/folder/")


def test_folder_markers_are_no_files(new_bucket: Callable[[], str]) -> None:
    from google.cloud import storage as google_storage

    bucket = new_bucket()
    google_storage.Client().bucket(bucket.removeprefix("gs://")).blob("animals/").upload_from_string(b"")
    storage.write_if_absent(f"{bucket}/animals/owl.jpg", b"owl")
    assert [file.uri for file in storage.list_files(f"{bucket}/animals/")] == [f"{bucket}/animals/owl.jpg"]


def test_download_brings_many_objects_in_order(new_bucket: Callable[[], str], tmp_path: Path) -> None:
    bucket = new_bucket()
    contents = {f"{number:03d}.bin": os.urandom(number * 37) for number in range(60)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: storage.write_if_absent(f"{bucket}/{item[0]}", item[1]), contents.items()))
    files = storage.list_files(bucket)
    paths = storage.download(files[::-1], tmp_path, workers=3)
    assert [path.read_bytes() for path in paths] == list(contents.values())[::-1]
    assert {path.suffix for path in paths} == {".bin"}
    assert sorted(tmp_path.iterdir()) == sorted(paths), "no temporary file is left"


def test_download_slices_a_large_object(
    new_bucket: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(storage, "_SLICED_FROM_BYTES", 2**20)
    monkeypatch.setattr(storage, "_SLICE_BYTES", 300_000)
    monkeypatch.setattr(storage, "_PROGRESS_SECONDS", 0.0)
    bucket = new_bucket()
    data = os.urandom(2**20 + 12_345)
    storage.write_if_absent(f"{bucket}/large.zip", data)
    [path] = storage.download(storage.list_files(bucket), tmp_path, workers=4)
    assert path.read_bytes() == data
    assert "downloaded 1.1 MB of 1.1 MB" in capsys.readouterr().out


def test_download_takes_the_generation_that_was_listed_or_nothing(
    new_bucket: Callable[[], str], tmp_path: Path
) -> None:
    bucket = new_bucket()
    storage.write_if_absent(f"{bucket}/x", b"old")
    listed = storage.list_files(bucket)
    assert storage.write_if_unchanged(f"{bucket}/x", b"new", listed[0].generation)
    with pytest.raises((UserError, TransientError), match=r"was replaced|arrived damaged"):
        storage.download(listed, tmp_path, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_local_files_are_not_copied(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"x")
    (tmp_path / "downloads").mkdir()
    assert storage.download(storage.list_files(str(tmp_path)), tmp_path / "downloads", workers=1) == [
        tmp_path / "x.txt"
    ]


def test_localized_gives_a_path_with_the_suffix(root: str) -> None:
    uri = storage.join(root, "weights.keras")
    storage.write_if_absent(uri, b"weights")
    with storage.localized(uri) as path:
        assert path.read_bytes() == b"weights"
        assert path.suffix == ".keras"
    assert path.exists() == (not storage.is_remote(uri)), "a download ends with the block, the user's file stays"
    with pytest.raises(UserError, match="does not exist"), storage.localized(storage.join(root, "none")):
        pass


@pytest.mark.parametrize("as_file", [False, True])
def test_of_racing_creators_exactly_one_wins(root: str, as_file: bool, tmp_path: Path) -> None:
    uri = storage.join(root, "models", "1", "DONE")
    contents: list[bytes | Path] = []
    for number in range(8):
        data = f"writer {number}".encode() * 1000
        contents.append(data)
        if as_file:
            contents[-1] = tmp_path / f"{number}"
            (tmp_path / f"{number}").write_bytes(data)
    barrier = threading.Barrier(8)

    def create(content: bytes | Path) -> bool:
        barrier.wait()
        return storage.write_if_absent(uri, content)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, contents))
    assert sum(won) == 1
    winner = contents[won.index(True)]
    assert storage.read_bytes(uri) == (winner if isinstance(winner, bytes) else winner.read_bytes())


def test_racing_updates_lose_nothing(root: str) -> None:
    uri = storage.join(root, "index.txt")

    def append(number: int) -> None:
        while True:
            data, version = storage.read_versioned(uri) or (b"", 0)
            if storage.write_if_unchanged(uri, data + f"{number}\n".encode(), version):
                return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(12)))
    assert sorted(int(line) for line in storage.read_bytes(uri).split()) == list(range(12))


def test_a_stale_version_does_not_overwrite(root: str) -> None:
    uri = storage.join(root, "index.json")
    assert storage.read_versioned(storage.join(root, "index.json")) is None
    assert storage.write_if_unchanged(uri, b"1", 0)
    assert not storage.write_if_unchanged(uri, b"2", 0)
    found = storage.read_versioned(uri)
    assert found is not None
    assert storage.write_if_unchanged(uri, b"2", found[1])
    assert not storage.write_if_unchanged(uri, b"3", found[1])
    assert storage.read_bytes(uri) == b"2"


def test_only_the_lock_stays_beside_a_local_file(tmp_path: Path) -> None:
    storage.write_if_absent(str(tmp_path / "x"), b"1")
    storage.write_if_absent(str(tmp_path / "x"), b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    found = storage.read_versioned(str(tmp_path / "x"))
    assert found is not None
    storage.write_if_unchanged(str(tmp_path / "x"), b"3", found[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.storage-lock", "x"]
    assert [file.uri for file in storage.list_files(str(tmp_path))] == [str(tmp_path / "x")]


def test_file_systems_without_hard_links_still_create_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert storage.write_if_absent(str(tmp_path / "x"), b"1")
    assert not storage.write_if_absent(str(tmp_path / "x"), b"2")
    assert (tmp_path / "x").read_bytes() == b"1"


def test_links_in_a_local_folder_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "owl.jpg").write_bytes(b"owl")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bird").symlink_to(tmp_path / "photos")
    assert [file.uri for file in storage.list_files(str(tmp_path / "data"))] == [str(tmp_path / "data/bird/owl.jpg")]
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "data")
    with pytest.raises(UserError, match="a folder that contains it"):
        storage.list_files(str(tmp_path / "data"))
    (tmp_path / "photos" / "again").unlink()
    (tmp_path / "photos" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"gone\.jpg is a broken link"):
        storage.list_files(str(tmp_path / "data"))
    (tmp_path / "photos" / "gone.jpg").unlink()
    os.mkfifo(tmp_path / "photos" / "pipe.jpg")
    with pytest.raises(UserError, match=r"pipe\.jpg is not a regular file"):
        storage.list_files(str(tmp_path / "data"))


def test_what_others_remove_meanwhile_is_no_fault(tmp_path: Path) -> None:
    """Attempts that run at once delete each other's older checkpoints."""
    (tmp_path / "stays").write_bytes(b"1")
    ended = threading.Event()

    def come_and_go(folder: Path) -> None:
        while not ended.is_set():
            folder.mkdir()
            files = [folder / str(number) for number in range(20)]
            for file in files:
                file.write_bytes(b"2")
            for file in files:
                file.unlink()
            folder.rmdir()

    listings = seen = 0
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(come_and_go, tmp_path / name) for name in ("one", "other")]
        try:
            # One listing in a thousand meets a folder that is gone and back; on one processor many meet no file at all.
            while (listings < 3000 or not seen) and not any(other.done() for other in others):
                listed = {file.uri for file in storage.list_files(str(tmp_path))}
                assert str(tmp_path / "stays") in listed
                listings += 1
                seen += len(listed) > 1
                storage.stat_file(str(tmp_path / "one" / "19"))
        finally:
            ended.set()
        for other in others:
            other.result()
    assert seen


WRITER = """
import sys, time
from components import storage

def wait(number):
    print("writing", flush=True)
    time.sleep(600)

storage.os.fsync = wait  # all bytes are there, and nothing is published
storage.write_if_absent(sys.argv[1], b"12345")
"""


def test_what_a_killed_writer_leaves_is_removed_and_what_one_is_at_stays(tmp_path: Path) -> None:
    def half_written() -> list[Path]:
        return [path for path in tmp_path.iterdir() if path.name.endswith(".storage-partial")]

    (tmp_path / ".mine.storage-partial").write_bytes(b"of another kind")
    (tmp_path / f".{'1' * 32}.storage-partial").mkdir()
    (tmp_path / f".{'0' * 32}.storage-partial").touch()  # the lock comes before the first byte
    kept = sorted(half_written())
    command = [sys.executable, "-c", WRITER, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            assert len(half_written()) == 4

            assert storage.remove_abandoned(str(tmp_path), idle_seconds=0) == 0
            assert len(half_written()) == 4
        finally:
            writer.kill()

    assert storage.remove_abandoned(str(tmp_path)) == 0, "it may be another machine's, whose lock is not seen"
    assert len(half_written()) == 4
    assert storage.remove_abandoned(str(tmp_path), idle_seconds=0) == 5
    assert sorted(half_written()) == kept
    assert storage.list_files(str(tmp_path)) == []
    assert storage.remove_abandoned(str(tmp_path / "none")) == 0


def test_what_is_abandoned_in_folders_below_is_listed_and_removed(tmp_path: Path) -> None:
    now = time.time()
    old, fresh, linked = (f".{digit * 32}.storage-partial" for digit in "abc")
    below, elsewhere = tmp_path / "versions" / "1", tmp_path / "elsewhere"
    for folder in (below, elsewhere):
        folder.mkdir(parents=True)
    for path, idle_seconds in ((below / old, 7200), (below / fresh, 60), (elsewhere / old, 7200)):
        path.write_bytes(b"half")
        os.utime(path, (now - idle_seconds, now - idle_seconds))
    (tmp_path / "versions" / "2").symlink_to(elsewhere)
    (below / "whole").write_bytes(b"published")
    os.link(below / "whole", below / linked)  # its writer was killed just before it took the other name away
    os.utime(below / linked, (now - 7200, now - 7200))

    here = str(tmp_path / "versions")
    found = storage.abandoned_files(here)
    assert [(Path(file.uri), file.size_bytes) for file in found] == [(below / old, 4), (below / linked, 0)]
    assert storage.remove_abandoned(here) == 0, "nothing lies in the folder itself"
    assert storage.remove_abandoned(here, below=True) == 4
    assert sorted(path.name for path in below.iterdir()) == [fresh, "whole"]
    assert (elsewhere / old).exists(), "a link may lead to somebody else's"
    assert storage.abandoned_files(here) == []
    assert storage.remove_abandoned(here, below=True, idle_seconds=0) == 4
    assert storage.abandoned_files("gs://no-bucket-is-asked/x") == []


def test_what_is_abandoned_is_listed_where_readers_get_no_exclusive_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As flock(2) says of NFS."""
    locked = fcntl.flock

    def of_nfs(file: IO[bytes], operation: int) -> None:
        if operation & fcntl.LOCK_EX and not file.writable():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        locked(file, operation)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    left = tmp_path / f".{'0' * 32}.storage-partial"
    left.write_bytes(b"half")
    hours_ago = time.time() - 7200
    os.utime(left, (hours_ago, hours_ago))

    assert [file.uri for file in storage.abandoned_files(str(tmp_path))] == [str(left)]
    assert storage.remove_abandoned(str(tmp_path)) == 4


def test_removing_what_is_abandoned_hinders_no_writer(tmp_path: Path) -> None:
    ended = threading.Event()

    def clean() -> None:
        while not ended.is_set():
            assert storage.remove_abandoned(str(tmp_path), idle_seconds=0) == 0

    with ThreadPoolExecutor(2) as pool:
        cleaners = [pool.submit(clean) for _ in range(2)]
        try:
            for number in range(200):
                assert storage.write_if_absent(str(tmp_path / str(number)), b"1" * 1000)
        finally:
            ended.set()
        for cleaner in cleaners:
            cleaner.result()
    assert len(storage.list_files(str(tmp_path))) == 200


# What goes wrong ----------------------------------------------------------------------------------------------------


def test_a_missing_local_folder_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none does not exist"):
        storage.list_files(str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"none does not exist"):
        storage.read_bytes(str(tmp_path / "none"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="not a directory"):
        storage.list_files(str(tmp_path / "file"))


@pytest.mark.parametrize(
    "use",
    [
        storage.list_files,
        lambda uri: storage.stat_file(f"{uri}/x"),
        lambda uri: storage.read_bytes(f"{uri}/x"),
        lambda uri: storage.read_versioned(f"{uri}/x"),
        lambda uri: storage.write_if_absent(f"{uri}/x", b""),
        lambda uri: storage.write_if_unchanged(f"{uri}/x", b"", 0),
    ],
    ids=["list", "stat", "read", "read_versioned", "write", "update"],
)
def test_a_missing_bucket_is_named_with_the_command_that_makes_it(gcs: str, use: Callable[[str], Any]) -> None:
    with pytest.raises(UserError, match="gs://no-such-bucket does not exist; .*buckets create gs://no-such-bucket"):
        use("gs://no-such-bucket")


def test_a_missing_object_is_named(new_bucket: Callable[[], str], tmp_path: Path) -> None:
    bucket = new_bucket()
    with pytest.raises(UserError, match=f"{bucket}/x does not exist; .*gcloud storage ls {bucket}"):
        storage.read_bytes(f"{bucket}/x")
    with pytest.raises(UserError, match=f"{bucket}/x does not exist"):
        storage.download([storage.StoredFile(f"{bucket}/x", 3, 7)], tmp_path, workers=1)
    with pytest.raises(UserError, match="names no object"):
        storage.write_if_absent(bucket, b"")


@pytest.mark.parametrize(
    ("status", "message", "kind", "expected"),
    [
        (
            403,
            "sa@p does not have storage.objects.list access",
            UserError,
            "grant roles/storage.objectViewer on gs://b",
        ),
        (401, "Anonymous caller", UserError, "gcloud auth application-default login"),
        (400, "Bucket is a requester pays bucket", UserError, "requester pays"),
        (429, "Slow down", TransientError, "429"),
        (503, "Backend error", TransientError, "try again later"),
    ],
)
def test_refusals_are_explained(
    status: int, message: str, kind: type[Exception], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.1)
    with scripted_gcs(lambda *_: Answer.refusal(status, message)), pytest.raises(kind, match=expected) as said:
        storage.list_files("gs://b")
    assert "http://" not in str(said.value), "the request is of no interest to a person"


def test_a_refused_write_names_the_role_that_allows_it() -> None:
    refusal = Answer.refusal(403, "sa@p does not have storage.objects.create access")
    with scripted_gcs(lambda *_: refusal), pytest.raises(UserError, match=r"roles/storage\.objectUser on gs://b "):
        storage.write_if_absent("gs://b/x", b"1")


def test_an_outage_that_ends_is_sat_out() -> None:
    answers = [Answer.refusal(503, "Backend error"), Answer.of({"items": []})]
    with scripted_gcs(lambda *_: answers.pop(0)):
        assert storage.list_files("gs://b") == []
    assert answers == []


def test_a_refused_delete_names_the_role_that_allows_it() -> None:
    refusal = Answer.refusal(403, "sa@p does not have storage.objects.delete access")
    expected = r"no permission to delete gs://b/x; grant roles/storage\.objectUser on gs://b "
    with scripted_gcs(lambda *_: refusal), pytest.raises(UserError, match=expected):
        storage.delete_file("gs://b/x")


def test_patience_ends_retries() -> None:
    refusal = Answer.refusal(503, "Backend error")
    ends = "503 Backend|cannot reach Cloud Storage"  # the latter where a busy machine takes longer than that to answer
    with scripted_gcs(lambda *_: refusal), storage.patience(0.1), pytest.raises(TransientError, match=ends):
        storage.list_files("gs://b")


def test_patience_ends_the_wait_for_an_answer() -> None:
    answered = threading.Event()

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        answered.wait(30)
        return Answer.of({"items": []})

    with scripted_gcs(answer):
        with storage.patience(0.1), pytest.raises(TransientError, match="cannot reach Cloud Storage"):
            storage.list_files("gs://b")
        answered.set()


def test_an_outage_that_outlasts_a_transfer_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.1)
    found = Answer.of({"name": "x", "size": "1", "generation": "7"})
    refusal = Answer.refusal(503, "Backend error")

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        return found if method == "GET" and "alt=media" not in path else refusal

    with scripted_gcs(answer):
        with pytest.raises(
            TransientError, match="could not write gs://b/x for now, try again later: 503 Backend error"
        ):
            storage.write_if_absent("gs://b/x", b"1")
        with pytest.raises(TransientError, match="could not read gs://b/x for now, try again later: 503 Backend error"):
            storage.read_bytes("gs://b/x")


def test_nobody_listening_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.1)
    monkeypatch.setenv(HOST_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(TransientError, match="cannot reach Cloud Storage to read gs://b"):
        storage.list_files("gs://b")


def test_missing_credentials_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(HOST_VARIABLE, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(UserError, match="no Google Cloud credentials .*gcloud auth application-default login"):
        storage.list_files("gs://b")


CONTENT = b"0123456789" * 1000


def serving(sent: bytes, promised: bytes = CONTENT) -> Callable[[str, str, Mapping[str, str]], Answer]:
    """Answer each request for the object with ``sent``, whatever range it asks for."""
    return lambda *_: Answer(200, sent, {"Content-Length": str(len(promised)), "x-goog-generation": "7"})


@pytest.mark.parametrize(
    "sent",
    [CONTENT[:-1] + b"x", CONTENT[:-100], CONTENT + b"more", b""],
    ids=["one byte wrong", "cut short", "too long", "nothing"],
)
def test_damaged_bytes_are_never_published(sent: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.5)
    file = storage.StoredFile("gs://b/x.zip", len(CONTENT), 7, crc32c(CONTENT))
    with scripted_gcs(serving(sent, promised=sent or CONTENT)), pytest.raises(TransientError):
        storage.download([file], tmp_path, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_an_outage_ends_all_downloads_and_not_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.01)
    requests: list[str] = []

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        requests.append(path)
        return Answer.refusal(503, "Backend error")

    files = [storage.StoredFile(f"gs://b/{number}.jpg", 10, 7) for number in range(40)]
    with scripted_gcs(answer), pytest.raises(TransientError, match="503"):
        storage.download(files, tmp_path, workers=4)
    assert len(requests) <= len(files) + 2 * 4, "only the first of each thread are tried again"
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_is_resumed(tmp_path: Path) -> None:
    half = len(CONTENT) // 2

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        assert "generation=7" in path
        if "Range" not in headers:
            return Answer(200, CONTENT[:half], {"Content-Length": str(len(CONTENT))})
        start = int(headers["Range"].removeprefix("bytes=").rstrip("-"))
        content_range = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        return Answer(206, CONTENT[start:], {"Content-Range": content_range})

    file = storage.StoredFile("gs://b/x.zip", len(CONTENT), 7, crc32c(CONTENT))
    with scripted_gcs(answer):
        [path] = storage.download([file], tmp_path, workers=1)
    assert path.read_bytes() == CONTENT


def test_a_write_whose_answer_was_lost_counts_as_ours() -> None:
    """The first attempt creates the object but its answer is a 503; the retry is told that the object exists."""
    stored: dict[str, Any] = {}

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        if method == "GET":
            return Answer.of({"name": "x", "size": "1", "generation": "7", "metadata": stored["metadata"]})
        attempts.append(path)
        return Answer.refusal(503 if len(attempts) == 1 else 412, "conditionNotMet")

    attempts: list[str] = []
    stored["metadata"] = {"written-by": "somebody else"}
    with scripted_gcs(answer):
        assert not storage.write_if_absent("gs://b/x", b"1")
    assert len(attempts) == 2

    attempts.clear()
    with scripted_gcs(answer), pytest.MonkeyPatch.context() as patch:
        patch.setattr("uuid.uuid4", lambda: type("Mark", (), {"hex": "ours"}))
        stored["metadata"] = {"written-by": "ours"}
        assert storage.write_if_absent("gs://b/x", b"1")


def test_compressed_objects_are_refused_with_the_fix(tmp_path: Path) -> None:
    file = storage.StoredFile("gs://b/x.jpg", 3, 7, encoding="gzip")
    with pytest.raises(UserError, match="stored with Content-Encoding gzip; upload it again"):
        storage.download([file], tmp_path, workers=1)


def test_too_small_a_disk_is_noticed_before_the_download(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="MB free and the download needs .*TMPDIR"):
        storage.download([storage.StoredFile("gs://b/x.zip", 10**18, 7)], tmp_path, workers=1)


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.EROFS, UserError, "^cannot write x: its file system is read-only; give another place$"),
        (errno.EFBIG, UserError, "^cannot write x: its file system, or ulimit -f, allows no file of that size$"),
        (errno.EIO, TransientError, "^the disk fails while working on x; try another one$"),
    ],
)
def test_what_disks_answer_is_explained(number: int, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message), storage._explained("x", "write"):
        raise OSError(number, os.strerror(number), "/disk/x")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    message = "is a folder and not a file; check the path$"
    with pytest.raises(UserError, match=message), storage.localized(str(tmp_path)):
        pass


def test_a_place_is_tried_without_leaving_anything(root: str) -> None:
    storage.require_writable(storage.join(root, "to", "be", "made"))
    storage.write_if_absent(storage.join(root, "other"), b"")
    storage.require_writable(root)
    assert [file.uri.rpartition("/")[2] for file in storage.list_files(root)] == ["other"]


def test_a_place_that_takes_no_files_is_named(tmp_path: Path, gcs: str) -> None:
    (tmp_path / "file").touch()
    for place, message in {
        str(tmp_path / "file"): "file is a file; give a folder",
        str(tmp_path / "file" / "below"): "file is a file; give a folder",
        "/proc/x/y": "cannot write /proc/x/y: no file can be made in /proc; give another place",
        "gs://no-such-bucket/x": "gs://no-such-bucket does not exist",
        "s3://bucket/x": "other stores are not supported",
    }.items():
        with pytest.raises(UserError, match=message):
            storage.require_writable(place)
    with pytest.raises(UserError, match="cannot write /proc/x/y: /proc/x is not there and cannot be made"):
        storage.write_if_absent("/proc/x/y", b"")


def test_a_folder_in_which_nothing_can_be_reached_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o666 if os.geteuid() == 0 else 0o600)
        with unprivileged(), pytest.raises(UserError, match=f"^no permission to write {folder}; change its owner or "):
            storage.require_writable(folder)


KILLED_PROBE = """
import os, signal, sys
from components import storage

os.unlink = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
storage.require_writable(sys.argv[1])
"""


def test_a_probe_of_a_killed_process_goes_with_what_else_is_half_written(tmp_path: Path) -> None:
    assert (
        subprocess.run([sys.executable, "-c", KILLED_PROBE, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    )
    [left] = tmp_path.iterdir()
    os.utime(left, (0, 0))

    storage.remove_abandoned(str(tmp_path))

    assert not left.exists()


def test_a_disk_that_fills_up_is_transient(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    (tmp_path / "x.partial").symlink_to("/dev/full")
    with pytest.raises(TransientError, match="disk is full"), storage._explained("x", "write"):
        (tmp_path / "x.partial").write_bytes(b"1")
