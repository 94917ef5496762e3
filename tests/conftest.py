"""Fixtures that several folders of tests share."""

import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from components.failures import RETRY_WAITS_VARIABLE
from components.launch.gcs_emulator import HOST_VARIABLE, gcs_emulator

SAMPLE_PHOTOS = Path(__file__).parents[1] / "samples" / "photos"

# The same examples on every machine and in every run, however slow it is and whatever an earlier run has found.
settings.register_profile("everywhere", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("everywhere")


@pytest.fixture(scope="session", autouse=True)
def _one_attempt() -> Iterator[None]:
    """No step tries again after trouble outside, which would take minutes, unless a test asks for it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(RETRY_WAITS_VARIABLE, "")
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_interrupts() -> Iterator[None]:
    """Also where whoever started the tests lets SIGINT be ignored, as a shell does with what it starts by ``&``."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    """URL of a Cloud Storage emulator that every client of this process, and its children, talks to."""
    with gcs_emulator() as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv(HOST_VARIABLE, url)
        yield url


@pytest.fixture
def new_bucket(gcs: str) -> Callable[[], str]:
    """A function that makes an empty bucket in the emulator and returns its URI, ``gs://test-...``."""
    from google.cloud import storage

    def make() -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        client = storage.Client.create_anonymous_client()
        client.project = "test"
        client.create_bucket(name)
        client.close()
        return f"gs://{name}"

    return make


@pytest.fixture(scope="session")
def sample_photos() -> Path:
    """The folder of 77 real animal photographs in the classes bird, fish and mammal; never write to it."""
    return SAMPLE_PHOTOS
