"""Submission to a Vertex AI API on loopback that speaks the real one's protocol and records what it is sent."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform, aiplatform_v1
from google.protobuf import json_format
from grpc import StatusCode  # type: ignore[import-untyped]

from components import __version__
from components.ingest.source import fingerprint_source
from components.launch.command_line import main
from pipeline import image_classification
from tests.launch.recorded_vertex_api import RecordedVertexApi, recorded_vertex_api, write_localhost_certificate
from tests.launch.submit import refused, submit

PUBLISHED = Path(__file__).resolve().parents[2] / "manifests" / "pipelines"
PLACE = ("--project", "animals", "--region", "europe-west4", "--pipeline-root", "gs://artifacts/root")
STORE = "projects/animals/locations/europe-west4/metadataStores/default"


def sent(vertex: RecordedVertexApi) -> tuple[Any, dict[str, Any]]:
    """The one request for a run, and its run as JSON."""
    (request,) = vertex.requests
    return request, json_format.MessageToDict(aiplatform_v1.PipelineJob.pb(request.pipeline_job))


def test_a_run_is_submitted_with_everything_that_was_asked_for(
    vertex: RecordedVertexApi, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--run-name", "first", "--service-account", "trainer@animals.iam.gserviceaccount.com"]
    options += ["--set", "batch_size=64", "--label", "team=vision"]
    placement = ["--gpu", "nvidia-tesla-a100", "--gpu-count", "2", "--image-tag", "1.2.3"]
    submit("vertex", source, "--api-endpoint", vertex.endpoint, *PLACE, *options, *placement)

    request, job = sent(vertex)
    assert request.parent == "projects/animals/locations/europe-west4"
    assert re.fullmatch(r"image-classification-\d{14}-[0-9a-f]{6}", request.pipeline_job_id)
    assert job["displayName"] == "first"
    assert job["serviceAccount"] == "trainer@animals.iam.gserviceaccount.com"
    assert job["labels"] == {
        "part-of": "image-classification",
        "version": __version__.replace(".", "-"),
        "team": "vision",
    }
    assert job["runtimeConfig"] == {
        "gcsOutputDirectory": "gs://artifacts/root",
        "parameterValues": {
            "source": source,
            "registry_uri": "gs://models/registry",
            "batch_size": 64,
            "source_fingerprint": fingerprint_source(source),
        },
    }
    compiled = tmp_path / "vertex.yaml"
    main(image_classification, ["--compile", "--target", "vertex", *placement, "--output", str(compiled)])
    assert job["pipelineSpec"] == yaml.safe_load(compiled.read_text(encoding="utf-8"))
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"]
    assert executors["exec-fine-tune"]["container"]["resources"]["accelerator"]["resourceType"] == "NVIDIA_TESLA_A100"
    (authorization,) = vertex.authorizations
    assert authorization.startswith("Bearer ")
    url = "https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/"
    assert f"submitted: {url}{request.pipeline_job_id}?project=animals\n" in capsys.readouterr().out
    assert not vertex.contexts, "no experiment unless one is asked for"


@pytest.mark.parametrize("caching", [True, False])
def test_vertex_ais_own_class_would_send_the_same(
    vertex: RecordedVertexApi, source: str, tmp_path: Path, caching: bool
) -> None:
    option = "--caching" if caching else "--no-caching"
    submit("vertex", source, "--api-endpoint", vertex.endpoint, *PLACE, "--run-name", "first", option)
    _, ours = sent(vertex)
    tasks = ours["pipelineSpec"]["root"]["dag"]["tasks"]
    assert len(tasks) == 8
    cached = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache", False)}
    assert cached == (set(tasks) - {"evaluate"} if caching else set())

    compiled = tmp_path / "vertex.yaml"
    main(image_classification, ["--compile", "--target", "vertex", "--output", str(compiled)])
    theirs = aiplatform.PipelineJob(
        display_name="first",
        template_path=str(compiled),
        pipeline_root="gs://artifacts/root",
        parameter_values=ours["runtimeConfig"]["parameterValues"],
        labels=ours["labels"],
        project="animals",
        location="europe-west4",
        credentials=AnonymousCredentials(),
        enable_caching=None if caching else False,
    )
    assert ours == theirs.to_dict()


def test_vertex_ais_own_class_reads_the_published_pipeline() -> None:
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


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (StatusCode.PERMISSION_DENIED, "Permission 'aiplatform.pipelineJobs.create' denied on animals"),
            [
                "Vertex AI refused the run: 403 Permission 'aiplatform.pipelineJobs.create' denied on animals",
                "you need roles/aiplatform.user",
            ],
        ),
        ((StatusCode.INVALID_ARGUMENT, "bad machine"), ["Vertex AI refused the run: 400 bad machine"]),
        ((StatusCode.NOT_FOUND, "no project animals"), ["Vertex AI refused the run: 404 no project animals"]),
        (
            (StatusCode.UNAUTHENTICATED, "invalid token"),
            ["does not accept the Google Cloud credentials", "run: gcloud auth application-default login"],
        ),
        ((StatusCode.UNIMPLEMENTED, "unknown service"), ["is no Vertex AI API", "check --api-endpoint"]),
    ],
)
def test_what_is_refused_is_quoted_and_not_sent_again(
    vertex: RecordedVertexApi,
    source: str,
    capsys: pytest.CaptureFixture[str],
    answer: tuple[StatusCode, str],
    said: list[str],
) -> None:
    vertex.create_answers = [answer]
    code, message = refused(capsys, "vertex", source, "--api-endpoint", vertex.endpoint, *PLACE)
    assert code == 2
    assert all(words in message for words in said), message
    assert len(vertex.requests) == 1
    assert not vertex.jobs


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (StatusCode.UNAVAILABLE, "503 busy"),
        (StatusCode.RESOURCE_EXHAUSTED, "429 busy"),
        (StatusCode.INTERNAL, "500 busy"),
        (StatusCode.DEADLINE_EXCEEDED, "504 busy"),
    ],
)
def test_a_busy_service_is_worth_another_try_later(
    vertex: RecordedVertexApi,
    source: str,
    capsys: pytest.CaptureFixture[str],
    status: StatusCode,
    said: str,
) -> None:
    vertex.create_answers = [(status, "busy")]
    code, message = refused(capsys, "vertex", source, "--api-endpoint", vertex.endpoint, *PLACE, "--retries", "0")
    assert code == 75
    assert said in message
    unsure = "the run may have started: look at https://console.cloud.google.com/vertex-ai/" in message
    assert unsure == (status in (StatusCode.INTERNAL, StatusCode.DEADLINE_EXCEEDED))


def test_a_run_that_was_not_accepted_is_submitted_again(
    vertex: RecordedVertexApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vertex.create_answers = [(StatusCode.UNAVAILABLE, "busy"), (StatusCode.RESOURCE_EXHAUSTED, "busy")]
    submit("vertex", source, "--api-endpoint", vertex.endpoint, *PLACE)
    assert len(vertex.requests) == 3
    assert len(vertex.jobs) == 1
    shown = capsys.readouterr().out
    assert "503 busy\n  trying again in 1 s, 3 times more at most" in shown
    assert "429 busy\n  trying again in 2 s, 2 times more at most" in shown
    assert shown.count("submitted: ") == 1


def test_a_run_whose_answer_was_lost_is_not_started_twice(
    vertex: RecordedVertexApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vertex.create_answers = [(StatusCode.DEADLINE_EXCEEDED, "too late")]
    vertex.accepts_and_fails = True
    submit("vertex", source, "--api-endpoint", vertex.endpoint, *PLACE)
    assert len(vertex.requests) == 2
    (job,) = vertex.jobs
    assert f"/pipelines/runs/{job.rpartition('/')[2]}?project=animals" in capsys.readouterr().out


def test_no_answer_is_worth_another_try_later(
    vertex: RecordedVertexApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = refused(capsys, "vertex", source, "--api-endpoint", "localhost:9", *PLACE, "--retries", "0")
    assert code == 75
    assert "Vertex AI at localhost:9 does not answer or is busy: 503" in message


def test_an_endpoint_whose_certificate_is_not_trusted_is_the_users_to_settle(
    vertex: RecordedVertexApi, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    write_localhost_certificate(certificate, key)
    with recorded_vertex_api(certificate, key) as stranger:
        code, message = refused(capsys, "vertex", source, "--api-endpoint", stranger.endpoint, *PLACE)
    assert code == 2
    assert f"the certificate of {stranger.endpoint} is not trusted; set GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" in message


def test_missing_credentials_are_the_users_to_get(
    vertex: RecordedVertexApi, source: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/account.json")
    code, message = refused(capsys, "vertex", source, "--api-endpoint", vertex.endpoint, *PLACE)
    assert code == 2
    assert "no Google Cloud credentials; run: gcloud auth application-default login" in message
    assert not vertex.requests


def test_credentials_that_no_longer_work_are_the_users_to_renew(
    vertex: RecordedVertexApi,
    source: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    federated = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(tmp_path / "token")},
    }
    account = tmp_path / "account.json"
    account.write_text(json.dumps(federated), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "animals")
    code, message = refused(capsys, "vertex", source, "--api-endpoint", vertex.endpoint, *PLACE)
    assert code == 2
    assert "the Google Cloud credentials do not work; run: gcloud auth application-default login" in message
    assert not vertex.requests


def test_a_run_is_filed_under_an_experiment_that_is_made_on_first_use(
    vertex: RecordedVertexApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        submit("vertex", source, "--api-endpoint", vertex.endpoint, *PLACE, "--experiment", "animals")
    assert vertex.metadata_stores == {STORE}
    ((name, experiment),) = vertex.contexts.items()
    assert name == f"{STORE}/contexts/animals"
    assert experiment.schema_title == "system.Experiment"
    assert experiment.display_name == "animals"
    assert experiment.metadata == {"experiment_deleted": False}
    assert vertex.children == {name: [f"{STORE}/contexts/run"] * 2}
    shown = capsys.readouterr()
    assert shown.out.count("submitted: ") == 2
    assert "warning" not in shown.err


def test_an_experiment_that_cannot_be_made_stops_before_a_run_starts(
    vertex: RecordedVertexApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vertex.metadata_answer = (StatusCode.PERMISSION_DENIED, "no contexts for you")
    code, message = refused(
        capsys, "vertex", source, "--api-endpoint", vertex.endpoint, *PLACE, "--experiment", "animals"
    )
    assert code == 2
    assert "403 no contexts for you" in message
    assert not vertex.requests


def test_a_name_of_something_else_is_refused_as_an_experiment(
    vertex: RecordedVertexApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vertex.contexts[f"{STORE}/contexts/animals"] = aiplatform_v1.Context(schema_title="system.Pipeline")
    code, message = refused(
        capsys, "vertex", source, "--api-endpoint", vertex.endpoint, *PLACE, "--experiment", "animals"
    )
    assert code == 2
    assert "--experiment animals: there is a system.Pipeline of this name" in message


def test_a_started_run_that_cannot_be_filed_is_a_success_with_a_warning(
    vertex: RecordedVertexApi, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vertex.contexts[f"{STORE}/contexts/animals"] = aiplatform_v1.Context(schema_title="system.Experiment")
    vertex.filing_answer = (StatusCode.UNAVAILABLE, "metadata is away")
    submit("vertex", source, "--api-endpoint", vertex.endpoint, *PLACE, "--experiment", "animals", "--retries", "0")
    shown = capsys.readouterr()
    assert "submitted: " in shown.out
    assert "warning: the run has started, but is not filed under experiment animals" in shown.err
    assert "metadata is away" in shown.err
