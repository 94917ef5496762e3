"""Where a dataset comes from, and its fingerprint."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from components import storage
from components.failures import UserError
from components.ingest.source import find_source, fingerprint_source


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A small folder of class folders, in a local folder and in a bucket."""
    root = str(tmp_path) if request.param == "local" else request.getfixturevalue("new_bucket")()
    folder = storage.join(root, "animals")
    for name in ("bird/owl.jpg", "fish/cod.jpg", ".DS_Store"):
        storage.write_if_absent(storage.join(folder, name), name.encode())
    return folder


def replace(uri: str, data: bytes) -> None:
    found = storage.read_versioned(uri)
    assert storage.write_if_unchanged(uri, data, found[1] if found else 0)


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_folder_is_found_with_names_relative_to_it(folder: str, ending: str) -> None:
    source = find_source(folder + ending)
    assert not source.zipped
    assert list(source.names) == [".DS_Store", "bird/owl.jpg", "fish/cod.jpg"]
    assert [file.uri for file in source.files] == [storage.join(folder, name) for name in source.names]


@pytest.mark.parametrize("written", ["animals", "./animals", "animals/", "../here/animals"])
def test_local_folders_may_be_written_in_any_way(written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here/animals/bird").mkdir(parents=True)
    (tmp_path / "here/animals/bird/owl.jpg").write_bytes(b"owl")
    monkeypatch.chdir(tmp_path / "here")
    assert list(find_source(written).names) == ["bird/owl.jpg"]
    monkeypatch.chdir(tmp_path / "here/animals")
    assert list(find_source(".").names) == ["bird/owl.jpg"]


def test_a_whole_bucket_is_a_folder(new_bucket: Callable[[], str]) -> None:
    bucket = new_bucket()
    storage.write_if_absent(f"{bucket}/bird/owl.jpg", b"owl")
    for uri in (bucket, f"{bucket}/"):
        assert list(find_source(uri).names) == ["bird/owl.jpg"]


def test_a_file_is_a_zip_by_its_being_there(folder: str) -> None:
    uri = storage.join(folder, "bird/owl.jpg")
    source = find_source(uri)
    assert source.zipped
    assert [file.uri for file in source.files] == [uri]


def test_a_fingerprint_follows_the_content(folder: str) -> None:
    first = fingerprint_source(folder)
    assert len(first) == 64
    assert fingerprint_source(folder + "/") == first

    replace(storage.join(folder, ".DS_Store"), b"Finder was here")
    assert fingerprint_source(folder) == first

    replace(storage.join(folder, "bird/owl.jpg"), b"other bytes!")
    second = fingerprint_source(folder)
    assert second != first

    storage.write_if_absent(storage.join(folder, "fish/tuna.jpg"), b"")
    assert len({first, second, fingerprint_source(folder)}) == 3


def test_a_local_fingerprint_is_of_the_content_and_not_of_times_and_places(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "bird").mkdir(parents=True)
        (tmp_path / place / "bird/owl.jpg").write_bytes(b"owl")
    os.utime(tmp_path / "b/bird/owl.jpg", (0, 0))
    assert fingerprint_source(str(tmp_path / "a")) == fingerprint_source(str(tmp_path / "b"))


@pytest.mark.parametrize("name", ["Animals.zip", ".hidden.zip"])
def test_a_replaced_zip_has_another_fingerprint(new_bucket: Callable[[], str], name: str) -> None:
    uri = f"{new_bucket()}/{name}"
    storage.write_if_absent(uri, b"same size 1")
    first = fingerprint_source(uri)
    assert fingerprint_source(uri) == first
    replace(uri, b"same size 2")
    assert fingerprint_source(uri) != first


def test_a_source_that_is_not_there_is_named(new_bucket: Callable[[], str], tmp_path: Path) -> None:
    bucket = new_bucket()
    with pytest.raises(UserError, match=f"{bucket}/Animals.zip does not exist or holds no files.*storage ls {bucket}"):
        find_source(f"{bucket}/Animals.zip")
    with pytest.raises(UserError, match="gs://no-such-bucket does not exist"):
        find_source("gs://no-such-bucket/animals/")
    with pytest.raises(UserError, match="Animals.zip does not exist; check the path"):
        find_source(str(tmp_path / "Animals.zip"))
    with pytest.raises(UserError, match="holds no files; give a ZIP file"):
        find_source(str(tmp_path))
    with pytest.raises(UserError, match="source is empty"):
        find_source(" ")
