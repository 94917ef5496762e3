"""Services that submission talks to, on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.cloud import storage

from tests.launch.recorded_kubeflow_api import RecordedKubeflowApi, recorded_kubeflow_api
from tests.launch.recorded_vertex_api import (
    RecordedVertexApi,
    recorded_vertex_api,
    write_localhost_certificate,
    write_service_account,
)


@pytest.fixture
def kubeflow() -> Iterator[RecordedKubeflowApi]:
    """A Kubeflow Pipelines API that records what it is sent."""
    with recorded_kubeflow_api() as recorded:
        yield recorded


@pytest.fixture(scope="session")
def localhost_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A certificate for localhost and its key, which gRPC in this process trusts."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    write_localhost_certificate(certificate, key)
    with pytest.MonkeyPatch.context() as environment:
        # gRPC reads this once in the life of a process, so there is one certificate for all tests.
        environment.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(certificate))
        yield certificate, key


@pytest.fixture(scope="session")
def service_account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service account's key file; its requests are signed with it, without asking a token service."""
    file = tmp_path_factory.mktemp("account") / "service-account.json"
    write_service_account(file, "submitter@animals.iam.gserviceaccount.com")
    return file


@pytest.fixture
def vertex(
    localhost_certificate: tuple[Path, Path], service_account: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RecordedVertexApi]:
    """A Vertex AI API that records what it is sent, and credentials for it."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(service_account))
    with recorded_vertex_api(*localhost_certificate) as recorded:
        yield recorded


@pytest.fixture
def source(new_bucket: Callable[[], str]) -> str:
    """URI of a ZIP in a bucket of the Cloud Storage emulator."""
    bucket = new_bucket()
    client = storage.Client.create_anonymous_client()
    client.bucket(bucket.removeprefix("gs://")).blob("Animals.zip").upload_from_string(b"some photos")
    client.close()
    return f"{bucket}/Animals.zip"
