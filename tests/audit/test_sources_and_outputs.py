"""The audit alone loses nothing of anybody's, survives any source, and ends in a sentence however it is stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from components.audit.command_line import main
from components.audit.source_reading import write_archive
from components.failures import UserError
from components.formats.findings import FACTS_FILE, read_findings
from tests.audit.images import photo

THREE = {"bird/owl.jpg": photo(1), "bird/jay.jpg": photo(2), "fish/cod.jpg": photo(3)}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def audit(source: Path | str, report: Path, *options: str | Path) -> int:
    return main([str(source), "--report", str(report), "--workers", "1", *map(str, options)])


@pytest.mark.parametrize("option", ["--findings", "--archive"])
@pytest.mark.parametrize("target", ["photos", ".", "photos/bird", "thesis"])
def test_folders_of_somebody_are_never_replaced(
    option: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "photos", THREE)
    write(tmp_path / "thesis", {"chapter.txt": b"years of work"})
    before = content(tmp_path)
    assert audit(source, tmp_path / "out.html", option, tmp_path / target) == 2
    assert content(tmp_path) == before
    assert option in capsys.readouterr().err


def test_outputs_in_each_others_way_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "photos", THREE)
    out = tmp_path / "out"
    assert audit(source, out / "report.html", "--findings", out) == 2
    assert audit(source, tmp_path / "report.html", "--findings", out, "--archive", out) == 2
    assert audit(source, tmp_path / "report.html", "--findings", out / "findings", "--archive", out) == 2
    assert audit(source, source) == 2
    assert "is replaced; give" in capsys.readouterr().err
    assert not out.exists()


def test_earlier_outputs_are_replaced(tmp_path: Path) -> None:
    source = write(tmp_path / "photos", THREE)
    for _ in range(2):
        assert audit(source, tmp_path / "report.html", "--archive", tmp_path / "archive") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "photos", "report-findings", "report.html"]


def unread(folder: Path) -> dict[str, str]:
    findings = read_findings(folder)
    of_check = findings[findings["check"] == "unread_file"]
    assert (of_check["severity"] == "error").all()
    return dict(zip(of_check["path"], of_check["message"], strict=True))


def test_files_that_cannot_be_had_from_a_zip_file_are_findings(tmp_path: Path) -> None:
    source = tmp_path / "photos.zip"
    with zipfile.ZipFile(source, "w") as members:
        for name, data in THREE.items():
            members.writestr(name, data)
        members.writestr("bird/packed.jpg", photo(4), zipfile.ZIP_BZIP2)
        members.writestr("fish\\windows.jpg", photo(5))
        members.writestr("C:\\photos\\drive.jpg", photo(6))
        with pytest.warns(UserWarning, match="Duplicate"):
            members.writestr("fish/cod.jpg", photo(7))
    data = source.read_bytes()
    source.write_bytes(data.replace(THREE["bird/jay.jpg"], THREE["bird/jay.jpg"][:-40] + bytes(40), 1))
    assert audit(source, tmp_path / "report.html", "--archive", tmp_path / "archive") == 0
    messages = unread(tmp_path / "report-findings")
    assert sorted(messages) == ["C:/photos/drive.jpg", "bird/jay.jpg", "bird/packed.jpg", "fish/cod.jpg"]
    assert "CRC-32" in messages["bird/jay.jpg"]
    assert "leads out" in messages["C:/photos/drive.jpg"]
    verdict = json.loads((tmp_path / "report-findings" / FACTS_FILE).read_text())["verdict"]
    assert verdict["sentence"].endswith(" 4 files of the source could not be read and had to be left out.")
    assert verdict["tone"] == "bad"
    catalog = pd.read_parquet(tmp_path / "archive" / "catalog.parquet")
    assert catalog["path"].tolist() == ["bird/owl.jpg", "fish/cod.jpg", "fish/windows.jpg"]


def test_names_that_are_no_text_are_findings(tmp_path: Path) -> None:
    source = write(tmp_path / "photos", THREE)
    write(source / os.fsdecode(b"cat\xff"), {"a.jpg": photo(4)})
    assert audit(source, tmp_path / "report.html") == 0
    assert unread(tmp_path / "report-findings") == {
        "cat\\udcff/a.jpg": "It has a name that is not UTF-8 and was left out."
    }


def test_no_mutated_zip_file_ends_in_a_traceback(tmp_path: Path) -> None:
    source = tmp_path / "photos.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as members:
        for name, data in THREE.items():
            members.writestr(name, data)
    whole, codes = source.read_bytes(), set()
    directory = whole.index(b"PK\x01\x02")
    generator = random.Random(7)
    for _ in range(120):
        mutated = bytearray(whole)
        first = directory if generator.random() < 0.8 else 0
        for _ in range(generator.choice([1, 2, 8])):
            mutated[generator.randrange(first, len(mutated))] = generator.randrange(256)
        source.write_bytes(mutated)
        archive = tmp_path / "archive"
        archive.mkdir(exist_ok=True)
        try:
            write_archive(source, archive, "labels.csv")
            codes.add("read")
        except UserError:
            codes.add("refused")
    assert codes == {"read", "refused"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gs://bucket/photos.zip", "--report", "report.html"], "download it first"),
        (["photos", "--report", ""], "is a folder"),
        (["photos", "--report", "/proc/none/report.html"], "/proc/none"),
        (["photos", "--report", "report.html", "--size-outlier-iqr", "inf"], "size_outlier_iqr"),
        (["photos", "--report", "report.html", "--aspect-outlier", "inf"], "aspect_outlier"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "photos", THREE)
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert content(tmp_path) == {f"photos/{name}": data for name, data in sorted(THREE.items())}


CHUNKS = ".report-findings.chunks.partial"


HELD_UP = """
import sys, time
from components.audit import command_line
from components.audit.finished_chunks import FinishedChunks

keep = FinishedChunks.keep

def keep_and_wait(self, chunk):
    keep(self, chunk)
    time.sleep(600)

FinishedChunks.keep = keep_and_wait
sys.exit(command_line.main(sys.argv[1:]))
"""


def held_up(arguments: list[str], chunks: Path) -> subprocess.Popen[str]:
    """Begin an audit that waits when it has kept its first chunk."""
    command = [sys.executable, "-c", HELD_UP, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)
    while not (chunks.exists() and chunks.stat().st_size):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "audit: stopped; the same command goes on from here\n"),
        (signal.SIGTERM, 75, "audit: error: stopped by SIGTERM; a rerun goes on from what was kept\n"),
    ],
)
def test_who_stops_it_reads_a_sentence_and_the_next_one_goes_on(
    number: int, code: int, said: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "photos", {f"bird/{row:04}.jpg": photo(row % 50, 300, 200) for row in range(300)})
    arguments = [str(source), "--report", str(tmp_path / "report.html")]
    process = held_up(arguments, tmp_path / CHUNKS)
    os.killpg(process.pid, number)
    _, error = process.communicate()
    assert (process.returncode, error) == (code, said)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHUNKS, "photos"]
    command = [sys.executable, "-m", "components.audit", *arguments]
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "were done before" in again.stdout


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    source = write(tmp_path / "photos", {f"bird/{row:03}.jpg": photo(row, 300, 200) for row in range(100)})
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a disk of 512 KB takes the right to mount one")
    try:
        command = [sys.executable, "-m", "components.audit", str(source), "--report", str(small / "report.html")]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        left = list(small.iterdir())
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)
    assert answer.returncode == 75
    assert "audit: error: the disk is full" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert left == []
