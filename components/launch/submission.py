"""Submit the compiled pipeline to a Kubeflow Pipelines host or to Vertex AI Pipelines."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.failures import TransientError, UserError
from components.launch.placement import Target

# What gateways and proxies before the API answer while it starts or has too much to do.
_BUSY = (429, 502, 503, 504)


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where and as whom to run. What a client does not use is None.

    Attributes:
        host: URL of the Kubeflow Pipelines API.
        namespace: Kubernetes namespace of the run.
        project: Google Cloud project.
        region: Google Cloud region.
        pipeline_root: Where artifacts go, ``gs://bucket/path``.
        service_account: Identity of the steps.
        experiment: Groups runs in the UI.
        caching: Reuse outputs of steps whose inputs have not changed.
    """

    host: str | None
    namespace: str
    project: str | None
    region: str | None
    pipeline_root: str | None
    service_account: str | None
    experiment: str | None
    caching: bool


def require_options(target: Target, destination: Destination) -> None:
    """Raise ``UserError`` when an option is missing without which the target cannot be reached."""
    if target == "kubeflow":
        if not destination.host:
            raise UserError("no Kubeflow Pipelines host; give --host, for example --host http://localhost:8080")
        return
    needed = {
        "--project": destination.project,
        "--region": destination.region,
        "--pipeline-root": destination.pipeline_root,
    }
    missing = [option for option, value in needed.items() if not value]
    if missing:
        raise UserError(f"Vertex AI needs {', '.join(missing)}")


def submit_to_kubeflow(package: Path, run_name: str, values: Mapping[str, Any], destination: Destination) -> str:
    """Start a run and return where to watch it.

    Raises:
        UserError: When the host is missing or refuses the run.
        TransientError: When the host does not answer or is busy.
    """
    import kfp  # noqa: PLC0415 - a client library that takes a second to import
    import kfp_server_api  # noqa: PLC0415
    import urllib3  # noqa: PLC0415

    require_options("kubeflow", destination)
    host = destination.host or ""
    try:
        client = kfp.Client(host=host, namespace=destination.namespace)
        run = client.create_run_from_pipeline_package(
            str(package),
            arguments=dict(values),
            run_name=run_name,
            experiment_name=destination.experiment,
            namespace=destination.namespace,
            pipeline_root=destination.pipeline_root,
            enable_caching=destination.caching,
            service_account=destination.service_account,
        )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise TransientError(f"the Kubeflow Pipelines host {destination.host} does not answer: {error}") from error
    except kfp_server_api.ApiException as error:
        answer = f"{error.status} {error.reason}: {error.body}"
        if error.status in _BUSY:
            raise TransientError(f"{destination.host} cannot take the run now, try again later: {answer}") from error
        raise UserError(f"{destination.host} refused the run: {answer}") from error
    return f"{host.rstrip('/')}/#/runs/details/{run.run_id}"


def submit_to_vertex(package: Path, run_name: str, values: Mapping[str, Any], destination: Destination) -> str:
    """Start a run and return where to watch it.

    Raises:
        UserError: When an option that Vertex AI needs is missing, credentials are, or it refuses the run.
        TransientError: When Vertex AI does not answer.
    """
    from google.api_core import exceptions  # noqa: PLC0415 - client libraries that take seconds to import
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415
    from google.cloud import aiplatform  # noqa: PLC0415

    require_options("vertex", destination)
    try:
        job = aiplatform.PipelineJob(
            display_name=run_name,
            template_path=str(package),
            pipeline_root=destination.pipeline_root,
            parameter_values=dict(values),
            enable_caching=destination.caching,
            project=destination.project,
            location=destination.region,
        )
        job.submit(service_account=destination.service_account, experiment=destination.experiment)
    except DefaultCredentialsError as error:
        raise UserError("no Google Cloud credentials; run: gcloud auth application-default login") from error
    except (exceptions.ServerError, exceptions.TooManyRequests, exceptions.RetryError) as error:
        raise TransientError(f"Vertex AI does not answer: {error}") from error
    except exceptions.GoogleAPICallError as error:
        raise UserError(f"Vertex AI refused the run: {error}") from error
    return job._dashboard_uri()
