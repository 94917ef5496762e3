"""The classes of a source are known before anything is downloaded."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components import storage
from components.failures import UserError
from components.ingest.limits import Limits
from components.ingest.source_classes import source_classes

LIMITS = Limits(max_files=100, max_file_mib=64, max_total_gib=1, max_compression_ratio=200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ash/1.jpg", "ash/2.jpg", "birch/1.jpg", "labels.csv", ".hidden/1.jpg"):
        path = tmp_path / "trees" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"an image")
    return tmp_path / "trees"


def zipped(folder: Path, path: Path, padding: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.jpg")):
            archive.write(file, f"trees/{file.relative_to(folder)}")
        if padding:
            archive.writestr("trees/ash/large.jpg", padding)
    return path


def test_of_folders_and_zip_files_on_this_machine(folder: Path, tmp_path: Path) -> None:
    assert source_classes(str(folder), "labels.csv", LIMITS) == ["ash", "birch"]
    assert source_classes(str(zipped(folder, tmp_path / "a.zip")), "labels.csv", LIMITS) == ["ash", "birch"]


def test_of_folders_and_zip_files_in_a_bucket(folder: Path, tmp_path: Path, new_bucket: Callable[[], str]) -> None:
    bucket = new_bucket()
    for file in folder.rglob("*.jpg"):
        storage.write_if_absent(f"{bucket}/trees/{file.relative_to(folder)}", file)
    padding = np.random.default_rng(0).bytes(24 * 2**20)
    storage.write_if_absent(f"{bucket}/trees.zip", zipped(folder, tmp_path / "large.zip", padding))
    assert source_classes(f"{bucket}/trees", "labels.csv", LIMITS) == ["ash", "birch"]
    assert source_classes(f"{bucket}/trees.zip", "labels.csv", LIMITS) == ["ash", "birch"]


def test_only_the_end_of_a_zip_file_in_a_bucket_is_read(
    folder: Path, tmp_path: Path, new_bucket: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.storage import Blob

    uri = f"{new_bucket()}/trees.zip"
    padding = np.random.default_rng(0).bytes(24 * 2**20)
    storage.write_if_absent(uri, zipped(folder, tmp_path / "large.zip", padding))
    fetched = []
    download = Blob.download_as_bytes

    def counted(self: Blob, *arguments: object, **options: object) -> bytes:
        data: bytes = download(self, *arguments, **options)
        fetched.append(len(data))
        return data

    monkeypatch.setattr(Blob, "download_as_bytes", counted)
    assert source_classes(uri, "", LIMITS) == ["ash", "birch"]
    assert 0 < sum(fetched) < 8 * 2**20


def test_what_is_no_zip_file_is_named(tmp_path: Path, new_bucket: Callable[[], str]) -> None:
    uri = f"{new_bucket()}/trees.zip"
    storage.write_if_absent(uri, b"no zip")
    with pytest.raises(UserError, match="trees.zip is not a ZIP file"):
        source_classes(uri, "", LIMITS)
