"""A bundle says what it holds, and verification believes nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components import storage
from components.failures import UserError
from components.formats.model_bundle import (
    MANIFEST_FILE,
    Manifest,
    describe_files,
    read_manifest,
    verify_bundle,
    write_bundle,
)


@pytest.fixture(params=["local", "gs"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a bundle."""
    if request.param == "local":
        return str(tmp_path / "bundle")
    new_bucket: Callable[[], str] = request.getfixturevalue("new_bucket")
    return f"{new_bucket()}/models/bundle"


def write(location: str, tmp_path: Path) -> Manifest:
    model = tmp_path / "model.keras"
    model.write_bytes(b"weights" * 1000)
    files: dict[str, bytes | Path] = {
        "model.keras": model,
        "saved_model/1/saved_model.pb": b"graph",
        "labels.json": b"{}",
        "empty.txt": b"",
    }
    manifest = Manifest("trees", "abc123", describe_files(files))
    write_bundle(location, manifest, files)
    return manifest


def replace(uri: str, data: bytes) -> None:
    found = storage.read_versioned(uri)
    assert storage.write_if_unchanged(uri, data, found[1] if found else 0)


def test_round_trip(location: str, tmp_path: Path) -> None:
    manifest = write(location, tmp_path)
    assert read_manifest(location) == verify_bundle(location) == manifest
    assert [file.path for file in manifest.files] == sorted(file.path for file in manifest.files)


def test_writing_again_changes_nothing(location: str, tmp_path: Path) -> None:
    write(location, tmp_path)
    before = storage.list_files(location)
    write(location, tmp_path)
    assert storage.list_files(location) == before


@pytest.mark.parametrize("file", ["model.keras", "saved_model/1/saved_model.pb", "labels.json"])
def test_a_corrupt_byte_is_named(location: str, tmp_path: Path, file: str) -> None:
    write(location, tmp_path)
    uri = storage.join(location, file)
    data = bytearray(storage.read_bytes(uri))
    data[len(data) // 2] ^= 1
    replace(uri, bytes(data))
    with pytest.raises(UserError, match=f"{file} differs"):
        verify_bundle(location)


def test_a_shorter_file_is_named(location: str, tmp_path: Path) -> None:
    write(location, tmp_path)
    replace(storage.join(location, "model.keras"), b"")
    with pytest.raises(UserError, match=r"model\.keras differs"):
        verify_bundle(location)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write(str(tmp_path / "bundle"), tmp_path)
    (tmp_path / "bundle" / "saved_model" / "1" / "saved_model.pb").unlink()
    with pytest.raises(UserError, match=r"saved_model/1/saved_model\.pb is missing"):
        verify_bundle(tmp_path / "bundle")


def test_a_planted_file_is_named(location: str, tmp_path: Path) -> None:
    write(location, tmp_path)
    storage.write_if_absent(storage.join(location, "saved_model/1/assets.extra/run.py"), b"import os")
    with pytest.raises(UserError, match=r"assets\.extra/run\.py is not in its manifest"):
        verify_bundle(location)


def test_leftovers_of_an_interrupted_writer_do_no_harm(tmp_path: Path) -> None:
    write(str(tmp_path / "bundle"), tmp_path)
    (tmp_path / "bundle" / ".0123abcd.partial").write_bytes(b"half")
    verify_bundle(tmp_path / "bundle")


def test_without_a_manifest_there_is_no_bundle(location: str, tmp_path: Path) -> None:
    storage.write_if_absent(storage.join(location, "model.keras"), b"weights")
    assert read_manifest(location) is None
    with pytest.raises(UserError, match="is no model bundle"):
        verify_bundle(location)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../b", "a//b", 5])
def test_a_manifest_that_points_outside_is_refused(tmp_path: Path, path: object) -> None:
    files = [{"path": path, "size_bytes": 1, "sha256": "0" * 64}]
    (tmp_path / MANIFEST_FILE).write_text(json.dumps({"model_name": "a", "version": "b", "files": files}))
    with pytest.raises(UserError, match="not to be trusted"):
        verify_bundle(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"files": []}', '{"model_name": "a", "version": "b", "files": [{}]}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST_FILE).write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json is not a manifest"):
        verify_bundle(tmp_path)
