"""Where a submitted run goes, and how often to try while that place is busy."""

import dataclasses
import re
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from components.failures import TransientError, UserError
from components.launch.placement import Target

PIPELINE_ROOT_SCHEMES: Mapping[Target, tuple[str, ...]] = {"kubeflow": ("gs", "s3", "minio"), "vertex": ("gs",)}
"""Stores that the launcher of each target's steps can write to."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 30.0
_Answer = TypeVar("_Answer")


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where and as whom to run. What a client does not use is None.

    Attributes:
        host: URL of the Kubeflow Pipelines API.
        namespace: Kubernetes namespace of the run.
        project: Google Cloud project.
        region: Google Cloud region.
        api_endpoint: ``host`` or ``host:port`` of the Vertex AI API, None for the region's public one.
        pipeline_root: Where artifacts go, ``gs://bucket/path``.
        service_account: Identity of the steps.
        experiment: Groups runs in the UI.
        labels: Labels of the run, value by name (Vertex AI; on Kubernetes the pods carry them).
        caching: Reuse outputs of steps whose inputs have not changed.
        retries: How often to try again when the service is busy or does not answer, with 1, 2, 4, ... s between.
    """

    host: str | None
    namespace: str
    project: str | None
    region: str | None
    api_endpoint: str | None
    pipeline_root: str | None
    service_account: str | None
    experiment: str | None
    labels: Mapping[str, str]
    caching: bool
    retries: int

    @property
    def vertex_endpoint(self) -> str:
        """``host`` or ``host:port`` where Vertex AI is asked."""
        return self.api_endpoint or f"{self.region}-aiplatform.googleapis.com"


class NotAcceptedError(TransientError):
    """The service is busy or away and has certainly not taken the request: it may be sent again at once."""


def require_options(target: Target, destination: Destination) -> None:
    """Raise ``UserError`` when an option is missing or malformed without which the target cannot be reached."""
    if destination.retries < 0:
        raise UserError(f"--retries {destination.retries} must be 0 or more")
    if target == "kubeflow":
        require_host(destination)
        require_pipeline_root(target, destination.pipeline_root)
        return
    needed = {
        "--project": destination.project,
        "--region": destination.region,
        "--pipeline-root": destination.pipeline_root,
    }
    missing = [option for option, value in needed.items() if not value]
    if missing:
        raise UserError(f"Vertex AI needs {', '.join(missing)}")
    if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]+", destination.region or ""):
        raise UserError(f"--region {destination.region} is no Google Cloud region; for example europe-west4")
    require_pipeline_root(target, destination.pipeline_root)
    if destination.experiment and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", destination.experiment):
        raise UserError(
            f"--experiment {destination.experiment}: on Vertex AI its name holds lowercase letters, digits and -, at "
            "most 128 of them"
        )


def require_host(destination: Destination) -> str:
    """Return the URL of the Kubeflow Pipelines API without a slash at its end.

    Raises:
        UserError: When there is none, or it is no URL.
    """
    if not destination.host:
        raise UserError("no Kubeflow Pipelines host; give --host, for example --host http://localhost:8080")
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", destination.host):
        raise UserError(f"--host {destination.host} is no URL; for example http://localhost:8080")
    return destination.host.rstrip("/")


def require_pipeline_root(target: Target, uri: str | None) -> None:
    """Raise ``UserError`` unless steps can keep artifacts there; Kubeflow has a place of its own when none is given."""
    if not uri and target == "kubeflow":
        return
    if not uri:
        raise UserError("no pipeline root; give --pipeline-root gs://bucket/runs")
    schemes = PIPELINE_ROOT_SCHEMES[target]
    if not re.fullmatch(rf"({'|'.join(schemes)})://[^/\s]+(/\S*)?", uri):
        stores = " or ".join(f"{scheme}://" for scheme in schemes)
        raise UserError(
            f"steps cannot keep artifacts in {uri}; give --pipeline-root a place in {stores}, for example "
            "gs://bucket/runs"
        )


def retried(attempt: Callable[[], _Answer], retries: int) -> _Answer:
    """Return what an attempt returns, trying again with growing waits as long as it was not accepted.

    Args:
        attempt: Does the work once.
        retries: How often to try again, 0 or more.

    Raises:
        NotAcceptedError: From the last attempt.
    """
    wait_seconds = _FIRST_WAIT_SECONDS
    for remaining in range(retries, 0, -1):
        try:
            return attempt()
        except NotAcceptedError as error:
            times = "1 time" if remaining == 1 else f"{remaining} times"
            print(f"{error}\n  trying again in {wait_seconds:.0f} s, {times} more at most", flush=True)
        time.sleep(wait_seconds)
        wait_seconds = min(wait_seconds * 2, _LONGEST_WAIT_SECONDS)
    return attempt()
