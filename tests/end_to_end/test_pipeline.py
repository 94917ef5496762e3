"""The whole pipeline on the sample photos, from a bucket in a real emulator to a registered model, run once."""

import importlib
import json
import math
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from kfp import compiler, dsl, local
from kfp.components import load_component_from_file
from kfp.local import subprocess_task_handler

from components import storage
from components.formats.decisions import read_decisions
from components.formats.findings import read_findings, read_measurements
from components.formats.image_archive import read_catalog, read_skipped
from components.formats.splits import read_splits
from components.images import NO_IMAGE
from components.ingest.source import fingerprint_source
from components.launch.command_line import main
from pipeline import image_classification
from samples.demo import upload_sample

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("ingest", "audit", "clean", "split", "train-frozen", "fine-tune", "evaluate", "register")
CONFIG = ROOT / "manifests" / "runs" / "demo.yaml"
DEMO = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
ARGUMENT_LIMIT_BYTES = 128 * 1024


@dataclass
class Run:
    """A finished run: its source, its folder, each step's folder, and the commands that were started."""

    source: str
    directory: Path
    steps: dict[str, Path]
    commands: list[list[str]]

    def executor_output(self, step: str) -> dict[str, Any]:
        return json.loads(
            (self.steps[step] / "executor_output.json").read_text(encoding="utf-8"), parse_constant=refuse
        )


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not strict JSON")


def strictly_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and strictly_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(strictly_json(item) for item in value)
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, gcs: str) -> Iterator[Run]:
    directory = tmp_path_factory.mktemp("run") / "demo"
    commands: list[list[str]] = []
    start = subprocess_task_handler.run_local_subprocess

    def start_and_note(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        commands.append(full_command)
        return start(full_command, env_vars)

    source = upload_sample("end-to-end")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(subprocess_task_handler, "run_local_subprocess", start_and_note)
        arguments = ["--run", "local", "--source", source, "--config", str(CONFIG), "--output", str(directory)]
        main(image_classification, arguments)
    (root,) = (directory / "steps").iterdir()
    yield Run(source, directory, {step: root / step for step in STEPS}, commands)
    shutil.rmtree(directory)


def test_the_registered_model_is_good(run: Run) -> None:
    metrics = json.loads((run.steps["evaluate"] / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] >= 0.80
    assert run.executor_output("evaluate")["parameterValues"]["Output"] == pytest.approx(metrics["accuracy"])


def test_the_registry_holds_the_version_the_run_returned(run: Run) -> None:
    version = Path(run.executor_output("register")["parameterValues"]["Output"])
    assert version.is_relative_to(run.directory / "registry")
    assert (version / "manifest.json").is_file()
    assert (version / "model.keras").is_file()
    lineage = json.loads((version / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["image"] == NO_IMAGE
    stored = storage.stat_file(run.source)
    assert stored is not None
    assert lineage["source"] == run.source
    assert lineage["source_generation"] == stored.generation > 0
    assert lineage["source_fingerprint"] == fingerprint_source(run.source)
    assert str(stored.generation) in (version / "README.md").read_text(encoding="utf-8")


def test_every_step_recorded_success(run: Run) -> None:
    outcomes = [json.loads(path.read_text(encoding="utf-8")) for path in (run.directory / "outcomes").iterdir()]
    assert {outcome["step"]: outcome["exit_code"] for outcome in outcomes} == {
        step.replace("-", "_"): 0 for step in STEPS
    }


def test_findings_are_exactly_what_was_planted(run: Run) -> None:
    planted = pd.read_csv(ROOT / "samples" / "planted.csv")
    findings = read_findings(run.steps["audit"] / "findings")
    assert set(zip(findings["path"], findings["check"], strict=True)) == set(
        zip(planted["path"], planted["check"], strict=True)
    )


def test_every_ingested_file_is_measured_and_decided_once(run: Run) -> None:
    catalog = read_catalog(run.steps["ingest"] / "archive")
    assert list(read_measurements(run.steps["audit"] / "findings")["path"]) == list(catalog["path"])
    decisions = read_decisions(run.steps["clean"] / "decisions")
    assert list(decisions["path"]) == list(catalog["path"])
    assert decisions.loc[~decisions["keep"], "reasons"].str.len().gt(0).all()
    junk = " ".join(read_skipped(run.steps["ingest"] / "archive")["path"])
    assert "__MACOSX" in junk
    assert ".DS_Store" in junk
    assert "Thumbs.db" in junk


def test_every_kept_image_is_in_one_split_and_every_test_image_is_counted_once(run: Run) -> None:
    decisions = read_decisions(run.steps["clean"] / "decisions")
    kept = set(decisions.loc[decisions["keep"], "path"])
    assignments = pd.read_parquet(run.steps["split"] / "splits" / "assignments.parquet")
    assert sorted(assignments["path"]) == sorted(kept)
    splits = read_splits(run.steps["split"] / "splits")
    assert splits.certificate["groups_across_splits"] == 0
    assert sum(split.images for split in splits.splits.values()) == len(kept)
    predictions = pd.read_parquet(run.steps["evaluate"] / "evaluation" / "predictions.parquet")
    assert sorted(predictions["path"]) == sorted(assignments.loc[assignments["split"] == "test", "path"])


@pytest.mark.parametrize("step", STEPS)
def test_metadata_is_strict_json(run: Run, step: str) -> None:
    assert strictly_json(run.executor_output(step))


def test_arguments_stay_below_what_a_kernel_takes(run: Run) -> None:
    assert len(run.commands) == len(STEPS)
    assert max(len(argument.encode()) for command in run.commands for argument in command) < ARGUMENT_LIMIT_BYTES


def test_reports_can_be_opened(run: Run) -> None:
    reports = sorted((run.directory / "reports").iterdir())
    assert [path.name for path in reports] == [
        "1-audit.html",
        "2-cleaning.md",
        "3-split.html",
        "4-frozen-training.html",
        "5-fine-tuning.html",
        "6-evaluation.html",
        "7-model-card.html",
    ]
    for path in reports:
        assert 0 < path.stat().st_size < 5_000_000
        text = path.read_text(encoding="utf-8")
        # The card's program for a server asks one on the reader's own machine.
        assert "http://" not in text.replace("http://www.w3.org", "").replace("http://localhost:8501", "")
        assert path.suffix == ".md" or text.startswith("<!doctype html>")


def test_nothing_half_written_is_left(run: Run) -> None:
    assert [path for path in run.directory.rglob("*") if "partial" in path.name] == []


def compiled_component(step: str, folder: Path) -> Any:
    """Return a step's component as anyone would load it: from its own compiled YAML."""
    name = step.replace("-", "_")
    component = getattr(importlib.import_module(f"components.{name}.component"), name)
    path = folder / f"{name}.yaml"
    compiler.Compiler().compile(component, str(path))
    return load_component_from_file(str(path))


def arguments_of(step: str, run: Run) -> tuple[dict[str, Any], dict[str, tuple[type[dsl.Artifact], Path]]]:
    """Return what a step of the published pipeline is given: parameters, and artifacts by type and path."""
    spec = yaml.safe_load((ROOT / "manifests" / "pipelines" / "vertex.yaml").read_text(encoding="utf-8"))
    defaults = {
        name: value.get("defaultValue") for name, value in spec["root"]["inputDefinitions"]["parameters"].items()
    }
    # One epoch is enough to see the component work.
    values = (
        defaults | DEMO | {"source": run.source, "registry_uri": str(run.directory / "again"), "fine_tune_epochs": 1}
    )
    inputs = spec["root"]["dag"]["tasks"][step]["inputs"]
    parameters = {}
    for name, given in inputs["parameters"].items():
        if "componentInputParameter" in given:
            parameters[name] = values[given["componentInputParameter"]]
        else:
            parameters[name] = 0 if name == "gpu_count" else "by-hand"
    artifacts = {}
    for name, given in inputs.get("artifacts", {}).items():
        produced = given["taskOutputArtifact"]
        title = spec["components"][f"comp-{step}"]["inputDefinitions"]["artifacts"][name]["artifactType"]["schemaTitle"]
        kind = getattr(dsl, title.removeprefix("system."))
        artifacts[name] = (kind, run.steps[produced["producerTask"]] / produced["outputArtifactKey"])
    return parameters, artifacts


def pipeline_of_one(
    step: str, component: Any, parameters: dict[str, Any], artifacts: dict[str, tuple[type[dsl.Artifact], Path]]
) -> Any:
    """Return a pipeline of one component, its inputs as ``arguments_of`` gives them."""
    kinds = {name: value.type for name, value in component.component_spec.inputs.items()}
    parameters = {
        name: int(value) if kinds[name] == "Integer" else float(value) if kinds[name] == "Float" else value
        for name, value in parameters.items()
    }

    @dsl.pipeline(name=f"only-{step}")
    def alone() -> None:
        imported = {
            name: dsl.importer(artifact_uri=str(path), artifact_class=kind, reimport=False).output
            for name, (kind, path) in artifacts.items()
        }
        component(**parameters, **imported)

    return alone


@pytest.mark.parametrize("step", STEPS)
def test_each_component_runs_from_its_compiled_yaml(run: Run, step: str, tmp_path: Path) -> None:
    component = compiled_component(step, tmp_path)
    parameters, artifacts = arguments_of(step, run)
    alone = pipeline_of_one(step, component, parameters, artifacts)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the image's name means nothing to processes
        alone()
    (outputs,) = (tmp_path / "root").glob(f"only-{step}-*/{step}")
    expected = {path.name for path in run.steps[step].iterdir()}
    assert {path.name for path in outputs.iterdir()} == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "gs://no-such-bucket/Animals.zip"], "gs://no-such-bucket"),
        (["--source", "missing.zip"], "missing.zip"),
        (["--source", "samples/animals.zip", "--config", "missing.yaml"], "cannot read the run file"),
        (["--source", "samples/animals.zip", "--set", "weights=/data/python3/w.h5"], "python3"),
        ([], "no value for source; give --source"),
    ],
)
def test_bad_input_ends_in_one_sentence_and_exit_code_2(
    gcs: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stopped:
        main(image_classification, ["--run", "local", "--output", str(tmp_path / "run"), *arguments])
    assert stopped.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "run" / "registry").exists()
    assert list((tmp_path / "run").rglob("archive")) == []


def test_a_folder_in_use_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(image_classification, ["--run", "local", "--source", "x.zip", "--output", str(tmp_path)])
    assert stopped.value.code == 2
    assert "is not empty; give --output a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
