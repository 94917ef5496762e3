"""A local run is successful only when every step says so itself."""

import gc
from pathlib import Path

import pytest
from kfp import dsl

from components.launch import command_line, local_run
from components.launch.command_line import main
from components.launch.local_run import StepFailedError, run_locally
from components.publishing import working_path
from pipeline import image_classification


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def silent(word: str) -> float:
    """Succeed as kfp sees it, and record nothing."""
    return float(len(word))


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def refusing(word: str) -> float:
    """Fail as our steps do on wrong data."""
    from components.failures import UserError, attempts

    for attempt in attempts("refusing"):
        with attempt:
            raise UserError(f"'{word}' is wrong; say something else")
    return 0.0


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def crashing(word: str) -> float:
    """End as a killed container does: no record, no message."""
    import os

    os._exit(137)


def one_step(component: dsl.base_component.BaseComponent) -> dsl.graph_component.GraphComponent:
    @dsl.pipeline(name="one-step")
    def pipeline(word: str) -> float:
        return component(word=word).output

    return pipeline


def test_a_place_of_the_users_among_the_reports_is_no_obstacle(tmp_path: Path) -> None:
    """Of checkpoints for example: the run would have failed when all of its steps were done."""
    (tmp_path / "reports" / "checkpoints").mkdir(parents=True)
    report = tmp_path / "steps" / "run-1" / "audit" / "report"
    report.parent.mkdir(parents=True)
    report.write_text("<!doctype html>", encoding="utf-8")
    [collected] = local_run._collect_reports(tmp_path)
    assert collected.read_text(encoding="utf-8") == "<!doctype html>"


def test_success_that_no_step_recorded_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError, match="silent left no record of success"):
        run_locally(one_step(silent), {"word": "yes"}, "local", tmp_path / "run", "none")


def test_a_steps_own_sentence_and_exit_code_come_through(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError, match="refusing: 'no' is wrong; say something else") as failed:
        run_locally(one_step(refusing), {"word": "no"}, "local", tmp_path / "run", "none")
    assert failed.value.exit_code == 2


def test_a_step_that_dies_without_a_word_points_to_the_log(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError, match="run.log") as failed:
        run_locally(one_step(crashing), {"word": "no"}, "local", tmp_path / "run", "none")
    assert failed.value.exit_code == 1
    assert (tmp_path / "run" / "run.log").read_text(encoding="utf-8")


def test_a_step_that_died_unnoticed_is_named_not_the_one_that_missed_its_outputs(tmp_path: Path) -> None:
    @dsl.pipeline(name="two-steps")
    def pipeline(word: str) -> float:
        return refusing(word=word).after(silent(word=word)).output

    with pytest.raises(StepFailedError, match="^silent left no record of success"):
        run_locally(pipeline, {"word": "no"}, "local", tmp_path / "run", "none")


@pytest.mark.parametrize(("stopped_by", "exit_code"), [(KeyboardInterrupt(), 130), (StepFailedError("split", 1), 1)])
def test_what_a_killed_step_has_half_written_goes(
    stopped_by: BaseException, exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tmp_path / "run" / "steps"

    def killed(*_: object) -> None:
        (steps / "split" / ".splits.partial").mkdir(parents=True)
        (steps / "split" / ".splits.partial" / "train-00000.tfrecord").touch()
        (steps / "clean" / "decisions").mkdir(parents=True)
        working_path(steps / "audit" / "findings", "chunks").parent.mkdir()
        working_path(steps / "audit" / "findings", "chunks").touch()
        (working_path(steps / "fine_tune" / "model", "activations") / "boundary-5b").mkdir(parents=True)
        raise stopped_by

    monkeypatch.setattr(command_line, "run_locally", killed)
    source = Path(__file__).parents[2] / "samples" / "animals.zip"
    with pytest.raises(SystemExit) as ended:
        main(
            image_classification,
            ["--run", "local", "--source", str(source), "--output", str(tmp_path / "run"), "--set", "weights=random"],
        )

    assert ended.value.code == exit_code
    assert sorted(path.name for path in steps.rglob("*")) == ["audit", "clean", "decisions", "fine_tune", "split"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_docker_without_a_daemon_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-daemon.sock")
    with pytest.raises(SystemExit) as stopped:
        main(image_classification, ["--run", "docker", "--source", "x.zip", "--output", str(tmp_path / "run")])
    assert stopped.value.code == 2
    assert "the docker daemon does not answer" in capsys.readouterr().err
    # The docker library leaves its socket to the garbage collector, which complains: let it do so here.
    del stopped
    gc.collect()
