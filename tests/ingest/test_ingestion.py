"""From a source to an archive, and every way a source can be wrong, through the component itself."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kfp import dsl

from components import storage
from components.formats.image_archive import ArchiveReader, read_catalog, read_skipped
from components.formats.source_record import SourceRecord, read_source_record
from components.ingest.component import ingest
from components.ingest.source import fingerprint_source
from tests.scripted_gcs import Answer, scripted_gcs

SETTINGS: dict[str, Any] = {
    "source_fingerprint": "",
    "labels_file": "labels.csv",
    "part_size_mib": 1,
    "max_files": 1000,
    "max_file_mib": 4,
    "max_total_gib": 1,
    "max_compression_ratio": 100,
    "workers": 3,
}

DATASET = {
    "bird/owl.jpg": b"owl" * 5000,
    "bird/night/owl.jpg": b"night owl",
    "bird/tit.jpg": b"",
    "fish/cod.jpg": b"cod" * 100,
    "labels.csv": b"path,label\nbird/owl.jpg,bird\nfish/cod.jpg,bird\nfish/gone.jpg,fish\n",
    "README.md": b"About",
    "bird/.DS_Store": b"junk",
    "logo.jpg": b"logo",
}
IMAGES = ["bird/night/owl.jpg", "bird/owl.jpg", "bird/tit.jpg", "fish/cod.jpg"]


@dataclass(frozen=True)
class Outputs:
    """What the component left."""

    archive: Path
    metrics: dict[str, Any]

    def catalog(self) -> pd.DataFrame:
        return read_catalog(self.archive)

    def summary(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.archive / "ingest.json").read_text())
        return value

    def contents(self) -> dict[str, bytes]:
        catalog = self.catalog()
        with ArchiveReader(self.archive) as reader:
            read = map(reader.read, catalog["part"], catalog["offset"], catalog["size_bytes"])
            return dict(zip(catalog["path"], read, strict=True))

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.archive.iterdir()}


def run(source: str, directory: Path, **settings: Any) -> Outputs:
    archive = dsl.Dataset(name="archive", uri=str(directory / "archive"), metadata={})
    metrics = dsl.Metrics(name="metrics", uri=str(directory / "metrics"), metadata={})
    ingest.python_func(**{**SETTINGS, "source": source, **settings}, archive=archive, metrics=metrics)
    return Outputs(directory / "archive", metrics.metadata)


def write_folder(files: Mapping[str, bytes], root: str) -> str:
    for name, data in files.items():
        storage.write_if_absent(storage.join(root, name), data)
    return root


def write_zip(files: Mapping[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in files.items():
            target.writestr(name, data)
    return path


@pytest.fixture(params=["local ZIP", "local folder", "remote ZIP", "remote folder", "wrapped ZIP"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same dataset in every shape a source can have."""
    place, shape = request.param.split()
    root = request.getfixturevalue("new_bucket")() if place == "remote" else str(tmp_path / "source")
    if shape == "folder":
        return write_folder(DATASET, storage.join(root, "animals"))
    wrapping = "Animals/" if place == "wrapped" else ""
    path = write_zip({wrapping + name: data for name, data in DATASET.items()}, tmp_path / "made.zip")
    uri = storage.join(root, "Animals.zip")
    storage.write_if_absent(uri, path)
    return uri


def test_every_shape_of_source_gives_the_same_archive(source: str, tmp_path: Path) -> None:
    outputs = run(source, tmp_path)

    catalog = outputs.catalog()
    assert list(catalog["path"]) == IMAGES
    assert list(catalog["label"]) == ["bird", "bird", "bird", "fish"]
    assert list(catalog["filename"]) == ["owl.jpg", "owl.jpg", "tit.jpg", "cod.jpg"]
    assert [label if isinstance(label, str) else None for label in catalog["recorded_label"]] == [
        None,
        "bird",
        None,
        "bird",
    ]
    assert outputs.contents() == {path: DATASET[path] for path in IMAGES}
    assert read_skipped(outputs.archive).to_dict("records") == [
        {"path": "README.md", "reason": "documentation"},
        {"path": "bird/.DS_Store", "reason": "operating system file"},
        {"path": "labels.csv", "reason": "labels file"},
        {"path": "logo.jpg", "reason": "outside any class folder"},
    ]
    assert outputs.metrics == {"images": 4, "classes": 2, "skipped_files": 4, "megabytes": 0.015, "tar_parts": 1}


def test_the_archive_says_where_each_image_came_from(source: str, tmp_path: Path) -> None:
    outputs = run(source, tmp_path)
    catalog, summary = outputs.catalog(), outputs.summary()
    zipped = source.endswith(".zip")
    origins = [source] * 4 if zipped else [storage.join(source, path) for path in IMAGES]
    assert list(catalog["source_uri"]) == origins
    found = [storage.stat_file(uri) for uri in origins]
    assert list(catalog["source_generation"]) == [file.generation for file in found if file]
    assert (catalog["source_generation"] > 0).all() == storage.is_remote(source)

    assert summary["source"] == source
    assert summary["kind"] == ("zip" if zipped else "folder")
    assert summary["fingerprint"] == fingerprint_source(source)
    assert summary["objects_total"] == (1 if zipped else len(DATASET))
    assert len(summary["objects"]) == summary["objects_total"]
    generation = found[0].generation if zipped and found[0] else 0
    assert read_source_record(outputs.archive) == SourceRecord(
        source, fingerprint_source(source), summary["objects_total"], generation
    )
    assert summary["images_per_class"] == {"bird": 3, "fish": 1}
    assert summary["skipped_per_reason"]["labels file"] == 1
    assert (summary["recorded_labels"], summary["recorded_labels_without_image"]) == (2, 1)
    assert summary["image_bytes"] == sum(len(DATASET[path]) for path in IMAGES)


def test_the_wrapping_folder_is_recorded(tmp_path: Path) -> None:
    path = write_zip({f"Animals/{name}": data for name, data in DATASET.items()}, tmp_path / "a.zip")
    summary = run(str(path), tmp_path).summary()
    assert summary["wrapping_folder"] == "Animals"
    assert summary["labels_file"] == "Animals/labels.csv"


def test_a_second_run_over_leftovers_gives_the_same_bytes(source: str, tmp_path: Path) -> None:
    first = run(source, tmp_path).files()
    (tmp_path / "archive" / "part-00099.tar").write_bytes(b"left over")
    (tmp_path / ".archive.partial").mkdir()
    (tmp_path / ".archive.partial" / "part-00000.tar").write_bytes(b"half")
    second = run(source, tmp_path, source_fingerprint=fingerprint_source(source), workers=0).files()
    assert first == second
    assert not (tmp_path / ".archive.partial").exists()


def test_real_photographs_arrive_untouched(
    sample_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = run(str(sample_photos), tmp_path)
    assert outputs.contents() == {
        path.relative_to(sample_photos).as_posix(): path.read_bytes() for path in sample_photos.glob("*/*")
    }
    assert outputs.metrics["images"] == 77
    assert outputs.metrics["tar_parts"] == 4
    assert "ingest: packed 77 of 77 images" in capsys.readouterr().out


def test_more_objects_than_one_batch_holds(
    new_bucket: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.ingest.folder_reading._BATCH_FILES", 7)
    monkeypatch.setattr("components.ingest.folder_reading._BATCH_BYTES", 2000)
    files = {
        f"{label}/{number}.jpg": bytes([number]) * number * 20 for label in ("bird", "fish") for number in range(20)
    }
    outputs = run(write_folder(files, new_bucket()), tmp_path)
    assert outputs.contents() == files


@pytest.mark.parametrize("labels_file", ["", "none.csv"])
def test_no_labels_file_leaves_recorded_labels_missing(labels_file: str, tmp_path: Path) -> None:
    outputs = run(write_folder(DATASET, str(tmp_path / "animals")), tmp_path, labels_file=labels_file)
    assert outputs.catalog()["recorded_label"].isna().all()
    assert outputs.summary()["labels_file"] == ""


# What goes wrong ----------------------------------------------------------------------------------------------------


@pytest.fixture
def fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs ingest, checks that it fails for good and leaves nothing, and returns what it said."""

    def check(source: str, exit_code: int = 2, **settings: Any) -> str:
        output = tmp_path / "output"
        output.mkdir()
        with pytest.raises(SystemExit) as exit_info:
            run(source, output, **settings)
        assert exit_info.value.code == exit_code
        assert list(output.iterdir()) == [], "neither an output nor a part of one is left"
        said = capsys.readouterr().err
        assert said.startswith("ingest: error: ")
        assert "Traceback" not in said
        return said

    return check


def test_a_missing_bucket(gcs: str, fails: Callable[..., str]) -> None:
    said = fails("gs://no-such-bucket/Animals.zip")
    assert (
        "gs://no-such-bucket does not exist; check its name, or create it with: gcloud storage buckets create" in said
    )


def test_a_missing_object_and_an_empty_prefix(new_bucket: Callable[[], str], fails: Callable[..., str]) -> None:
    bucket = new_bucket()
    assert f"{bucket}/Animals.zip does not exist or holds no files" in fails(f"{bucket}/Animals.zip")


def test_no_permission(fails: Callable[..., str]) -> None:
    refusal = Answer.refusal(403, "sa@p does not have storage.objects.get access to the object")
    with scripted_gcs(lambda *_: refusal):
        said = fails("gs://b/Animals.zip")
    assert "no permission to read gs://b/Animals.zip; grant roles/storage.objectViewer on gs://b to the account" in said


def test_an_outage_is_worth_a_retry(fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.1)
    with scripted_gcs(lambda *_: Answer.refusal(503, "Backend error")):
        assert "try again later" in fails("gs://b/Animals.zip", exit_code=75)


def test_a_full_disk_is_worth_a_retry(
    tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_folder(DATASET, str(tmp_path / "animals"))

    def add(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "part-00000.tar")

    monkeypatch.setattr("components.formats.image_archive.ArchiveWriter.add", add)
    said = fails(source, exit_code=75)
    full = "the disk is full (part-00000.tar); free some of it, or give the step more ephemeral storage"
    assert said == f"ingest: error: {full}\n"


BAD_FILES: dict[str, tuple[Mapping[str, bytes], str]] = {
    "images at the root only": ({"1.jpg": b"1", "2.jpg": b"2"}, "at the top level, outside any class folder"),
    "one class": ({"bird/1.jpg": b"1"}, "one class folder, 'bird'; classification needs at least two class folders"),
    "no images": ({"README.md": b"1"}, "holds no images"),
    "labels without path": (
        {"bird/1.jpg": b"1", "fish/1.jpg": b"1", "labels.csv": b"image,label\n1,2\n"},
        "labels.csv has no column 'path'",
    ),
    "large file": ({"bird/1.jpg": bytes(5 * 2**20), "fish/1.jpg": b"1"}, "larger than max_file_mib = 4"),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["ZIP", "folder"])
@pytest.mark.parametrize(("files", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_datasets_that_are_not_for_classification(
    files: Mapping[str, bytes], message: str, zipped: bool, tmp_path: Path, fails: Callable[..., str]
) -> None:
    if zipped:
        assert message in fails(str(write_zip(files, tmp_path / "a.zip")))
    else:
        assert message in fails(write_folder(files, str(tmp_path / "animals")))


def test_a_zip_that_is_none(new_bucket: Callable[[], str], fails: Callable[..., str]) -> None:
    uri = f"{new_bucket()}/Animals.zip"
    storage.write_if_absent(uri, b"<html>")
    assert f"{uri} is not a ZIP file" in fails(uri)


def test_a_zip_that_escapes(tmp_path: Path, fails: Callable[..., str]) -> None:
    path = write_zip({"bird/1.jpg": b"", "fish/../../../1.jpg": b""}, tmp_path / "a.zip")
    assert "which is not a safe name" in fails(str(path))


def test_a_zip_bomb_leaves_nothing_of_what_was_packed(tmp_path: Path, fails: Callable[..., str]) -> None:
    files = {"bird/1.jpg": b"1", "fish/bomb.jpg": bytes(4 * 2**20)}
    assert "as in a zip bomb" in fails(str(write_zip(files, tmp_path / "a.zip")))


def test_too_many_files(tmp_path: Path, fails: Callable[..., str]) -> None:
    source = write_folder(DATASET, str(tmp_path / "animals"))
    assert "holds 8 files, more than max_files = 7; raise max_files" in fails(source, max_files=7)


def test_a_source_that_changed_since_submission(source: str, fails: Callable[..., str]) -> None:
    said = fails(source, source_fingerprint="0" * 64)
    assert f"{source} changed since this run was submitted" in said
    assert "submit again" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"part_size_mib": 0}, "part_size_mib is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"max_files": 0}, "max_files is 0"),
    ],
)
def test_settings_out_of_range(
    settings: Mapping[str, Any], message: str, tmp_path: Path, fails: Callable[..., str]
) -> None:
    assert message in fails(str(tmp_path), **settings)


def test_an_earlier_output_survives_a_failure(tmp_path: Path) -> None:
    source = write_folder(DATASET, str(tmp_path / "animals"))
    before = run(source, tmp_path).files()
    with pytest.raises(SystemExit):
        run(source, tmp_path, source_fingerprint="0" * 64)
    assert Outputs(tmp_path / "archive", {}).files() == before
