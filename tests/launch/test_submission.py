"""Submission, against a Kubeflow Pipelines API on loopback that records what it is sent."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform, storage

from components.ingest.source import fingerprint_source
from components.launch.command_line import main
from pipeline import image_classification

PUBLISHED = Path(__file__).resolve().parents[2] / "manifests" / "pipelines"
pytestmark = pytest.mark.filterwarnings("ignore:This client only works with Kubeflow Pipeline:FutureWarning")


@dataclass
class RecordedApi:
    """What the fake API was asked, and what it answers to a new run."""

    url: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200


@pytest.fixture
def kubeflow() -> Iterator[RecordedApi]:
    recorded = RecordedApi()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, {"experiments": []})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.startswith("/apis/v2beta1/experiments"):
                recorded.experiments.append(body)
                self._answer(200, {"experiment_id": "experiment-1", "display_name": body["display_name"]})
            else:
                recorded.runs.append(body)
                self._answer(recorded.status, {"run_id": "run-1"})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Keep the tests' output quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorded.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield recorded
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def source(new_bucket: Callable[[], str]) -> str:
    bucket = new_bucket()
    client = storage.Client.create_anonymous_client()
    client.bucket(bucket.removeprefix("gs://")).blob("Animals.zip").upload_from_string(b"some photos")
    client.close()
    return f"{bucket}/Animals.zip"


def submit(host: str, source: str, *more: str) -> None:
    arguments = ["--submit", "kubeflow", "--host", host, "--source", source, "--registry", "gs://models/registry"]
    main(image_classification, [*arguments, *more])


def test_a_run_is_submitted_with_everything_that_was_asked_for(
    kubeflow: RecordedApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--experiment", "animals", "--run-name", "first", "--namespace", "team"]
    options += ["--pipeline-root", "gs://artifacts/root", "--service-account", "trainer", "--set", "batch_size=64"]
    submit(kubeflow.url, source, *options, "--gpu", "nvidia-tesla-a100", "--gpu-count", "2")
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


def test_the_source_is_pinned_so_that_a_cache_cannot_serve_older_photos(kubeflow: RecordedApi, source: str) -> None:
    submit(kubeflow.url, source)
    before = kubeflow.runs[0]["runtime_config"]["parameters"]["source_fingerprint"]
    assert before == fingerprint_source(source)
    client = storage.Client.create_anonymous_client()
    bucket, name = source.removeprefix("gs://").split("/", 1)
    client.bucket(bucket).blob(name).upload_from_string(b"other photos")
    client.close()
    submit(kubeflow.url, source)
    assert kubeflow.runs[1]["runtime_config"]["parameters"]["source_fingerprint"] != before


@pytest.mark.parametrize("caching", [True, False])
def test_caching_is_switched_for_every_step(kubeflow: RecordedApi, source: str, caching: bool) -> None:
    submit(kubeflow.url, source, "--caching" if caching else "--no-caching")
    tasks = kubeflow.runs[0]["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert {task["cachingOptions"].get("enableCache", False) for task in tasks.values()} == {caching}


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main(image_classification, arguments)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, capsys.readouterr().err


def test_a_host_that_refuses_is_quoted(kubeflow: RecordedApi, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    kubeflow.status = 403
    arguments = ["--submit", "kubeflow", "--host", kubeflow.url, "--source", source, "--registry", "gs://models/r"]
    code, message = refused(capsys, arguments)
    assert code == 2
    assert "refused the run: 403" in message


def test_a_busy_host_is_worth_another_try(
    kubeflow: RecordedApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.status = 503
    arguments = ["--submit", "kubeflow", "--host", kubeflow.url, "--source", source, "--registry", "gs://models/r"]
    code, message = refused(capsys, arguments)
    assert code == 75
    assert "try again later: 503" in message


def test_a_host_that_does_not_answer_is_worth_another_try(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--submit", "kubeflow", "--host", "http://127.0.0.1:9", "--source", source, "--registry", "gs://m/r"]
    code, message = refused(capsys, arguments)
    assert code == 75
    assert "http://127.0.0.1:9 does not answer" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kubeflow"], "no Kubeflow Pipelines host; give --host"),
        (["vertex"], "Vertex AI needs --project, --region, --pipeline-root"),
        (["vertex", "--project", "p", "--region", "europe-west4"], "Vertex AI needs --pipeline-root"),
    ],
)
def test_missing_options_are_named(
    source: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, error = refused(capsys, ["--submit", *arguments, "--source", source, "--registry", "gs://models/r"])
    assert code == 2
    assert message in error
    code, error = refused(capsys, ["--submit", *arguments, "--source", "gs://no-such-bucket/a", "--registry", "gs://m"])
    assert message in error, "what is missing is said before anything is looked up"


def test_weights_on_this_machine_are_refused(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--submit", "kubeflow", "--host", "http://127.0.0.1:9", "--source", source, "--registry", "gs://m/r"]
    code, message = refused(capsys, [*arguments, "--set", "weights=imagenet.npz"])
    assert code == 2
    assert "a cluster cannot read imagenet.npz; upload it" in message


def test_a_local_source_is_refused_because_a_cluster_cannot_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--submit",
        "kubeflow",
        "--host",
        "http://127.0.0.1:9",
        "--source",
        "photos.zip",
        "--registry",
        "gs://r",
    ]
    code, message = refused(capsys, arguments)
    assert code == 2
    assert "a cluster cannot read photos.zip; upload it" in message


def test_a_local_registry_is_refused_because_the_model_would_be_lost(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--submit",
        "kubeflow",
        "--host",
        "http://127.0.0.1:9",
        "--source",
        "gs://a/b.zip",
        "--registry",
        "models",
    ]
    code, message = refused(capsys, arguments)
    assert code == 2
    assert "would be lost with its pod; give --registry gs://" in message


def test_vertex_ais_own_client_reads_the_published_pipeline() -> None:
    job = aiplatform.PipelineJob(
        display_name="animals",
        template_path=str(PUBLISHED / "vertex.yaml"),
        pipeline_root="gs://artifacts/root",
        parameter_values={"source": "gs://photos/Animals.zip", "registry_uri": "gs://models/registry"},
        project="project",
        location="europe-west4",
        credentials=AnonymousCredentials(),
        enable_caching=False,
    )
    spec = job.to_dict()
    assert spec["runtimeConfig"]["parameterValues"]["source"] == "gs://photos/Animals.zip"
    assert spec["runtimeConfig"]["gcsOutputDirectory"] == "gs://artifacts/root"
