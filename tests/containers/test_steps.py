"""Each component in its own container, the whole pipeline in containers, and a container that fails."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from kfp import dsl, local

from components import images
from components.formats.check_names import EMBEDDING_CHECKS
from components.formats.findings import read_findings
from components.launch.command_line import main
from components.launch.docker_runner import docker_runner
from components.launch.gcs_emulator import HOST_VARIABLE, emulator_program
from components.launch.local_run import Runner, StepFailedError, run_locally
from pipeline import image_classification
from tests.containers.conftest import docker
from tests.end_to_end.test_pipeline import CONFIG, ROOT, STEPS, Run, arguments_of, compiled_component, pipeline_of_one

SAMPLE = ROOT / "samples" / "animals.zip"
EMULATOR = "http://127.0.0.1:4443"  # inside its container's network
# One epoch is enough to see a component work.
SHORT = {"epochs": 1, "augmented_views": 1}


def run_pipeline(runner: Runner, directory: Path) -> Run:
    arguments = ["--run", runner, "--source", str(SAMPLE), "--config", str(CONFIG), "--output", str(directory)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        checkpoints = f"checkpoint_uri={directory.parent / 'checkpoints'}"
        main(image_classification, [*arguments, "--docker-network", "none", "--set", checkpoints, "--embedding-audit"])
    (root,) = (directory / "steps").iterdir()
    return Run(str(SAMPLE), directory, {step: root / step for step in STEPS}, [])


@pytest.fixture(scope="module")
def in_processes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_pipeline("local", tmp_path_factory.mktemp("in-processes") / "run")


@pytest.fixture(scope="module")
def in_containers(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_pipeline("docker", tmp_path_factory.mktemp("in-containers") / "run")


@pytest.fixture(scope="module")
def bucket_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A network of which nothing is part but a container with the Cloud Storage emulator, and a bucket of photos."""
    buckets = tmp_path_factory.mktemp("buckets")
    (buckets / "photos").mkdir()
    (buckets / "models").mkdir()
    shutil.copy(SAMPLE, buckets / "photos" / "Animals.zip")
    buckets.chmod(0o755)  # pytest's folders are for its own user alone
    program = "/opt/fake-gcs-server"
    mounts = [f"type=bind,readonly,source={emulator_program()},target={program}"]
    mounts += [f"type=bind,readonly,source={buckets},target=/data"]
    serve = [program, "-backend", "memory", "-data", "/data", "-scheme", "http", "-host", "127.0.0.1", "-port", "4443"]
    serve += ["-public-host", "127.0.0.1:4443", "-external-url", EMULATOR]
    options = [word for mount in mounts for word in ("--mount", mount)]
    started = docker("run", "--detach", "--rm", "--network", "none", *options, images.DATA, *serve)
    assert started.returncode == 0, started.stderr
    container = started.stdout.strip()
    yield f"container:{container}"
    docker("stop", "--time", "1", container)


@pytest.mark.parametrize("step", STEPS)
def test_each_component_runs_in_its_container(
    in_processes: Run, bucket_network: str, step: str, tmp_path: Path
) -> None:
    component = compiled_component(step, tmp_path)
    parameters, artifacts = arguments_of(step, in_processes)
    parameters |= {name: value for name, value in SHORT.items() if name in parameters}
    if "weights" in parameters:
        # The image brings them along, so a pod needs no network even here.
        parameters["weights"] = f"/opt/keras/models/{Path(parameters['weights']).name}"
    network = "none"
    if step in ("ingest", "register"):  # these two talk to a bucket, and can reach nothing else
        network = bucket_network
        parameters |= {"source": "gs://photos/Animals.zip"}
        if step == "register":
            parameters["registry_uri"] = "gs://models/registry"
    alone = pipeline_of_one(step, component, parameters, artifacts)
    runner = docker_runner(
        tmp_path / "root", [], [in_processes.directory / "steps"], network, {HOST_VARIABLE: EMULATOR}
    )
    local.init(runner, pipeline_root=str(tmp_path / "root"), workspace_root=str(tmp_path / "workspace"))
    alone()
    (outputs,) = (tmp_path / "root").glob(f"only-{step}-*/{step}")
    assert {path.name for path in outputs.iterdir()} == {path.name for path in in_processes.steps[step].iterdir()}
    assert not [path for path in outputs.rglob("*") if path.stat().st_uid == 0], "a step ran as root"


def test_the_pipeline_decides_the_same_in_containers(in_processes: Run, in_containers: Run) -> None:
    for output in ("clean/decisions/catalog.parquet", "split/splits/assignments.parquet"):
        step, path = output.split("/", 1)
        pd.testing.assert_frame_equal(
            pd.read_parquet(in_containers.steps[step] / path), pd.read_parquet(in_processes.steps[step] / path)
        )


def test_the_audit_of_embeddings_finds_the_same_in_containers(in_processes: Run, in_containers: Run) -> None:
    here, there = (
        read_findings(run.steps["audit"].parent / "audit-embeddings" / "findings")
        for run in (in_processes, in_containers)
    )
    pd.testing.assert_frame_equal(here, there)
    assert set(here["check"]) & set(EMBEDDING_CHECKS)


def test_the_pipeline_learns_the_same_in_containers(in_processes: Run, in_containers: Run) -> None:
    here, there = (
        pd.read_parquet(run.steps["evaluate"] / "evaluation" / "predictions.parquet")
        for run in (in_processes, in_containers)
    )
    pd.testing.assert_frame_equal(here, there)
    scores = [
        json.loads((run.steps["evaluate"] / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
        for run in (in_processes, in_containers)
    ]
    for score in scores:
        del score["model_sha256"]  # of a file that says when it was written
    assert scores[0] == scores[1]


def test_the_pipeline_registers_the_same_version_from_containers(in_processes: Run, in_containers: Run) -> None:
    versions = [
        next((run.directory / "registry" / "animals" / "versions").iterdir()).name
        for run in (in_processes, in_containers)
    ]
    assert versions[0] == versions[1]


def test_lineage_names_the_bytes_of_the_image(in_containers: Run) -> None:
    (version,) = (in_containers.directory / "registry" / "animals" / "versions").glob("*/*")
    image = json.loads((version / "lineage.json").read_text(encoding="utf-8"))["image"]
    assert image.startswith(images.TRAINING.partition(":")[0])
    assert "sha256:" in image


def test_a_container_leaves_its_checkpoints_where_it_was_told(in_processes: Run, in_containers: Run) -> None:
    for run in (in_processes, in_containers):
        kept = {path.parent.name.partition("-")[0] for path in (run.directory.parent / "checkpoints").rglob("*.npz")}
        assert kept == {"frozen", "fine_tune"}


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def shouting(word: str) -> str:
    """Write more than a log reader takes in at once, then die without a record."""
    import os

    os.write(1, b"".join(b"line %d\n" % number for number in range(20_000)))
    os._exit(3)


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def disappointed(word: str) -> float:
    """Fail for want of what the step before should have made."""
    from components.failures import UserError, attempts

    for attempt in attempts("disappointed"):
        with attempt:
            raise UserError("there is nothing to work with")
    return 0.0


def test_a_container_that_fails_fails_the_run_whatever_its_runner_says(tmp_path: Path) -> None:
    """kfp's DockerRunner can lose the exit code of a container with a long log, and call that success."""

    @dsl.pipeline(name="shout")
    def pipeline(word: str) -> str:
        return shouting(word=word).output

    with pytest.raises(StepFailedError, match="shouting left no record of success"):
        run_locally(pipeline, {"word": "loud"}, "docker", tmp_path / "run", "none")
    assert "line 19999" in (tmp_path / "run" / "run.log").read_text(encoding="utf-8")


def test_the_step_that_failed_first_is_named(tmp_path: Path) -> None:
    @dsl.pipeline(name="shout-then-fail")
    def pipeline(word: str) -> float:
        return disappointed(word=word).after(shouting(word=word)).output

    with pytest.raises(StepFailedError, match="^shouting "):
        run_locally(pipeline, {"word": "loud"}, "docker", tmp_path / "run", "none")
