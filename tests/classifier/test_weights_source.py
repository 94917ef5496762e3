"""A weights file is known for what it is by a few of its bytes, here and in a bucket, before anything trains."""

import gzip
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from google.cloud import storage as google_storage

from components import storage
from components.classifier.weights_source import check_weights_file
from components.failures import UserError
from tests.scripted_gcs import Answer, scripted_gcs

Place = Callable[[bytes], str]
SUPERBLOCKS = [("earliest", "latest"), ("v108", "v108"), ("latest", "latest")]


@pytest.fixture(params=["file", "object"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A function that keeps bytes in a file of this machine, or in a bucket, and returns where."""
    if request.param == "file":

        def keep(content: bytes) -> str:
            (tmp_path / "kept").write_bytes(content)
            return str(tmp_path / "kept")

        return keep
    bucket = request.getfixturevalue("new_bucket")()

    def upload(content: bytes) -> str:
        storage.delete_file(f"{bucket}/kept")
        storage.write_if_absent(f"{bucket}/kept", content)
        return f"{bucket}/kept"

    return upload


def hdf5(folder: Path, versions: tuple[str, str]) -> bytes:
    with h5py.File(folder / "weights.h5", "w", libver=versions) as file:
        file["dense/kernel"] = np.zeros((50, 40), np.float32)
    return (folder / "weights.h5").read_bytes()


def archive(folder: Path) -> bytes:
    arrays = {"dense/kernel": np.zeros((50, 40), np.float32)}
    np.savez(folder / "weights.npz", allow_pickle=False, **arrays)
    return (folder / "weights.npz").read_bytes()


@pytest.mark.parametrize("versions", SUPERBLOCKS)
def test_an_hdf5_file_is_whole_or_cut_short(place: Place, tmp_path: Path, versions: tuple[str, str]) -> None:
    whole = hdf5(tmp_path, versions)
    assert check_weights_file(place(whole)).size_bytes == len(whole)
    for kept in (len(whole) - 1, len(whole) // 2, 60):
        with pytest.raises(UserError, match=rf"kept is cut short: it has {kept:,} bytes of {len(whole):,}; take an"):
            check_weights_file(place(whole[:kept]))
    with pytest.raises(UserError, match="kept is cut short: it has 20 bytes; take an intact copy"):
        check_weights_file(place(whole[:20]))


def test_an_archive_of_arrays_is_whole_or_cut_short(place: Place, tmp_path: Path) -> None:
    whole = archive(tmp_path)
    assert check_weights_file(place(whole)).size_bytes == len(whole)
    for kept in (len(whole) - 1, len(whole) // 2, 8):
        with pytest.raises(UserError, match=r"kept is cut short or damaged \(File is not a zip file\); take an intact"):
            check_weights_file(place(whole[:kept]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "kept is empty: its upload or download may have failed; for inception_v3 give Keras'"),
        (b"\x89HDF", "kept is neither HDF5 nor a NumPy archive: for inception_v3 give Keras'"),
        (b"<!DOCTYPE html><html>Sign in", "archive but begins as a web page does, that of a login or an error"),
        (b"\n<?xml version='1.0'?><Error>", "archive but begins as a web page does"),
        (b"version https://git-lfs.github.com/spec/v1\n", "archive but begins as a pointer of Git LFS does"),
    ],
    ids=["empty", "short", "web page", "XML", "Git LFS"],
)
def test_what_holds_no_weights_is_told_by_its_first_bytes(place: Place, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_weights_file(place(content))


def test_a_model_in_a_zip_file_is_no_archive_of_arrays(place: Place, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as model:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            model.writestr(name, "{}")
    with pytest.raises(UserError, match="is a ZIP file of 'metadata.json', 'config.json', 'model.weights.h5' and not"):
        check_weights_file(place((tmp_path / "model.keras").read_bytes()))


def test_weights_that_were_compressed_for_the_way_are_refused(new_bucket: Callable[[], str], tmp_path: Path) -> None:
    """Training would refuse them, too: their size and checksum are those of the compressed bytes."""
    bucket = new_bucket()
    client = google_storage.Client.create_anonymous_client()
    blob = client.bucket(bucket.removeprefix("gs://")).blob("weights.h5")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(hdf5(tmp_path, ("earliest", "latest"))))
    client.close()
    with pytest.raises(UserError, match=r"weights\.h5 is stored with Content-Encoding gzip; upload it again"):
        check_weights_file(f"{bucket}/weights.h5")


def test_a_large_file_in_a_bucket_is_not_fetched_whole() -> None:
    """An object of 400 MB whose bytes are answered as asked for."""
    size_bytes, fetched = 400_000_000, []
    superblock = b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0".ljust(40, b"\0") + size_bytes.to_bytes(8, "little")

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        if "alt=media" not in path:
            return Answer.of({"name": "w.h5", "bucket": "b", "size": str(size_bytes), "generation": "7"})
        first, last = map(int, headers["Range"].removeprefix("bytes=").split("-"))
        fetched.append(last + 1 - first)
        content = superblock.ljust(last + 1, b"\0")[first : last + 1]
        return Answer(206, content, {"Content-Range": f"bytes {first}-{last}/{size_bytes}"})

    with scripted_gcs(answer):
        assert check_weights_file("gs://b/w.h5").size_bytes == size_bytes
    assert 0 < sum(fetched) <= 2**20 + 1


def test_weights_that_may_not_be_read_name_the_role() -> None:
    with (
        scripted_gcs(lambda *_: Answer.refusal(403, "you may not")),
        pytest.raises(
            UserError, match=r"no permission to read gs://b/w\.h5; grant roles/storage\.objectViewer on gs://b"
        ),
    ):
        check_weights_file("gs://b/w.h5")
