"""A tiny project to evaluate, made once."""

from pathlib import Path

import pytest

from tests.evaluate.tiny_project import TinyProject, write_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Splits and a model; never write to them."""
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def outputs(tmp_path: Path) -> tuple[Path, Path]:
    """Where to publish the evaluation and the report."""
    return tmp_path / "evaluation", tmp_path / "report"
