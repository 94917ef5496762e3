"""The component's metadata is small strict JSON, even with a hundred classes."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfp import dsl

from components.evaluate import pipeline_metrics
from components.evaluate.component import evaluate
from components.evaluate.scores import micro_roc
from components.formats.evaluation import Evaluation
from tests.evaluate.tiny_project import TinyProject
from tests.formats.test_evaluation import EVALUATION


def assert_plain(value: Any) -> None:
    """Assert that every leaf is text or a finite plain number: what the cluster's launcher takes."""
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
        for item in value.values():
            assert_plain(item)
    elif isinstance(value, list):
        for item in value:
            assert_plain(item)
    else:
        assert type(value) in (str, int, float), f"{value!r} is a {type(value)}"
        assert type(value) is str or math.isfinite(value)


def test_component(project: TinyProject, tmp_path: Path) -> None:
    metrics = dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"), metadata={})
    classification = dsl.ClassificationMetrics(name="classification", uri=str(tmp_path / "class"), metadata={})
    accuracy = evaluate.python_func(
        splits=dsl.Dataset(name="splits", uri=str(project.splits), metadata={}),
        model=dsl.Model(name="model", uri=str(project.model), metadata={}),
        frozen_model=dsl.Model(name="frozen_model", uri=str(project.frozen), metadata={}),
        findings=dsl.Dataset(name="findings", uri=str(project.findings), metadata={}),
        registry_uri="",
        model_name="trees",
        pipeline_run="run-1",
        label_check_images=0,
        batch_size=4,
        seed=20260,
        evaluation=dsl.Artifact(name="evaluation", uri=str(tmp_path / "evaluation"), metadata={}),
        report=dsl.HTML(name="report", uri=str(tmp_path / "report"), metadata={}),
        suspected=dsl.Dataset(name="suspected", uri=str(tmp_path / "suspected"), metadata={}),
        metrics=metrics,
        classification=classification,
    )
    assert accuracy == pytest.approx(15 / 17)
    assert (tmp_path / "report").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert metrics.metadata["test_images"] == 17
    assert metrics.metadata["majority_baseline"] == pytest.approx(8 / 17, abs=1e-6)
    matrix = classification.metadata["confusionMatrix"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == ["ash", "birch", "cedar"]
    assert [row["row"] for row in matrix["rows"]] == [[8, 0, 0], [0, 5, 0], [0, 2, 2]]
    points = classification.metadata["confidenceMetrics"]
    assert 2 <= len(points) <= pipeline_metrics.MAXIMUM_ROC_POINTS
    for artifact in (metrics, classification):
        assert_plain(artifact.metadata)


def test_wrong_input_ends_with_exit_code_2(
    project: TinyProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        evaluate.python_func(
            splits=dsl.Dataset(name="splits", uri=str(tmp_path), metadata={}),
            model=dsl.Model(name="model", uri=str(project.model), metadata={}),
            frozen_model=dsl.Model(name="frozen_model", uri=str(project.frozen), metadata={}),
            findings=dsl.Dataset(name="findings", uri=str(project.findings), metadata={}),
            registry_uri="",
            model_name="trees",
            pipeline_run="run-1",
            label_check_images=0,
            batch_size=4,
            seed=20260,
            evaluation=dsl.Artifact(name="evaluation", uri=str(tmp_path / "evaluation"), metadata={}),
            report=dsl.HTML(name="report", uri=str(tmp_path / "report"), metadata={}),
            suspected=dsl.Dataset(name="suspected", uri=str(tmp_path / "suspected"), metadata={}),
            metrics=dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics"), metadata={}),
            classification=dsl.ClassificationMetrics(name="c", uri=str(tmp_path / "class"), metadata={}),
        )
    assert exit_.value.code == 2
    assert "evaluate: error: the splits hold no splits.json" in capsys.readouterr().err


def evaluation_of(classes: int, images_per_cell: int, name: str = "class number") -> Evaluation:
    names = [f"{name} {number}" for number in range(classes)]
    values = vars(EVALUATION) | {"class_names": names, "confusion_matrix": [[images_per_cell] * classes] * classes}
    return Evaluation(**values)


@pytest.mark.parametrize(
    ("classes", "images_per_cell", "name", "fits"),
    [(2, 9, "a", True), (60, 9, "class number", True), (100, 9999, "class number", False), (60, 9, "鳥" * 80, False)],
    ids=["two", "sixty", "hundred", "sixty with long names"],
)
def test_what_the_metadata_holds_stays_small(classes: int, images_per_cell: int, name: str, fits: bool) -> None:
    evaluation = evaluation_of(classes, images_per_cell, name)
    assert pipeline_metrics.matrix_fits(evaluation) is fits
    random = np.random.default_rng(0)
    curve = micro_roc(random.integers(0, 9, 2000), random.dirichlet([1] * 9, 2000).astype(np.float32), 200)
    assert curve is not None
    artifact = dsl.ClassificationMetrics(name="classification", uri="x", metadata={})
    if fits:
        artifact.log_confusion_matrix(evaluation.class_names, evaluation.confusion_matrix)
    artifact.log_roc_curve(*pipeline_metrics.roc_points(curve))
    assert_plain(artifact.metadata)
    assert len(json.dumps(artifact.metadata, allow_nan=False)) < 48 * 1024


def test_an_undefined_score_is_left_out() -> None:
    values = pipeline_metrics.scalar_metrics(EVALUATION)
    assert "auc_macro" not in values
    assert_plain(values)
