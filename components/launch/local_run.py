"""Run the whole pipeline on this machine, in processes or in docker, and trust only what the steps themselves say.

kfp.local can report success for a step that failed: a missing output counts as success, and so does a container whose
exit code was lost. So every step records its outcome, and a run is successful only with eight records of success.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from kfp import local
from kfp.dsl.base_component import BaseComponent

from components.failures import OUTCOMES_DIRECTORY_VARIABLE, UserError
from components.launch.run_log import RunLog

Runner = Literal["local", "docker"]

# Artifacts have no suffix where kfp puts them; a browser needs one.
_REPORTS = {
    ("audit", "report"): "1-audit.html",
    ("clean", "summary"): "2-cleaning.md",
    ("train-frozen", "report"): "3-frozen-training.html",
    ("fine-tune", "report"): "4-fine-tuning.html",
    ("evaluate", "report"): "5-evaluation.html",
}


class StepFailedError(Exception):
    """A step failed; ``exit_code`` is the step's."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a finished run left behind.

    Attributes:
        directory: Everything of this run.
        test_accuracy: Accuracy on the held-out test set, [0, 1].
        registered_version: URI of the registered model version.
        reports: HTML and Markdown reports, in reading order.
        seconds: Wall time of the run.
    """

    directory: Path
    test_accuracy: float
    registered_version: str
    reports: list[Path]
    seconds: float


def run_locally(
    pipeline: BaseComponent, values: Mapping[str, Any], runner: Runner, directory: Path, docker_network: str
) -> RunResult:
    """Run the pipeline and return what it left behind.

    Args:
        pipeline: What ``@dsl.pipeline`` returned.
        values: Parameter values by name.
        runner: ``local`` for one process per step, ``docker`` for one container per step.
        directory: New folder for everything of this run.
        docker_network: Network mode of the containers, ``none``, ``bridge`` or ``host``.

    Raises:
        UserError: When a value cannot be passed to kfp.local unchanged, or the docker daemon does not answer.
        StepFailedError: When a step failed or left no record of success.
    """
    if runner == "local":
        _refuse_rewritten_text({**values, "the output folder": str(directory)})
    steps = list(pipeline.pipeline_spec.root.dag.tasks)
    outcomes = directory / "outcomes"
    outcomes.mkdir(parents=True)
    began = time.monotonic()
    # kfp deletes the workspace root after a run, whatever it is: give it a folder of its own.
    with tempfile.TemporaryDirectory(prefix="image-classification-") as scratch:
        local.init(
            runner=_docker_runner(outcomes, values, docker_network) if runner == "docker" else _subprocess_runner(),
            pipeline_root=str(directory / "steps"),
            workspace_root=str(Path(scratch) / "workspace"),
        )
        with (directory / "run.log").open("w", encoding="utf-8") as log, _environment(outcomes):
            view = RunLog(log, sys.stdout, len(steps))
            try:
                with contextlib.redirect_stdout(view), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="You may be attemping to run a task")
                    # Display names and resources are for clusters.
                    warnings.filterwarnings("ignore", message="Task '.*': settings .* have no effect")
                    task = pipeline(**values)
            except RuntimeError as error:
                raise _failure(outcomes, directory) from error
    _require_success(steps, outcomes, directory)
    return RunResult(
        directory=directory,
        test_accuracy=float(task.outputs["test_accuracy"]),
        registered_version=str(task.outputs["registered_version"]),
        reports=_collect_reports(directory),
        seconds=time.monotonic() - began,
    )


def _subprocess_runner() -> local.SubprocessRunner:
    return local.SubprocessRunner(use_venv=False)


def _docker_runner(outcomes: Path, values: Mapping[str, Any], network: str) -> local.DockerRunner:
    import docker  # noqa: PLC0415 - only for this runner

    try:
        client = docker.from_env()
        client.close()
    except (docker.errors.DockerException, OSError) as error:
        raise UserError(f"the docker daemon does not answer ({error}); start docker, or use --run local") from error
    environment = {OUTCOMES_DIRECTORY_VARIABLE: str(outcomes), "HOME": "/tmp"}  # noqa: S108 - in the container
    if "STORAGE_EMULATOR_HOST" in os.environ:
        environment["STORAGE_EMULATOR_HOST"] = os.environ["STORAGE_EMULATOR_HOST"]
    mounts = [docker.types.Mount(str(outcomes), str(outcomes), type="bind")]
    for name, read_only in (("source", True), ("weights", True), ("registry_uri", False)):
        value = str(values.get(name, ""))
        if value and "://" not in value and (not read_only or Path(value).exists()):
            path = Path(value).resolve()
            if not read_only:
                path.mkdir(parents=True, exist_ok=True)
            mounts.append(docker.types.Mount(str(path), str(path), type="bind", read_only=read_only))
    return local.DockerRunner(
        environment=environment, mounts=mounts, network_mode=network, user=f"{os.getuid()}:{os.getgid()}"
    )


@contextlib.contextmanager
def _environment(outcomes: Path) -> Iterator[None]:
    before = os.environ.get(OUTCOMES_DIRECTORY_VARIABLE)
    os.environ[OUTCOMES_DIRECTORY_VARIABLE] = str(outcomes)
    try:
        yield
    finally:
        if before is None:
            del os.environ[OUTCOMES_DIRECTORY_VARIABLE]
        else:
            os.environ[OUTCOMES_DIRECTORY_VARIABLE] = before


def _refuse_rewritten_text(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if "python3" in json.dumps(value, default=str):
            raise UserError(
                f"{name} contains the text 'python3', which kfp.local's process runner would replace; "
                "rename the path, or use --run docker"
            )


def _read_outcomes(outcomes: Path) -> list[dict[str, Any]]:
    """Return the steps' records in the order they ended: the first failure is the cause of those after it."""
    paths = sorted(outcomes.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _failure(outcomes: Path, directory: Path) -> StepFailedError:
    failed = [outcome for outcome in _read_outcomes(outcomes) if outcome["exit_code"] != 0]
    if not failed:
        return StepFailedError(f"a step ended without saying why; its output is in {directory / 'run.log'}", 1)
    outcome = failed[0]
    where = "" if outcome["exit_code"] in (2, 75) else f" (its output is in {directory / 'run.log'})"
    return StepFailedError(f"{outcome['step']}: {outcome['message']}{where}", outcome["exit_code"])


def _require_success(steps: list[str], outcomes: Path, directory: Path) -> None:
    recorded = {outcome["step"]: outcome["exit_code"] for outcome in _read_outcomes(outcomes)}
    for step in steps:
        exit_code = recorded.get(step.replace("-", "_"))
        if exit_code is None:
            raise StepFailedError(f"{step} left no record of success; its output is in {directory / 'run.log'}", 1)
        if exit_code != 0:
            raise _failure(outcomes, directory)


def _collect_reports(directory: Path) -> list[Path]:
    reports = directory / "reports"
    reports.mkdir()
    collected = []
    for (step, output), name in _REPORTS.items():
        for artifact in (directory / "steps").glob(f"*/{step}/{output}"):
            shutil.copyfile(artifact, reports / name)
            collected.append(reports / name)
    return collected
