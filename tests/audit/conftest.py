"""Archives to audit: the sample data set, and whatever images a test gives."""

import csv
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from components.audit.recommended import RECOMMENDED
from components.formats.image_archive import ArchiveWriter
from components.formats.image_formats import EXTENSIONS

SAMPLES = Path(__file__).parents[2] / "samples"

__all__ = ["RECOMMENDED", "SAMPLES", "MakeArchive", "write_archive"]

MakeArchive = Callable[..., Path]


def write_archive(directory: Path, files: Mapping[str, bytes], labels: Mapping[str, str]) -> Path:
    directory.mkdir()
    writer = ArchiveWriter(directory, part_size_bytes=1_000_000)
    for path, data in files.items():
        writer.add(path, path.split("/")[0], data, source_uri="test", recorded_label=labels.get(path))
    writer.close()
    return directory


@pytest.fixture
def make_archive(tmp_path: Path) -> MakeArchive:
    """A function that writes files, by path, into an archive; their first folder is their label."""

    def make(files: Mapping[str, bytes], labels: Mapping[str, str] | None = None) -> Path:
        return write_archive(tmp_path / "archive", files, labels or {})

    return make


@pytest.fixture(scope="session")
def animals_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample ZIP as an archive: its images without the wrapping folder, with what the label file says."""
    with zipfile.ZipFile(SAMPLES / "animals.zip") as members:
        text = io.StringIO(members.read("animals/labels.csv").decode())
        labels = {row["path"]: row["label"] for row in csv.DictReader(text)}
        files = {
            name.removeprefix("animals/"): members.read(name)
            for name in sorted(members.namelist())
            if name.startswith("animals/") and Path(name).suffix.lower() in EXTENSIONS
        }
    return write_archive(tmp_path_factory.mktemp("animals") / "archive", files, labels)
