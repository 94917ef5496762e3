"""Submit the compiled pipeline to Vertex AI Pipelines.

This uses the service's generated client. The friendlier ``aiplatform.PipelineJob.submit`` also creates buckets and
grants roles on them, names the run by the second, so that a repeated request starts a second run, and waits without
limit.
"""

import contextlib
import datetime
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from components.failures import TransientError, UserError
from components.launch.submission import Destination, NotAcceptedError, require_options, retried
from components.launch.web_answers import LOG_IN, google_credentials

_TIMEOUT_SECONDS = 30.0
_CONTEXT_WAIT_SECONDS, _CONTEXT_POLL_SECONDS = 60.0, 1.0
_TRUST = "set GRPC_DEFAULT_SSL_ROOTS_FILE_PATH to a file with its authority's"
_ROLES = "you need roles/aiplatform.user, and roles/iam.serviceAccountUser on the service account of the run"


def submit_to_vertex(package: Path, run_name: str, values: Mapping[str, Any], destination: Destination) -> str:
    """Start a run and return where to watch it.

    The run gets its identifier before the first request, so that a repeated request cannot start a second run.

    Args:
        package: The compiled pipeline, one document.
        run_name: Name of the run in the console.
        values: Parameters of the run; the pipeline's defaults hold for those left out.
        destination: Where to run.

    Raises:
        UserError: When an option that Vertex AI needs is missing, credentials are, or it refuses the run.
        TransientError: When Vertex AI does not answer or is busy.
    """
    from google.cloud.aiplatform_v1 import (  # noqa: PLC0415 - client libraries that take a second to import
        MetadataServiceClient,
        PipelineServiceClient,
    )

    require_options("vertex", destination)
    parent = f"projects/{destination.project}/locations/{destination.region}"
    endpoint = destination.vertex_endpoint
    specification = _specification(package, caching=destination.caching)
    job = _job(specification, run_name, values, destination)
    now = datetime.datetime.now(tz=datetime.UTC).strftime("%Y%m%d%H%M%S")
    job_id = f"{specification['pipelineInfo']['name']}-{now}-{secrets.token_hex(3)}"
    connection = {"credentials": google_credentials(), "client_options": {"api_endpoint": endpoint}}
    url = (
        f"https://console.cloud.google.com/vertex-ai/locations/{destination.region}/pipelines/runs/{job_id}"
        f"?project={destination.project}"
    )
    experiment = None
    with PipelineServiceClient(**connection) as pipelines, MetadataServiceClient(**connection) as metadata:
        if destination.experiment:
            store = f"{parent}/metadataStores/default"
            experiment = retried(
                lambda: _experiment(metadata, store, destination.experiment, endpoint), destination.retries
            )
        retried(lambda: _start(pipelines, parent, job, job_id, endpoint, url), destination.retries)
        if experiment:
            print(f"started {job_id}, filing it under experiment {destination.experiment}", flush=True)
            job_name = f"{parent}/pipelineJobs/{job_id}"
            _file_under(experiment, metadata, pipelines, job_name, endpoint, destination.retries)
    return url


def _specification(package: Path, *, caching: bool) -> dict[str, Any]:
    specification = yaml.safe_load(package.read_text(encoding="utf-8"))
    for component in (specification["root"], *specification["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            if not caching:
                task["cachingOptions"] = {"enableCache": False}
    return specification


def _job(specification: Mapping[str, Any], run_name: str, values: Mapping[str, Any], destination: Destination) -> Any:
    from google.cloud.aiplatform_v1 import PipelineJob  # noqa: PLC0415
    from google.protobuf import json_format  # noqa: PLC0415

    job = PipelineJob()
    content = {
        "displayName": run_name,
        "pipelineSpec": specification,
        "labels": dict(destination.labels),
        "runtimeConfig": {"gcsOutputDirectory": destination.pipeline_root, "parameterValues": dict(values)},
        "serviceAccount": destination.service_account or "",
    }
    json_format.ParseDict(content, PipelineJob.pb(job))
    return job


def _start(pipelines: Any, parent: str, job: Any, job_id: str, endpoint: str, url: str) -> None:
    from google.api_core.exceptions import AlreadyExists  # noqa: PLC0415

    # Only an earlier attempt of ours can have used this identifier: its answer was lost.
    with _failures_in_words(endpoint, started_at=url), contextlib.suppress(AlreadyExists):
        pipelines.create_pipeline_job(parent=parent, pipeline_job=job, pipeline_job_id=job_id, timeout=_TIMEOUT_SECONDS)


def _experiment(metadata: Any, store: str, name: str | None, endpoint: str) -> str:
    """Return the resource name of an experiment, made where there is none yet."""
    from google.api_core.exceptions import AlreadyExists, NotFound  # noqa: PLC0415
    from google.cloud.aiplatform_v1 import Context, MetadataStore  # noqa: PLC0415

    resource = f"{store}/contexts/{name}"
    # What aiplatform.Experiment writes, so that its users see this experiment as one of theirs.
    context = Context(
        display_name=name,
        schema_title="system.Experiment",
        schema_version="0.0.1",
        metadata={"experiment_deleted": False},
    )
    with _failures_in_words(endpoint), contextlib.suppress(AlreadyExists):
        try:
            found = metadata.get_context(name=resource, timeout=_TIMEOUT_SECONDS)
            if found.schema_title != context.schema_title:
                raise UserError(f"--experiment {name}: there is a {found.schema_title} of this name; choose another")
            return resource
        except NotFound:
            pass
        try:
            metadata.get_metadata_store(name=store, timeout=_TIMEOUT_SECONDS)
        except NotFound:
            metadata.create_metadata_store(
                parent=store.removesuffix("/metadataStores/default"),
                metadata_store=MetadataStore(),
                metadata_store_id="default",
                timeout=_TIMEOUT_SECONDS,
            ).result(timeout=_CONTEXT_WAIT_SECONDS)
        metadata.create_context(parent=store, context=context, context_id=name, timeout=_TIMEOUT_SECONDS)
    return resource


def _file_under(experiment: str, metadata: Any, pipelines: Any, job_name: str, endpoint: str, retries: int) -> None:
    """Add a started run to an experiment; the run is not worth less when that fails, so this only says so."""
    name = experiment.rpartition("/")[2]

    def file() -> None:
        with _failures_in_words(endpoint):
            context = _run_context(pipelines, job_name)
            metadata.add_context_children(context=experiment, child_contexts=[context], timeout=_TIMEOUT_SECONDS)

    try:
        retried(file, retries)
    except (UserError, TransientError) as error:
        print(f"warning: the run has started, but is not filed under experiment {name}: {error}", file=sys.stderr)


def _run_context(pipelines: Any, job_name: str) -> str:
    """Return the name of what Vertex AI records a run in, which it makes some seconds after the run's start."""
    deadline = time.monotonic() + _CONTEXT_WAIT_SECONDS
    while time.monotonic() < deadline:
        job = pipelines.get_pipeline_job(name=job_name, timeout=_TIMEOUT_SECONDS)
        if job.job_detail.pipeline_run_context.name:
            return job.job_detail.pipeline_run_context.name
        time.sleep(_CONTEXT_POLL_SECONDS)
    raise TransientError(f"Vertex AI has not recorded it after {_CONTEXT_WAIT_SECONDS:.0f} s")


@contextlib.contextmanager
def _failures_in_words(endpoint: str, started_at: str = "") -> Iterator[None]:
    from google.api_core import exceptions  # noqa: PLC0415

    try:
        yield
    except exceptions.MethodNotImplemented as error:
        raise UserError(f"{endpoint} is no Vertex AI API: {error.message}; check --api-endpoint") from error
    except (exceptions.ServerError, exceptions.TooManyRequests) as error:
        if "Getting metadata from plugin failed" in error.message:  # how gRPC says that credentials do not refresh
            raise UserError(f"the Google Cloud credentials do not work; {LOG_IN} ({error.message})") from error
        if "CERTIFICATE_VERIFY_FAILED" in error.message:
            raise UserError(f"the certificate of {endpoint} is not trusted; {_TRUST}") from error
        unsure = ""
        if started_at and isinstance(error, (exceptions.GatewayTimeout, exceptions.InternalServerError)):
            unsure = f"; the run may have started: look at {started_at} before you submit again"
        raise NotAcceptedError(f"Vertex AI at {endpoint} does not answer or is busy: {error}{unsure}") from error
    except exceptions.Unauthenticated as error:
        raise UserError(
            f"Vertex AI does not accept the Google Cloud credentials; {LOG_IN} ({error.message})"
        ) from error
    except exceptions.Forbidden as error:
        raise UserError(f"Vertex AI refused the run: {error}; {_ROLES}") from error
    except exceptions.GoogleAPICallError as error:
        raise UserError(f"Vertex AI refused the run: {error}") from error
