"""What register writes is what evaluation finds."""

from pathlib import Path

from components.formats.evaluation import read_evaluation
from tests.evaluate.tiny_project import TinyProject, evaluate_project
from tests.register.conftest import EvaluatedProject, Register


def test_the_registered_champion_is_compared_with(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    registration = register()
    project = TinyProject(evaluated.splits, evaluated.model, evaluated.splits.with_name("findings"))
    registry = str(tmp_path / "registry")
    evaluate_project(project, tmp_path / "evaluation", tmp_path / "page.html", registry_uri=registry)
    found = read_evaluation(tmp_path / "evaluation").comparison
    assert found is not None
    assert found.champion == registration.version
    assert (found.both_right, found.both_wrong) == (15, 2)
