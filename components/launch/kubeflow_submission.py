"""Submit the compiled pipeline to a Kubeflow Pipelines host."""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from components import __version__
from components.failures import TransientError, UserError
from components.launch.cluster_apis import FORWARD, NO_KUBEFLOW
from components.launch.submission import Destination, NotAcceptedError, require_options, retried
from components.launch.web_answers import ANSWER_LOST, NOT_ACCEPTED, explain_no_answer

_LOOKUP_TIMEOUT_SECONDS, _START_TIMEOUT_SECONDS = 15, 60
_LONGEST_QUOTE = 400
_UNTRUSTED = "the certificate of {host} is not trusted; set SSL_CERT_FILE to a file with its authority's: {error}"
_NO_API = (
    "{host} answers, but not as the Kubeflow Pipelines API does; a login may be before it: go around it: " + FORWARD
)


def submit_to_kubeflow(package: Path, run_name: str, values: Mapping[str, Any], destination: Destination) -> str:
    """Start a run and return where to watch it.

    A request to start a run is sent again only after an answer that it was not accepted: two runs cost twice.

    Args:
        package: The compiled pipeline.
        run_name: Name of the run in the UI.
        values: Parameters of the run; the pipeline's defaults hold for those left out.
        destination: Where to run.

    Raises:
        UserError: When the host is missing, is not trusted, or refuses the run.
        TransientError: When the host does not answer or is busy.
    """
    require_options("kubeflow", destination)
    host = (destination.host or "").rstrip("/")
    client = retried(lambda: _connected(host, destination.namespace), destination.retries)
    experiment_id = retried(lambda: _experiment_id(client, host, destination), destination.retries)
    body = _run(package, run_name, values, destination, experiment_id)
    run_id = retried(lambda: _started_run_id(client, host, body), destination.retries)
    return f"{host}/#/runs/details/{run_id}"


def _connected(host: str, namespace: str) -> Any:
    import kfp  # noqa: PLC0415 - client libraries that take a second to import
    import urllib3  # noqa: PLC0415

    authorities = os.environ.get("SSL_CERT_FILE")
    with _failures_in_words(host, starts_run=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This client only works with Kubeflow Pipeline", FutureWarning)
        # kfp's client asks for the host's health by itself, but waits for ever.
        with urllib3.PoolManager(retries=False) as pool, contextlib.suppress(urllib3.exceptions.SSLError):
            pool.request("GET", f"{host}/apis/v2beta1/healthz", timeout=_LOOKUP_TIMEOUT_SECONDS, redirect=False)
        return kfp.Client(host=host, namespace=namespace, ssl_ca_cert=authorities)


def _experiment_id(client: Any, host: str, destination: Destination) -> str:
    import kfp_server_api  # noqa: PLC0415

    name, namespace = destination.experiment or "Default", destination.namespace
    same_name = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
    with _failures_in_words(host, starts_run=False):
        found = client.experiments.experiment_service_list_experiments(
            filter=json.dumps(same_name), namespace=namespace, _request_timeout=_LOOKUP_TIMEOUT_SECONDS
        ).experiments
        experiment = (
            found[0]
            if found
            else client.experiments.experiment_service_create_experiment(
                kfp_server_api.V2beta1Experiment(display_name=name, namespace=namespace),
                _request_timeout=_LOOKUP_TIMEOUT_SECONDS,
            )
        )
    return _identifier(experiment.experiment_id, host)


def _identifier(given: str | None, host: str) -> str:
    # The generated client takes any page, a login's too, for an answer without content.
    if not given:
        raise UserError(_NO_API.format(host=host))
    return given


def _run(package: Path, run_name: str, values: Mapping[str, Any], destination: Destination, experiment_id: str) -> Any:
    import kfp_server_api  # noqa: PLC0415

    # kfp's own create_run_from_pipeline_package sends the same, but takes neither a description nor a timeout.
    labels = "".join(f", {name}={value}" for name, value in destination.labels.items())
    return kfp_server_api.V2beta1Run(
        experiment_id=experiment_id,
        display_name=run_name,
        description=f"image-classification {__version__}{labels}",
        pipeline_spec=_specification(package, caching=destination.caching),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(
            pipeline_root=destination.pipeline_root, parameters=dict(values)
        ),
        service_account=destination.service_account,
    )


def _specification(package: Path, *, caching: bool) -> dict[str, Any]:
    from google.protobuf import json_format  # noqa: PLC0415
    from kfp.pipeline_spec import pipeline_spec_pb2  # noqa: PLC0415

    pipeline, platform = yaml.safe_load_all(package.read_text(encoding="utf-8"))
    specification = json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    for task in specification.root.dag.tasks.values():
        task.caching_options.enable_cache &= caching
    return {
        "pipeline_spec": json_format.MessageToDict(specification),
        "platform_spec": json_format.MessageToDict(json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())),
    }


def _started_run_id(client: Any, host: str, run: Any) -> str:
    with _failures_in_words(host, starts_run=True):
        started = client.runs.run_service_create_run(run, _request_timeout=_START_TIMEOUT_SECONDS)
    return _identifier(started.run_id, host)


@contextlib.contextmanager
def _failures_in_words(host: str, *, starts_run: bool) -> Iterator[None]:
    import kfp_server_api  # noqa: PLC0415
    import urllib3  # noqa: PLC0415

    unsure = f"; the run may have started: look at {host}/#/runs before you submit again" if starts_run else ""
    try:
        yield
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, urllib3.exceptions.SSLError):
            raise UserError(_UNTRUSTED.format(host=host, error=reason)) from error
        never_sent = isinstance(reason, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))
        if never_sent:
            # Even where nothing listens: a port that is being forwarded opens again.
            why = explain_no_answer(reason, host, _LOOKUP_TIMEOUT_SECONDS)
            raise NotAcceptedError(NO_KUBEFLOW.format(reason=why)) from error
        raise TransientError(f"the Kubeflow Pipelines host {host} gave no answer: {reason}{unsure}") from error
    except kfp_server_api.ApiException as error:
        if not error.status:  # how this client says that TLS failed
            raise UserError(_UNTRUSTED.format(host=host, error=error.reason)) from error
        body = str(error.body)
        answer = f"{error.status} {error.reason}: {body[:_LONGEST_QUOTE]}{'...' if len(body) > _LONGEST_QUOTE else ''}"
        if error.status in NOT_ACCEPTED or (error.status in ANSWER_LOST and not starts_run):
            raise NotAcceptedError(f"{host} cannot take the run now, try again later: {answer}") from error
        if error.status in ANSWER_LOST:
            raise TransientError(f"a gateway before {host} lost its answer: {answer}{unsure}") from error
        raise UserError(f"{host} refused the run: {answer}") from error
