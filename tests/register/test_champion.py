"""What register writes is what evaluation finds."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from components.failures import UserError
from components.formats.evaluation import read_evaluation
from components.formats.model_bundle import EXPORTS_FILE
from components.register.promotion_gate import Gate
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


def test_a_version_rejected_for_its_exports_is_served_with_those_that_passed(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(evaluated.exports, broken)
    facts = json.loads((broken / EXPORTS_FILE).read_text(encoding="utf-8"))
    facts["checks"][0]["largest_difference"] = 0.5
    (broken / EXPORTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    rejected = register(dataclasses.replace(evaluated, exports=broken))
    assert rejected.rejected
    accepted = register()
    assert accepted.version == rejected.version
    assert accepted.uri != rejected.uri
    assert (Path(accepted.uri) / EXPORTS_FILE).read_bytes() == (evaluated.exports / EXPORTS_FILE).read_bytes()
    again = register(dataclasses.replace(evaluated, exports=broken))
    assert (again.uri, again.rejected) == (accepted.uri, ()), "what was accepted is kept"


def test_floors_for_a_class_that_is_none_leave_nothing_behind(register: Register, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class_recall_floors names 'brid'"):
        register(gate=Gate(0.0, {"brid": 0.5}))
    assert not (tmp_path / "registry").exists()
