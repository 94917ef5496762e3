"""The component hands on the URI, the entry and plain numbers."""

from pathlib import Path

import pytest
from kfp import dsl

from components.formats.model_bundle import verify_bundle
from components.register.component import register as component
from tests.evaluate.test_component import assert_plain
from tests.register.conftest import EvaluatedProject


def run(project: EvaluatedProject, tmp_path: Path, minimum_accuracy: float) -> tuple[str, dsl.Artifact, dsl.Metrics]:
    entry = dsl.Artifact(name="entry", uri=str(tmp_path / "entry"), metadata={})
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"), metadata={})
    uri = component.python_func(
        model=dsl.Model(name="model", uri=str(project.model), metadata={}),
        evaluation=dsl.Artifact(name="evaluation", uri=str(project.evaluation), metadata={}),
        splits=dsl.Dataset(name="splits", uri=str(project.splits), metadata={}),
        registry_uri=str(tmp_path / "registry"),
        model_name="trees",
        minimum_accuracy=minimum_accuracy,
        source="photos",
        pipeline_run="run-1",
        entry=entry,
        metrics=metrics,
    )
    return uri, entry, metrics


def test_component(evaluated: EvaluatedProject, tmp_path: Path) -> None:
    uri, entry, metrics = run(evaluated, tmp_path, 0.8)
    verify_bundle(uri)
    assert (tmp_path / "entry" / "entry.json").is_file()
    assert entry.metadata["uri"] == uri
    assert entry.metadata["name"] == "trees"
    assert metrics.metadata["champion"] == 1
    assert metrics.metadata["versions"] == 1
    assert_plain(entry.metadata)
    assert_plain(metrics.metadata)


def test_a_weak_model_does_not_fail_the_run(evaluated: EvaluatedProject, tmp_path: Path) -> None:
    _, _, metrics = run(evaluated, tmp_path, 0.99)
    assert metrics.metadata["champion"] == 0


def test_wrong_settings_end_with_exit_code_2(
    evaluated: EvaluatedProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(evaluated, tmp_path, 80.0)
    assert exit_.value.code == 2
    assert "register: error: minimum_accuracy is 80.0" in capsys.readouterr().err
