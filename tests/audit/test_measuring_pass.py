"""The pass: a row for every file, whatever a decoder does to its process, and nothing measured twice."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.audit import measuring_pass, measuring_process
from components.audit.finished_chunks import FinishedChunks
from components.audit.measured_chunk import MeasuredChunk, chunk_key, unpacked
from components.audit.measurements import unreadable
from components.audit.measuring_pass import Chunk, measure_archive
from components.copies.fingerprints import fingerprints_of, sketch_of
from components.formats.image_archive import read_catalog
from tests.audit.conftest import MakeArchive
from tests.audit.images import photo

DOES_WHAT_FILES_SAY = """
import ctypes, os, sys, time
from components.audit import measuring

measure = measuring.measure

def does_what_it_says(data):
    if data.startswith(b"crash"):
        ctypes.string_at(0)
    if data.startswith(b"hang"):
        time.sleep(600)
    if data.startswith(b"lock"):
        ctypes.PyDLL(None).sleep(600)
    if data.startswith(b"exit"):
        os._exit(1)
    if data.startswith(b"memory"):
        raise MemoryError
    return measure(data)

measuring.measure = does_what_it_says
measuring.main(*sys.argv[1:])
"""


@pytest.fixture
def doing_what_files_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring_process, "PROGRAM", ("-c", DOES_WHAT_FILES_SAY))
    monkeypatch.setattr(measuring_process, "DECODE_SECONDS", 600.0)  # however busy the machine is


def measured(archive: Path, workers: int = 2, kept: Path | None = None) -> pd.DataFrame:
    catalog = read_catalog(archive)
    return measure_archive(archive, catalog, workers, kept).table(catalog, 0.6)


def named(files: int, **odd: bytes) -> dict[str, bytes]:
    """Return small images, and odd files at positions such as ``at70``."""
    small = photo(0, 40, 30)
    return {f"bird/{number:04}.jpg": odd.get(f"at{number}", small) for number in range(files)}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"crash", "its decoder crashed (SIGSEGV)"),
        (b"exit", "its decoder crashed (exit code 1)"),
        (b"hang", "it was not decoded within 2.5 seconds"),
        (b"lock", "it was not decoded within 2.5 seconds"),
        (b"memory", "it cannot be measured: MemoryError: "),
    ],
)
@pytest.mark.usefixtures("doing_what_files_say")
def test_a_file_that_ends_its_process_is_a_row_and_the_rest_goes_on(
    make_archive: MakeArchive, data: bytes, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "seconds" in complaint:
        monkeypatch.setattr(measuring_process, "DECODE_SECONDS", 2.5)
    table = measured(make_archive(named(150, at70=data, at140=b"")))
    assert table["error"].dropna().to_dict() == {70: complaint, 140: "the file is empty (0 bytes)"}
    assert table["cause"].dropna().to_dict() == {70: "unreadable", 140: "empty_file"}
    assert (table["width_px"] == 40).sum() == 148


@pytest.mark.usefixtures("doing_what_files_say")
def test_several_culprits_are_all_found(make_archive: MakeArchive) -> None:
    table = measured(make_archive(named(70, at0=b"crash", at1=b"crash 2", at40=b"exit", at69=b"crash")), workers=3)
    assert table["error"].dropna().index.tolist() == [0, 1, 40, 69]


def test_what_is_no_images_fault_ends_the_pass(make_archive: MakeArchive, capfd: pytest.CaptureFixture[str]) -> None:
    archive = make_archive(named(3))
    (part,) = archive.glob("part-*.tar")
    part.write_bytes(part.read_bytes()[:2000])
    with pytest.raises(RuntimeError, match="traceback is above"):
        measured(archive)
    assert "EOFError" in capfd.readouterr().err


def test_a_program_that_cannot_start_ends_the_pass(make_archive: MakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring_process, "PROGRAM", ("-c", "import sys; sys.exit(3)"))
    with pytest.raises(RuntimeError, match="no image alone"):
        measured(make_archive(named(3)))


def test_finished_chunks_are_not_measured_again(
    make_archive: MakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_archive({f"bird/{number:03}.jpg": photo(number, 40, 30) for number in range(200)})
    kept = tmp_path / "kept"
    first = measured(archive, kept=kept)
    asked: list[int] = []
    measure = measuring_pass.measured_chunks

    def counted(archive: Path, chunks: Iterable[Chunk], threads: int) -> Iterator[tuple[Chunk, MeasuredChunk]]:
        wanted = list(chunks)
        asked.append(len(wanted))
        return measure(archive, wanted, threads)

    monkeypatch.setattr(measuring_pass, "measured_chunks", counted)
    pd.testing.assert_frame_equal(measured(archive, kept=kept), first)
    cut = kept.read_bytes()[:-100]
    kept.write_bytes(cut)
    pd.testing.assert_frame_equal(measured(archive, kept=kept), first)
    assert asked == [0, 1]
    damaged = bytearray(kept.read_bytes())
    damaged[300] ^= 1
    kept.write_bytes(damaged)
    pd.testing.assert_frame_equal(measured(archive, kept=kept), first)
    assert asked[-1] == 4, "nothing behind the damage is trusted"


def test_chunks_of_other_images_or_other_code_are_not_used(
    make_archive: MakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    archive = make_archive(named(70))
    measured(archive, kept=kept)
    shutil.rmtree(archive)
    other = make_archive(named(70, at3=photo(3, 60, 50)))
    assert measured(other, kept=kept)["width_px"][3] == 60
    size = kept.stat().st_size
    monkeypatch.setattr(measuring_pass, "DECODE_SECONDS", 5.0)
    measured(other, kept=kept)
    assert kept.stat().st_size > size, "measured again by what may come to another result"


AUDIT = """
import itertools, os, signal, sys
from pathlib import Path
from components.audit.finished_chunks import FinishedChunks
from components.audit.image_audit import audit_archive
from tests.audit.conftest import RECOMMENDED

archive, directory, whole_chunks = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
keep, kept = FinishedChunks.keep, itertools.count()

def keep_or_die(self, chunk):
    if next(kept) != whole_chunks:
        return keep(self, chunk)
    packed = chunk.packed()
    self._file.seek(0, 2)
    self._file.write(packed[: len(packed) // 2])
    self._file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

FinishedChunks.keep = keep_or_die
findings, report = directory / "findings", directory / "report.html"
audit_archive(archive, findings, report, RECOMMENDED, sample_images=3, workers=2, seed=1)
"""


def test_a_killed_audit_goes_on_and_comes_to_the_same_bytes(make_archive: MakeArchive, tmp_path: Path) -> None:
    files = {f"c{number % 2}/{number:04}.jpg": photo(number % 40, 200, 150) for number in range(640)}
    archive = make_archive(files | {"c0/bad.jpg": b"text"})

    def run(directory: Path, whole_chunks: int) -> subprocess.CompletedProcess[str]:
        """Audit; die amid writing the chunk after so many, -1 for never."""
        directory.mkdir(exist_ok=True)
        command = [sys.executable, "-c", AUDIT, str(archive), str(directory), str(whole_chunks)]
        return subprocess.run(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True, check=False)

    assert run(tmp_path / "whole", -1).returncode == 0
    directory = tmp_path / "killed"
    for whole_chunks in (2, 3):
        assert run(directory, whole_chunks).returncode == -signal.SIGKILL
    last = run(directory, -1)
    assert last.returncode == 0
    assert " of 641 images were done before" in last.stdout
    names = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    assert [path.name for path in names] == [
        "findings.parquet",
        "measurements.parquet",
        "summary.json",
        "report.html",
    ]
    for name in names:
        assert (directory / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_chunk_survives_the_way_to_bytes_and_back() -> None:
    rows = [unreadable("corrupt", "the JPEG is damaged: ä"), unreadable("empty_file", "the file is empty")]
    noise = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    fingerprints = fingerprints_of([sketch_of(noise), None])
    chunk = MeasuredChunk.of(7, chunk_key(b"code", ["a", "b"]), rows, fingerprints)
    packed = chunk.packed()
    found = unpacked(packed + b"more")
    assert found is not None
    assert found[1] == len(packed)
    assert found[0].packed() == packed
    assert unpacked(packed[:-1]) is None
    assert found[0].texts[0] == {"error": "the JPEG is damaged: ä", "cause": "corrupt"}
    for position in range(0, len(packed), 37):
        damaged = bytearray(packed)
        damaged[position] ^= 8
        try:
            assert unpacked(bytes(damaged)) is None, "waits for more"
        except ValueError:
            continue


def test_keys_tell_files_and_code_apart() -> None:
    keys = {chunk_key(b"code", ["a", "b"]), chunk_key(b"code", ["b", "a"]), chunk_key(b"code", ["ab"])}
    assert len(keys | {chunk_key(b"newer", ["a", "b"])}) == 4


def test_a_file_of_chunks_that_is_no_such_file_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"something else, and longer than a header is, by far, to be sure of it all")
    with FinishedChunks(path) as finished:
        assert len(finished) == 0
    assert path.read_bytes() == b""
