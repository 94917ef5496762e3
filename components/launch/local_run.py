"""Run the whole pipeline on this machine, in processes or in docker, and trust only what the steps themselves say.

kfp.local can report success for a step that failed: a missing output counts as success, and so does a container whose
exit code was lost. So every step records its outcome, and a run is successful only with a record of success for each.
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

from components.failures import OUTCOMES_DIRECTORY_VARIABLE, RETRY_WAITS_VARIABLE, UserError
from components.launch.docker_runner import docker_runner
from components.launch.run_log import RunLog

Runner = Literal["local", "docker"]

WRITTEN_PLACES = ("registry_uri", "checkpoint_uri", "cache_directory")
"""Parameters that name a place that a run writes to, which need not exist."""
PLACES = ("source", "weights", *WRITTEN_PLACES, "previous_decisions", "earlier_findings")
"""Parameters that may be paths on this machine."""

STEPS_FOLDER = "steps"
"""In the folder of a run, what the steps leave."""

# Artifacts have no suffix where kfp puts them; a browser needs one.
_REPORTS = {
    ("audit", "report"): "1-audit.html",
    ("audit-embeddings", "report"): "1-embeddings.html",
    ("clean", "summary"): "2-cleaning.md",
    ("split", "report"): "3-split.html",
    ("train-frozen", "report"): "4-frozen-training.html",
    ("fine-tune", "report"): "5-fine-tuning.html",
    ("evaluate", "report"): "6-evaluation.html",
    ("register", "card"): "7-model-card.html",
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
    needs = {name: list(task.dependent_tasks) for name, task in pipeline.pipeline_spec.root.dag.tasks.items()}
    outcomes = directory / "outcomes"
    outcomes.mkdir(parents=True)
    began = time.monotonic()
    # kfp deletes the workspace root after a run, whatever it is: give it a folder of its own.
    with tempfile.TemporaryDirectory(prefix="image-classification-") as scratch:
        local.init(
            runner=_docker_runner(outcomes, directory / STEPS_FOLDER, values, docker_network)
            if runner == "docker"
            else local.SubprocessRunner(use_venv=False),
            pipeline_root=str(directory / STEPS_FOLDER),
            workspace_root=str(Path(scratch) / "workspace"),
        )
        with (directory / "run.log").open("w", encoding="utf-8") as log, _environment(outcomes):
            view = RunLog(log, sys.stdout, len(needs))
            try:
                with contextlib.redirect_stdout(view), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="You may be attemping to run a task")
                    # Display names and resources are for clusters.
                    warnings.filterwarnings("ignore", message="Task '.*': settings .* have no effect")
                    task = pipeline(**values)
            except (RuntimeError, ValueError) as error:
                # kfp's RuntimeError is for a step that failed, its ValueError for one whose failure it overlooked.
                raise (_failure(needs, outcomes, directory) or error) from error
    if failure := _failure(needs, outcomes, directory):
        raise failure
    return RunResult(
        directory=directory,
        test_accuracy=float(task.outputs["test_accuracy"]),
        registered_version=str(task.outputs["registered_version"]),
        reports=_collect_reports(directory),
        seconds=time.monotonic() - began,
    )


def _docker_runner(outcomes: Path, steps: Path, values: Mapping[str, Any], network: str) -> local.DockerRunner:
    environment = {OUTCOMES_DIRECTORY_VARIABLE: str(outcomes)}
    passed_on = ("STORAGE_EMULATOR_HOST", RETRY_WAITS_VARIABLE)
    environment |= {name: os.environ[name] for name in passed_on if name in os.environ}
    local_paths = {
        name: Path(value).resolve() for name in PLACES if (value := str(values.get(name, ""))) and "://" not in value
    }
    written = [local_paths.pop(name) for name in WRITTEN_PLACES if name in local_paths]
    writable = [outcomes, *written]
    # A weights value may be a word instead; a source that is missing is for ingest to tell.
    readable = {path for path in local_paths.values() if path.exists()}
    return docker_runner(steps, writable, sorted(readable), network, environment)


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


def _failure(needs: Mapping[str, list[str]], outcomes: Path, directory: Path) -> StepFailedError | None:
    """Return what made a run fail, None when every step recorded success.

    Args:
        needs: For each of kfp's tasks, those it builds on.
        outcomes: Folder of the steps' records.
        directory: Of the run.
    """
    log = directory / "run.log"
    recorded = {outcome["step"]: outcome for outcome in _read_outcomes(outcomes)}
    succeeded = {step for step, outcome in recorded.items() if outcome["exit_code"] == 0}
    failed = next((outcome for step, outcome in recorded.items() if step not in succeeded), None)
    silent = [
        _step(task)
        for task, before in needs.items()
        if _step(task) not in recorded and set(map(_step, before)) <= succeeded
    ]
    # A step that died without a word is the cause of what fails for want of its outputs.
    caused = {_step(task) for task, before in needs.items() if set(map(_step, before)) & set(silent)}
    if failed and failed["step"] not in caused:
        where = "" if failed["exit_code"] in (2, 75) else f" (its output is in {log})"
        return StepFailedError(f"{failed['step']}: {failed['message']}{where}", failed["exit_code"])
    if silent:
        return StepFailedError(f"{silent[0]} left no record of success; its output is in {log}", 1)
    return None


def _step(task: str) -> str:
    """Return a step's name for the name kfp gives its task."""
    return task.replace("-", "_")


def _collect_reports(directory: Path) -> list[Path]:
    reports = directory / "reports"
    reports.mkdir(exist_ok=True)  # checkpoints may lie there
    collected = []
    for (step, output), name in _REPORTS.items():
        for artifact in (directory / STEPS_FOLDER).glob(f"*/{step}/{output}"):
            shutil.copyfile(artifact, reports / name)
            collected.append(reports / name)
    return collected
