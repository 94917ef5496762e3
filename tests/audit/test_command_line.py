"""The audit alone, on folders and ZIP files as they come."""

import dataclasses
import inspect
import zipfile
from pathlib import Path

import pytest

from components.audit.command_line import main
from components.audit.recommended import LABELS_FILE, RECOMMENDED, SAMPLE_IMAGES, SEED
from components.audit.source_reading import write_archive
from components.formats.findings import read_findings, read_measurements
from components.formats.image_archive import read_catalog, read_skipped
from pipeline import image_classification
from tests.audit.images import photo


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def labels(source: Path, directory: Path) -> dict[str, str]:
    directory.mkdir()
    write_archive(source, directory, LABELS_FILE)
    catalog = read_catalog(directory)
    return dict(zip(catalog["path"], catalog["label"], strict=True))


@pytest.mark.parametrize("where", ["labels.csv", "animals/labels.csv"])
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "ZIP file"])
def test_labels_recorded_in_the_source_are_compared_with_the_folders(where: str, zipped: bool, tmp_path: Path) -> None:
    files = {f"animals/{name}.jpg": photo(seed) for seed, name in enumerate(("bird/owl", "bird/jay", "fish/cod"))}
    source = write(tmp_path / "photos", files | {where: b"path,label\nbird/owl.jpg,bird\nbird/jay.jpg,fish\n"})
    if zipped:
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for path in sorted(source.rglob("*.*")):
                archive.write(path, path.relative_to(source))
        source = tmp_path / "photos.zip"
    assert main([str(source), "--report", str(tmp_path / "report.html")]) == 0
    findings = read_findings(tmp_path / "report-findings")
    assert findings.loc[findings["check"] == "label_mismatch", "path"].tolist() == ["bird/jay.jpg"]


def test_a_labels_file_that_makes_no_sense_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "photos", {"bird/owl.jpg": photo(1), "fish/cod.jpg": photo(2), "labels.csv": b"a,b\n"})
    assert main([str(source), "--report", str(tmp_path / "report.html")]) == 2
    error = capsys.readouterr().err
    assert "labels.csv has no column 'path'" in error
    assert "--labels-file ''" in error
    assert main([str(source), "--report", str(tmp_path / "report.html"), "--labels-file", ""]) == 0


def test_a_folder_is_audited_and_the_report_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "photos", {"bird/owl.jpg": photo(1), "fish/cod.jpg": b"", "logo.png": photo(2)})
    assert main([str(source), "--report", str(tmp_path / "out" / "report.html"), "--workers", "1"]) == 0
    findings = read_findings(tmp_path / "out" / "report-findings")
    assert {("fish/cod.jpg", "empty_file"), ("logo.png", "loose_file")} <= set(
        zip(findings["path"], findings["check"], strict=True)
    )
    assert len(read_measurements(tmp_path / "out" / "report-findings")) == 2
    assert "report.html" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report-findings", "report.html"]


def test_the_archive_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    source = write(tmp_path / "photos", {"bird/owl.jpg": photo(1), "fish/cod.jpg": photo(2)})
    arguments = [str(source), "--report", str(tmp_path / "report.html"), "--archive", str(tmp_path / "archive")]
    assert main(arguments) == main(arguments) == 0
    assert list(read_catalog(tmp_path / "archive")["path"]) == ["bird/owl.jpg", "fish/cod.jpg"]


def test_a_flat_folder_is_one_class(tmp_path: Path) -> None:
    source = write(tmp_path / "photos", {"a.jpg": photo(), "b.jpg": photo(1), ".hidden.jpg": photo(), "notes.txt": b""})
    assert labels(source, tmp_path / "archive") == {"a.jpg": "photos", "b.jpg": "photos"}


def test_a_zip_is_read_without_the_folder_around_everything(tmp_path: Path) -> None:
    source = tmp_path / "animals.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("animals/bird/owl.jpg", photo())
        members.writestr("animals/fish/cod.jpg", photo(1))
        members.writestr("animals/fish/bomb.png", bytes(5_000_000))
        members.writestr("__MACOSX/animals/fish/._cod.jpg", b"junk")
        members.writestr("../outside/evil.jpg", photo())
    assert labels(source, tmp_path / "archive") == {"bird/owl.jpg": "bird", "fish/cod.jpg": "fish"}
    skipped = read_skipped(tmp_path / "archive")
    assert {path.rpartition("/")[2] for path in skipped["path"]} == {"bomb.png", "evil.jpg"}


@pytest.mark.parametrize("source", ["nowhere", "empty", "notes.txt"])
def test_what_is_no_source_is_refused(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("text")
    assert main([str(tmp_path / source), "--report", str(tmp_path / "r.html")]) == 2
    assert source in capsys.readouterr().err


def test_thresholds_are_the_pipelines() -> None:
    source = inspect.getsource(image_classification)
    for name, value in dataclasses.asdict(RECOMMENDED).items():
        assert f"{name}: {type(value).__name__} = {value}," in source
    assert f"sample_images: int = {SAMPLE_IMAGES}," in source
    assert f"seed: int = {SEED}," in source
    assert f'labels_file: str = "{LABELS_FILE}",' in source
