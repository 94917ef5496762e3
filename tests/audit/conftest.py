"""Archives to audit: the sample data set, and whatever images a test gives."""

import csv
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from components.audit.checks import Thresholds
from components.audit.decoding import EXTENSIONS
from components.formats.image_archive import ArchiveWriter

SAMPLES = Path(__file__).parents[2] / "samples"

RECOMMENDED = Thresholds(
    dark_brightness=40.0,
    bright_brightness=222.0,
    low_contrast=5.0,
    size_outlier_iqr=2.5,
    aspect_outlier=3.0,
    tiny_side_px=32,
    blur_ratio=0.65,
    low_entropy_bits=3.0,
    near_duplicate_distance=8,
    near_duplicate_correlation=0.9,
    near_duplicate_difference=0.8,
)

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
