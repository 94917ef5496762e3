"""Fixtures that several files of tests share."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.classifier.small_splits import drawn_shapes, write_small_splits


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Splits of a few drawn shapes in three classes, 32 px."""
    directory = tmp_path_factory.mktemp("shapes") / "splits"
    write_small_splits(directory, drawn_shapes({"train": 8, "validation": 4, "test": 1}, seed=1), 32)
    return directory


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """A folder that anybody may reach and write to; those of ``tmp_path`` are for the user alone."""
    with tempfile.TemporaryDirectory(prefix="anybody-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one checkpoint of a tiny model and part of the next."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=56k", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
