"""Submission to a Kubeflow Pipelines API on loopback that records what it is sent."""

from pathlib import Path
from typing import Any

import kfp
import pytest
import yaml
from google.cloud import storage

from components import __version__
from components.ingest.source import fingerprint_source
from components.launch.command_line import main
from pipeline import image_classification
from tests.launch.recorded_kubeflow_api import RecordedKubeflowApi, recorded_kubeflow_api
from tests.launch.submit import refused, submit


def test_a_run_is_submitted_with_everything_that_was_asked_for(
    kubeflow: RecordedKubeflowApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--experiment", "animals", "--run-name", "first", "--namespace", "team"]
    options += ["--pipeline-root", "gs://artifacts/root", "--service-account", "trainer", "--set", "batch_size=64"]
    submit("kubeflow", source, "--host", kubeflow.url, *options, "--gpu", "nvidia-tesla-a100", "--gpu-count", "2")
    (run,) = kubeflow.runs
    assert run["display_name"] == "first"
    assert run["experiment_id"] == "experiment-1"
    assert run["service_account"] == "trainer"
    assert run["runtime_config"]["pipeline_root"] == "gs://artifacts/root"
    parameters = run["runtime_config"]["parameters"]
    assert parameters["source"] == source
    assert parameters["registry_uri"] == "gs://models/registry"
    assert parameters["batch_size"] == 64
    assert kubeflow.experiments == [{"display_name": "animals", "namespace": "team"}]
    settings = run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert settings["exec-fine-tune"]["nodeSelector"]["labels"] == {
        "cloud.google.com/gke-accelerator": "nvidia-tesla-a100"
    }
    assert f"{kubeflow.url}/#/runs/details/run-1" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:This client only works with Kubeflow Pipeline:FutureWarning")
def test_kfps_own_client_would_send_the_same(kubeflow: RecordedKubeflowApi, source: str, tmp_path: Path) -> None:
    options = ["--pipeline-root", "gs://artifacts/root", "--service-account", "trainer", "--no-caching"]
    submit("kubeflow", source, "--host", kubeflow.url, *options, "--run-name", "first")
    package = tmp_path / "pipeline.yaml"
    main(image_classification, ["--compile", "--target", "kubeflow", "--output", str(package)])
    kfp.Client(host=kubeflow.url).create_run_from_pipeline_package(
        str(package),
        arguments=kubeflow.runs[0]["runtime_config"]["parameters"],
        run_name="first",
        experiment_name="Default",
        namespace="kubeflow",
        pipeline_root="gs://artifacts/root",
        enable_caching=False,
        service_account="trainer",
    )
    ours, theirs = kubeflow.runs
    assert ours.pop("description")
    assert ours == theirs


def test_an_experiment_is_made_once(kubeflow: RecordedKubeflowApi, source: str) -> None:
    for name in ("animals", "animals", "plants"):
        submit("kubeflow", source, "--host", kubeflow.url, "--experiment", name)
    assert [experiment["display_name"] for experiment in kubeflow.experiments] == ["animals", "plants"]
    assert [run["experiment_id"] for run in kubeflow.runs] == ["experiment-1", "experiment-1", "experiment-2"]


def test_the_source_is_pinned_so_that_a_cache_cannot_serve_older_photos(
    kubeflow: RecordedKubeflowApi, source: str
) -> None:
    submit("kubeflow", source, "--host", kubeflow.url)
    before = kubeflow.runs[0]["runtime_config"]["parameters"]["source_fingerprint"]
    assert before == fingerprint_source(source)
    client = storage.Client.create_anonymous_client()
    bucket, name = source.removeprefix("gs://").split("/", 1)
    client.bucket(bucket).blob(name).upload_from_string(b"other photos")
    client.close()
    submit("kubeflow", source, "--host", kubeflow.url)
    assert kubeflow.runs[1]["runtime_config"]["parameters"]["source_fingerprint"] != before


@pytest.mark.parametrize("caching", [True, False])
def test_caching_is_switched_for_every_step(kubeflow: RecordedKubeflowApi, source: str, caching: bool) -> None:
    submit("kubeflow", source, "--host", kubeflow.url, "--caching" if caching else "--no-caching")
    tasks = kubeflow.runs[0]["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    cached = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache", False)}
    assert cached == (set(tasks) - {"evaluate"} if caching else set())


def test_labels_are_on_every_pod_and_in_the_runs_description(kubeflow: RecordedKubeflowApi, source: str) -> None:
    labels = ["--label", "team=vision", "--label", "kueue.x-k8s.io/queue-name=gpus"]
    submit("kubeflow", source, "--host", kubeflow.url, *labels)
    (run,) = kubeflow.runs
    assert run["description"] == (f"image-classification {__version__}, team=vision, kueue.x-k8s.io/queue-name=gpus")
    executors = run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(executors) == 8
    for executor in executors.values():
        carried = executor["podMetadata"]["labels"]
        assert carried["team"] == "vision"
        assert carried["kueue.x-k8s.io/queue-name"] == "gpus"
        assert carried["app.kubernetes.io/part-of"] == "image-classification"
        assert carried["app.kubernetes.io/version"] == __version__


def test_labels_are_compiled_for_kubernetes_and_refused_for_vertex_ai(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "pipeline.yaml"
    main(image_classification, ["--compile", "--label", "team=vision", "--output", str(package)])
    _, platform = yaml.safe_load_all(package.read_text(encoding="utf-8"))
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {executor["podMetadata"]["labels"]["team"] for executor in executors.values()} == {"vision"}
    with pytest.raises(SystemExit, match="2"):
        main(image_classification, ["--compile", "--target", "vertex", "--label", "team=vision"])
    assert "--label does nothing with --compile --target vertex; leave it out" in capsys.readouterr().err


def test_a_host_that_refuses_is_quoted_and_not_asked_again(
    kubeflow: RecordedKubeflowApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.run_answers = [403, 200]
    code, message = refused(capsys, "kubeflow", source, "--host", kubeflow.url)
    assert code == 2
    assert "refused the run: 403" in message
    assert len(kubeflow.runs) == 1


def test_a_run_that_was_not_accepted_is_submitted_again(
    kubeflow: RecordedKubeflowApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.run_answers = [503, 429, 200]
    submit("kubeflow", source, "--host", kubeflow.url, "--retries", "2")
    assert len(kubeflow.runs) == 3
    assert kubeflow.runs[0] == kubeflow.runs[2]
    shown = capsys.readouterr().out
    assert shown.count("cannot take the run now") == 2
    assert "trying again in 1 s, 2 times more at most" in shown
    assert "trying again in 2 s, 1 time more at most" in shown
    assert shown.count("submitted: ") == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_stays_busy_is_worth_another_try_later(
    kubeflow: RecordedKubeflowApi, source: str, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    kubeflow.run_answers = [status]
    code, message = refused(capsys, "kubeflow", source, "--host", kubeflow.url, "--retries", "0")
    assert code == 75
    assert f"try again later: {status}" in message


def test_a_lost_answer_to_a_question_is_asked_for_again(kubeflow: RecordedKubeflowApi, source: str) -> None:
    kubeflow.lookup_answers = [504]
    submit("kubeflow", source, "--host", kubeflow.url)
    assert len(kubeflow.runs) == 1


@pytest.mark.parametrize(
    ("answer", "said"), [(504, "a gateway before"), (502, "a gateway before"), (None, "gave no answer")]
)
def test_a_run_that_may_have_been_accepted_is_not_submitted_twice(
    kubeflow: RecordedKubeflowApi, source: str, capsys: pytest.CaptureFixture[str], answer: int | None, said: str
) -> None:
    kubeflow.run_answers = [answer]
    code, message = refused(capsys, "kubeflow", source, "--host", kubeflow.url)
    assert code == 75
    assert said in message
    assert f"the run may have started: look at {kubeflow.url}/#/runs before you submit again" in message
    assert len(kubeflow.runs) == 1


def test_a_host_that_does_not_answer_is_tried_again_and_then_worth_a_try_later(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="75"):
        submit("kubeflow", source, "--host", "http://127.0.0.1:9", "--retries", "1")
    shown = capsys.readouterr()
    why = "no Kubeflow Pipelines API answers: nothing listens at 127.0.0.1:9; forward it: kubectl --namespace kubeflow "
    assert why in shown.out
    assert "trying again in 1 s, 1 time more at most" in shown.out
    assert why in shown.err


def test_a_host_with_a_certificate_of_ones_own_is_trusted_when_the_environment_says_so(
    localhost_certificate: tuple[Path, Path],
    source: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with recorded_kubeflow_api(*localhost_certificate) as kubeflow:
        code, message = refused(capsys, "kubeflow", source, "--host", kubeflow.url)
        assert code == 2
        assert f"the certificate of {kubeflow.url} is not trusted; set SSL_CERT_FILE" in message
        monkeypatch.setenv("SSL_CERT_FILE", str(localhost_certificate[0]))
        submit("kubeflow", source, "--host", kubeflow.url)
        assert len(kubeflow.runs) == 1


def test_a_login_page_is_not_taken_for_a_started_run(
    kubeflow: RecordedKubeflowApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.shows_login = True
    code, message = refused(capsys, "kubeflow", source, "--host", kubeflow.url)
    assert code == 2
    assert f"{kubeflow.url} answers, but not as the Kubeflow Pipelines API does; a login may be before it" in message
    assert not kubeflow.runs


def checkpoints_of(run: dict[str, Any]) -> str | None:
    return run["runtime_config"]["parameters"].get("checkpoint_uri")


def test_on_spot_nodes_steps_keep_their_state_where_the_run_keeps_its_outputs(
    kubeflow: RecordedKubeflowApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in (
        [],
        ["--spot"],
        ["--spot", "--pipeline-root", "gs://runs/pipelines"],
        ["--spot", "--set", "checkpoint_uri=gs://mine/here"],
    ):
        submit("kubeflow", source, "--host", kubeflow.url, *options)
    assert [checkpoints_of(run) for run in kubeflow.runs] == [
        None,
        "gs://models/checkpoints",
        "gs://runs/checkpoints",
        "gs://mine/here",
    ]
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("checkpoints")]
    assert said == [
        "checkpoints go to gs://models/checkpoints, from where preempted steps go on; this is the bucket of models, "
        "which usually keeps what is deleted, so old checkpoints are billed on; give --pipeline-root "
        "gs://another-bucket/runs, or --set checkpoint_uri=gs://another-bucket/checkpoints",
        "checkpoints go to gs://runs/checkpoints, from where preempted steps go on",
    ]


def test_a_volume_of_weights_that_nothing_reads_is_warned_of(
    kubeflow: RecordedKubeflowApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    claim = ["--host", kubeflow.url, "--weights-claim", "backbones"]
    submit("kubeflow", source, *claim)
    warning = "warning: weights is imagenet, so nothing reads the volume backbones; give --set weights=/weights/FILE\n"
    assert capsys.readouterr().err == warning
    submit("kubeflow", source, *claim, "--set", "weights=/weights/mine.npz")
    assert capsys.readouterr().err == ""


def test_checkpoints_in_a_pod_are_refused(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--host", "http://127.0.0.1:9", "--set", "checkpoint_uri=/tmp/checkpoints"]
    code, message = refused(capsys, "kubeflow", source, *options)
    assert code == 2
    assert "would be lost with their pod" in message
