"""The component hands on the URI, the entry and plain numbers."""

from pathlib import Path

import pandas as pd
import pytest
from kfp import dsl

from components.formats.decisions import write_decisions
from components.formats.model_bundle import verify_bundle
from components.register.component import register as component
from components.register.registry import ModelRegistry
from tests.evaluate.test_component import assert_plain
from tests.register.conftest import EvaluatedProject


def write_small_decisions(directory: Path) -> Path:
    """Four images: one kept as it is, one mended, two dropped."""
    directory.mkdir()
    rows: list[tuple[str, bool, str, str | None]] = [("a.jpg", True, "keep", None), ("b.jpg", True, "fix", None)]
    rows += [(f"{name}.jpg", False, "drop", "exact_duplicate") for name in "cd"]
    decisions = pd.DataFrame(rows, columns=["path", "keep", "action", "check"])
    write_decisions(decisions, directory)
    return directory


def run(
    project: EvaluatedProject, tmp_path: Path, minimum_accuracy: float, **changes: object
) -> tuple[str, dsl.Artifact, dsl.Metrics]:
    entry = dsl.Artifact(name="entry", uri=str(tmp_path / "entry"), metadata={})
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"), metadata={})
    settings = {
        "registry_uri": str(tmp_path / "registry"),
        "model_name": "trees",
        "exports": ["saved_model"],
        "apply_temperature": True,
        "minimum_accuracy": minimum_accuracy,
        "class_recall_floors": {},
        "maximum_calibration_error": 1.0,
        "fail_if_rejected": False,
        "other_registries": [],
        "source": "photos",
        "source_fingerprint": "",
        "model_licence": "CC0",
        "pipeline_run": "run-1",
    } | changes
    uri = component.python_func(
        model=dsl.Model(name="model", uri=str(project.model), metadata={}),
        evaluation=dsl.Artifact(name="evaluation", uri=str(project.evaluation), metadata={}),
        splits=dsl.Dataset(name="splits", uri=str(project.splits), metadata={}),
        decisions=dsl.Dataset(name="decisions", uri=str(write_small_decisions(tmp_path / "decisions")), metadata={}),
        card=dsl.HTML(name="card", uri=str(tmp_path / "card.html"), metadata={}),
        entry=entry,
        metrics=metrics,
        **settings,
    )
    return uri, entry, metrics


def test_component(evaluated: EvaluatedProject, tmp_path: Path) -> None:
    uri, entry, metrics = run(evaluated, tmp_path, 0.8)
    verify_bundle(uri)
    assert (tmp_path / "entry" / "entry.json").is_file()
    page = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert '<div class="verdict good"><b>Accepted by the gate, and the champion.</b>' in page
    assert "2 of 4 images were kept, 1 of them mended" in page
    assert "Dropped for exact_duplicate: 2" in page
    assert "CC0" in page
    assert entry.metadata["uri"] == uri
    assert entry.metadata["name"] == "trees"
    assert metrics.metadata["champion"] == 1
    assert metrics.metadata["versions"] == 1
    assert_plain(entry.metadata)
    assert_plain(metrics.metadata)


def test_a_rejected_model_fails_the_run_only_on_request(
    evaluated: EvaluatedProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, _, metrics = run(evaluated, tmp_path, 0.99)
    assert (metrics.metadata["champion"], metrics.metadata["rejected"]) == (0, 1)
    verify_bundle(uri)
    (tmp_path / "again").mkdir()
    with pytest.raises(SystemExit) as exit_:
        run(evaluated, tmp_path / "again", 0.99, fail_if_rejected=True)
    assert exit_.value.code == 2
    assert "was registered as rejected: test accuracy 0.8824 is below" in capsys.readouterr().err
    assert ModelRegistry(str(tmp_path / "again" / "registry"), "trees").read_index().versions


def test_wrong_settings_end_with_exit_code_2(
    evaluated: EvaluatedProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(evaluated, tmp_path, 80.0)
    assert exit_.value.code == 2
    assert "register: error: minimum_accuracy is 80.0" in capsys.readouterr().err


def test_what_another_registry_cannot_take_is_refused_before_anything_is_exported(
    evaluated: EvaluatedProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(evaluated, tmp_path, 0.8, exports=["h5"], other_registries=["vertex:project/europe-west4/serving:1"])
    assert exit_.value.code == 2
    said = capsys.readouterr()
    assert "Vertex AI serves SavedModels: add saved_model to exports" in said.err
    assert "golden batch" not in said.out
    assert not (tmp_path / "registry").exists()
