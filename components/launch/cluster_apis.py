"""Whether what a run is submitted to answers and lets the caller see runs, and what kubectl knows of its nodes."""

import json
import subprocess
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.failures import TransientError, UserError
from components.launch.submission import Destination, require_host, require_options
from components.launch.web_answers import (
    BUSY,
    LOG_IN,
    Answer,
    NoAnswerError,
    ask,
    google_credentials,
    google_token,
    is_unknown_name,
)

_API = "/apis/v2beta1"
_VERSIONS = ("tag_name", "apiServerTagName", "frontendTagName")
FORWARD = (
    "kubectl --namespace kubeflow port-forward service/ml-pipeline-ui 8080:80, and give --host http://localhost:8080"
)
"""The way to the Kubeflow Pipelines API that needs no login."""
NO_KUBEFLOW = f"no Kubeflow Pipelines API answers: {{reason}}; forward it: {FORWARD}"
"""What to say when nothing answers at ``--host``, with the reason."""


def check_kubeflow(destination: Destination, timeout_seconds: float) -> str:
    """Return in words what the Kubeflow Pipelines API says of itself.

    Raises:
        UserError: When there is none at ``--host``, it wants a login, or the namespace is not the caller's.
        TransientError: When it is busy or does not answer.
    """
    host = require_host(destination)
    health = _kubeflow_answer(f"{host}{_API}/healthz", host, timeout_seconds)
    if health.get("apiServerReady") is False:
        raise TransientError(f"the user interface at {host} answers, but not the API behind it; try again later")
    # A shared installation knows whose namespace is whose; one for a single user refuses to hear of namespaces.
    shared = bool(health.get("multi_user") or health.get("apiServerMultiUser"))
    query = {"page_size": "1"} | ({"namespace": destination.namespace} if shared else {})
    _kubeflow_answer(f"{host}{_API}/experiments?{urllib.parse.urlencode(query)}", host, timeout_seconds)
    version = _version(health)
    users = f"several users, you may use namespace {destination.namespace}" if shared else "one user"
    return f"{host} answers: Kubeflow Pipelines {version or 'of unknown version'}, {users}"


def kubeflow_version(destination: Destination, timeout_seconds: float) -> str:
    """Return the version of Kubeflow Pipelines at ``--host``, empty where it cannot be told."""
    try:
        host = require_host(destination)
        return _version(_kubeflow_answer(f"{host}{_API}/healthz", host, timeout_seconds))
    except (UserError, TransientError):
        return ""


def _version(health: Mapping[str, Any]) -> str:
    return next((str(health[name]) for name in _VERSIONS if health.get(name)), "")


def check_vertex(destination: Destination, timeout_seconds: float) -> str:
    """Return in words that Vertex AI lists the project's runs.

    Raises:
        UserError: When an option or credentials are missing, the API is off, or the caller has no right to it.
        TransientError: When it is busy or does not answer.
    """
    from google.api_core import exceptions  # noqa: PLC0415 - client libraries that take a second to import
    from google.cloud.aiplatform_v1 import PipelineServiceClient  # noqa: PLC0415

    require_options("vertex", destination)
    project, region = destination.project, destination.region
    endpoint = destination.vertex_endpoint
    request = {"parent": f"projects/{project}/locations/{region}", "page_size": 1}
    credentials, options = google_credentials(), {"api_endpoint": endpoint}
    try:
        with PipelineServiceClient(credentials=credentials, client_options=options) as client:
            client.list_pipeline_jobs(request, timeout=timeout_seconds, retry=None)
    except exceptions.GoogleAPICallError as error:
        raise _vertex_failure(error, destination, endpoint) from error
    return f"Vertex AI answers for project {project} in {region}"


def labelled_nodes(labels: Mapping[str, str], timeout_seconds: float) -> str:
    """Return in words how many nodes kubectl sees with labels, empty where there is no kubectl or it cannot tell."""
    selector = ",".join(f"{label}={value}" for label, value in labels.items())
    nodes = kubectl("get", "nodes", "--selector", selector, "--output", "name", timeout_seconds=timeout_seconds)
    if nodes is None:
        return ""
    context = kubectl_context(timeout_seconds)
    count = len(nodes.split())
    if not count:
        return f"kubectl sees no such node in {context} now: a node pool must be able to add one"
    return f"kubectl sees {count} such node{'s' if count > 1 else ''} in {context} now"


def kubectl_context(timeout_seconds: float) -> str:
    """Return kubectl's name for the cluster it talks to."""
    return (kubectl("config", "current-context", timeout_seconds=timeout_seconds) or "").strip()


def kubectl(*arguments: str, timeout_seconds: float) -> str | None:
    """Return what kubectl prints, None where there is none, it fails, or it takes too long."""
    try:
        ended = subprocess.run(
            ["kubectl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout if ended.returncode == 0 else None


def _vertex_failure(error: Any, destination: Destination, endpoint: str) -> UserError | TransientError:
    from google.api_core import exceptions  # noqa: PLC0415

    project, region, said = destination.project, destination.region, f"it answered: {error.message}"
    if "Getting metadata from plugin failed" in error.message or isinstance(error, exceptions.Unauthenticated):
        return UserError(f"the Google Cloud credentials do not work; {LOG_IN}")
    if isinstance(error, exceptions.ServiceUnavailable) and is_unknown_name(endpoint):
        return UserError(f"no machine is known by the name {endpoint}; check --region and your network")
    if isinstance(error, (exceptions.ServerError, exceptions.TooManyRequests)) and not isinstance(
        error, exceptions.MethodNotImplemented
    ):
        return TransientError(f"Vertex AI at {endpoint} does not answer or is busy; try again later ({said})")
    if error.reason == "SERVICE_DISABLED" or "SERVICE_DISABLED" in str(error):
        turn_on = f"gcloud services enable aiplatform.googleapis.com --project {project}"
        return UserError(f"the Vertex AI API is off in project {project}; turn it on: {turn_on}")
    if isinstance(error, exceptions.Forbidden):
        return UserError(
            f"no permission to see runs of project {project} in {region}, or there is no such project; check "
            f"--project, and grant roles/aiplatform.user to your account ({said})"
        )
    return UserError(
        f"{endpoint} does not list the runs of project {project} in {region}; check --project, --region and "
        f"--api-endpoint ({said})"
    )


def _kubeflow_answer(url: str, host: str, timeout_seconds: float) -> dict[str, Any]:
    try:
        answer = ask(url, timeout_seconds=timeout_seconds, headers=_kubeflow_headers(url, timeout_seconds))
    except NoAnswerError as error:
        raise error.with_fix(NO_KUBEFLOW.format(reason=error)) from error
    if answer.status in BUSY:
        raise TransientError(f"{host} is busy or starting; try again later (it answered {answer.in_words()})")
    if answer.status == 401 or _is_page(answer):
        raise UserError(f"{host} wants a login, which a submission cannot do; go around it: {FORWARD}")
    if answer.status == 403:
        raise UserError(
            f"{host} does not let you see its runs: {answer.in_words()}; give --namespace, the name of a profile of "
            "yours, or ask its administrator for the role kubeflow-edit there"
        )
    value = answer.json_object()
    if answer.status != 200 or value is None:
        raise UserError(
            f"{host} answers, but not as a Kubeflow Pipelines API of version 2 ({answer.in_words()}); check --host: it "
            "is the address of the user interface, such as http://localhost:8080, without #/"
        )
    return value


def _is_page(answer: Answer) -> bool:
    """Return whether this is a page for people; one that says "not found" is none to log in on."""
    return answer.status == 200 and answer.body.lstrip()[:1] == b"<"


def _kubeflow_headers(url: str, timeout_seconds: float) -> dict[str, str]:
    """Return the login that kfp's client would use: what its context file says, or Google's for Google's proxy."""
    import kfp  # noqa: PLC0415

    if (urllib.parse.urlsplit(url).hostname or "").endswith(".googleusercontent.com"):
        return {"Authorization": f"Bearer {google_token(timeout_seconds)}"}
    context = Path(kfp.Client._LOCAL_KFP_CONTEXT)
    saved = json.loads(context.read_text(encoding="utf-8")) if context.is_file() else {}
    headers = {}
    if saved.get("client_authentication_header_name"):
        headers[saved["client_authentication_header_name"]] = saved.get("client_authentication_header_value", "")
    if saved.get("client_authentication_cookie"):
        headers["Cookie"] = saved["client_authentication_cookie"]
    return headers
