"""What register writes is what evaluation finds."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from components.failures import UserError
from components.formats.evaluation import Comparison, read_evaluation, write_evaluation
from components.formats.model_bundle import EXPORTS_FILE
from components.register.promotion_gate import Gate
from tests.evaluate.tiny_project import TinyProject, evaluate_project
from tests.register.conftest import EvaluatedProject, Register


def test_the_registered_champion_is_compared_with(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    registration = register()
    project = TinyProject(
        evaluated.splits,
        evaluated.model,
        evaluated.splits.with_name("findings"),
        evaluated.splits.with_name("frozen"),
    )
    registry = str(tmp_path / "registry")
    evaluate_project(project, tmp_path / "evaluation", tmp_path / "page.html", registry_uri=registry)
    found = read_evaluation(tmp_path / "evaluation").comparison
    assert found is not None
    assert found.champion == registration.version
    assert (found.both_right, found.both_wrong) == (15, 2)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<tr><td>accuracy</td><td class="number">none</td><td class="number">not known</td></tr>' in page
    compared = dataclasses.replace(evaluated, evaluation=tmp_path / "evaluation")
    card = (Path(register(compared, registry_uri=str(tmp_path / "other")).uri) / "README.md").read_text()
    row = f"| Accuracy beside champion {found.champion} | the same: both were right on the very same test images |"
    assert row in card


def test_the_card_tells_how_much_better_than_the_champion(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    found = read_evaluation(evaluated.evaluation)
    beside = Comparison("a|b", 0.7, 17, 11, 4, 1, 1, 0.1765, -0.05, 0.4, 0.1, -0.1, 0.3, 0.375)
    project = dataclasses.replace(evaluated, evaluation=shutil.copytree(evaluated.evaluation, tmp_path / "evaluation"))
    write_evaluation(dataclasses.replace(found, comparison=beside), project.evaluation)
    card = (Path(register(project).uri) / "README.md").read_text()
    value = "+0.176 (95 % interval -0.050 to +0.400; McNemar's exact test: p 0.375)"
    assert f"| Accuracy beside champion a\\|b | {value} |" in card
    write_evaluation(dataclasses.replace(found, comparison=beside, test_images=2001), project.evaluation)
    card = (Path(register(project, registry_uri=str(tmp_path / "other")).uri) / "README.md").read_text()
    assert f"| {value}, on the 17 of 2,001 images it was tested on too |" in card


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
