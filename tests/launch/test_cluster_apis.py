"""Whether the service of a run answers: Vertex AI over its own protocol, Kubeflow Pipelines by scripted answers."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from grpc import StatusCode  # type: ignore[import-untyped]
from kfp import Client

from components.failures import TransientError, UserError
from components.launch.cluster_apis import check_kubeflow, check_vertex
from components.launch.submission import Destination
from components.launch.web_answers import is_unknown_name
from tests.launch.recorded_kubeflow_api import RecordedKubeflowApi
from tests.launch.recorded_vertex_api import RecordedVertexApi
from tests.scripted_gcs import Answer, scripted_server

NOWHERE = Destination(
    host=None,
    namespace="kubeflow",
    project="animals",
    region="europe-west4",
    api_endpoint=None,
    pipeline_root="gs://artifacts/root",
    service_account=None,
    experiment=None,
    labels={},
    caching=True,
    retries=0,
)
Script = Callable[[str, str, Mapping[str, str]], Answer]


@pytest.fixture(autouse=True)
def no_context_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where kfp's client looks for a saved login: not in the home of whoever runs the tests."""
    context = tmp_path / "context.json"
    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(context))
    return context


def kubeflow_at(host: str, namespace: str = "kubeflow") -> str:
    return check_kubeflow(dataclasses.replace(NOWHERE, host=host, namespace=namespace), 60)


def check_scripted(script: Script, namespace: str = "kubeflow") -> str:
    with scripted_server(script) as url:
        return kubeflow_at(url, namespace)


def test_an_api_that_answers_is_fine(kubeflow: RecordedKubeflowApi) -> None:
    assert kubeflow_at(f"{kubeflow.url}/") == f"{kubeflow.url} answers: Kubeflow Pipelines of unknown version, one user"


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ({"tag_name": "2.4.0", "multi_user": False}, "Kubeflow Pipelines 2.4.0, one user"),
        (
            {"apiServerTagName": "2.5.0", "apiServerReady": True, "apiServerMultiUser": True},
            "Kubeflow Pipelines 2.5.0, several users, you may use namespace team",
        ),
    ],
)
def test_its_version_and_users_are_said(health: dict[str, object], expected: str) -> None:
    asked: list[str] = []

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        asked.append(path)
        return Answer.of(health if path.endswith("/healthz") else {})

    assert expected in check_scripted(script, "team")
    shared = "several" in expected
    assert asked == ["/apis/v2beta1/healthz", "/apis/v2beta1/experiments?page_size=1" + "&namespace=team" * shared]


def test_a_namespace_of_somebody_else_is_refused() -> None:
    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        if path.endswith("/healthz"):
            return Answer.of({"multi_user": True})
        return Answer(403, b'{"error": "User \'me\' is not authorized", "code": 7}')

    with pytest.raises(UserError, match="403 User 'me' is not authorized; give --namespace, the name of a profile"):
        check_scripted(script)


@pytest.mark.parametrize(
    ("answer", "kind", "expected"),
    [
        (Answer(401), UserError, "wants a login, .*; go around it: kubectl .*port-forward"),
        (Answer(200, b"\n<!DOCTYPE html><title>Log in</title>"), UserError, "wants a login"),
        (Answer(404, b"<html>"), UserError, "not as a Kubeflow Pipelines API of version 2 .404.; check --host"),
        (Answer(200, b"[]"), UserError, "not as a Kubeflow Pipelines API"),
        (Answer(503), TransientError, "is busy or starting; try again later"),
        (Answer.of({"apiServerReady": False}), TransientError, "but not the API behind it"),
    ],
)
def test_other_answers_are_explained(answer: Answer, kind: type[Exception], expected: str) -> None:
    with pytest.raises(kind, match=expected):
        check_scripted(lambda *_: answer)


def test_a_redirect_to_a_login_is_a_login() -> None:
    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        return Answer(200, b"<html>") if path == "/dex/auth" else Answer(302, b"", {"Location": "/dex/auth"})

    with pytest.raises(UserError, match="wants a login"):
        check_scripted(script)


def test_the_login_that_kfp_keeps_is_used(no_context_file: Path) -> None:
    no_context_file.write_text(json.dumps({"client_authentication_cookie": "authservice_session=1", "namespace": ""}))
    sent: list[str | None] = []

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        sent.append(headers.get("Cookie"))
        return Answer.of({})

    check_scripted(script)
    assert sent == ["authservice_session=1"] * 2


def test_a_closed_port_names_the_command_that_opens_it() -> None:
    with pytest.raises(UserError, match=r"nothing listens at 127\.0\.0\.1:9; forward it: kubectl --namespace kubeflow"):
        kubeflow_at("http://127.0.0.1:9")


def test_vertex_ai_answers(vertex: RecordedVertexApi) -> None:
    found = check_vertex(dataclasses.replace(NOWHERE, api_endpoint=vertex.endpoint), 60)
    assert found == "Vertex AI answers for project animals in europe-west4"
    assert vertex.requests == [], "nothing is started"


@pytest.mark.parametrize(
    ("answer", "kind", "expected"),
    [
        ((StatusCode.PERMISSION_DENIED, "aiplatform.pipelineJobs.list denied"), UserError, "roles/aiplatform.user"),
        (
            (StatusCode.PERMISSION_DENIED, "API disabled: SERVICE_DISABLED"),
            UserError,
            "gcloud services enable aiplatform.googleapis.com --project animals",
        ),
        ((StatusCode.UNAUTHENTICATED, "expired"), UserError, "gcloud auth application-default login"),
        ((StatusCode.NOT_FOUND, "no location"), UserError, "check --project, --region"),
        ((StatusCode.UNAVAILABLE, "overloaded"), TransientError, "try again later .it answered: overloaded"),
        ((StatusCode.RESOURCE_EXHAUSTED, "quota"), TransientError, "try again later"),
    ],
)
def test_what_vertex_ai_refuses_is_explained(
    vertex: RecordedVertexApi, answer: tuple[StatusCode, str], kind: type[Exception], expected: str
) -> None:
    vertex.list_answer = answer
    with pytest.raises(kind, match=expected):
        check_vertex(dataclasses.replace(NOWHERE, api_endpoint=vertex.endpoint), 60)


def test_nobody_at_vertex_ais_endpoint_may_pass(vertex: RecordedVertexApi) -> None:
    with pytest.raises(TransientError, match="Vertex AI at localhost:9 does not answer"):
        check_vertex(dataclasses.replace(NOWHERE, api_endpoint="localhost:9"), 10)


def test_a_region_that_does_not_exist_is_for_the_user_to_fix(vertex: RecordedVertexApi) -> None:
    if not is_unknown_name("no-such-host.invalid"):
        pytest.skip("no name service here can say that there is no such name")
    with pytest.raises(UserError, match=r"no machine is known by the name no-such-host\.invalid; check --region"):
        check_vertex(dataclasses.replace(NOWHERE, api_endpoint="no-such-host.invalid"), 10)


def test_missing_options_are_named() -> None:
    with pytest.raises(UserError, match="Vertex AI needs --project, --region"):
        check_vertex(dataclasses.replace(NOWHERE, project=None, region=None), 60)
    with pytest.raises(UserError, match="give --host"):
        check_kubeflow(NOWHERE, 60)
