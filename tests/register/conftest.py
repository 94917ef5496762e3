"""A tiny model, evaluated once, and a way to register it."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.register.lineage import Origin
from components.register.model_exports import write_exports
from components.register.promotion_gate import Gate
from components.register.registration import Registration, register_model
from tests.evaluate.tiny_project import TinyProject, write_project
from tests.evaluate.tiny_project import evaluate_project as write_evaluation_of

CREATED = "2026-01-02T03:04:05+00:00"
ORIGIN = Origin("gs://photos/trees.zip", "run-1")


@dataclasses.dataclass(frozen=True)
class EvaluatedProject:
    """Folders as the steps before register hand them over."""

    splits: Path
    model: Path
    evaluation: Path
    exports: Path

    def copy_to(self, directory: Path) -> "EvaluatedProject":
        """Return a copy that a test may change."""
        names = ("splits", "model", "evaluation", "exports")
        return EvaluatedProject(*(Path(shutil.copytree(getattr(self, name), directory / name)) for name in names))


def evaluate_project(project: TinyProject, directory: Path) -> EvaluatedProject:
    """Evaluate a project, its output below ``directory``."""
    write_evaluation_of(project, directory / "evaluation", directory / "report.html")
    evaluated = EvaluatedProject(project.splits, project.model, directory / "evaluation", directory / "exports")
    write_exports(
        evaluated.model,
        evaluated.evaluation,
        evaluated.splits,
        formats=("saved_model",),
        temperature=1.0,
        directory=evaluated.exports,
    )
    return evaluated


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> EvaluatedProject:
    """A model that gets 15 of 17 test images right, accuracy 0.8824; never write to it."""
    directory = tmp_path_factory.mktemp("evaluated")
    return evaluate_project(write_project(directory), directory)


Register = Callable[..., Registration]


@pytest.fixture
def register(evaluated: EvaluatedProject, tmp_path: Path) -> Register:
    """Register the tiny model, or another ``project``, in a registry below ``tmp_path``."""

    def call(project: EvaluatedProject = evaluated, **changes: object) -> Registration:
        settings = {
            "registry_uri": str(tmp_path / "registry"),
            "model_name": "trees",
            "gate": Gate(0.8),
            "origin": ORIGIN,
            "created": CREATED,
            "entry": tmp_path / "entry",
            "card": tmp_path / "card.html",
        }
        folders = (project.model, project.evaluation, project.splits, project.exports)
        return register_model(*folders, **(settings | changes))  # type: ignore[arg-type]

    return call
