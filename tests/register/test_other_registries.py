"""A version is told to other registries once and completely, however often, by however many at once."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.cloud import aiplatform_v1

from components.failures import TransientError, UserError
from components.register.command_line import main
from components.register.json_service import JsonService
from components.register.other_registries import Announcement, VertexRegistry, other_registry
from components.register.promotion_gate import Gate
from tests.register.conftest import Register

MLFLOW = os.environ.get("MLFLOW_COMMAND") or shutil.which("mlflow")
FACTS = {"accuracy": "0.8824", "dataset": "d" * 64}
FIRST = Announcement("trees", "aaaa1111", "gs://models/trees/versions/aaaa1111/x", ["candidate", "champion"], FACTS)
SECOND = Announcement("trees", "bbbb2222", "gs://models/trees/versions/bbbb2222/x", ["champion"], FACTS)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real MLflow server with an empty database."""
    if not MLFLOW:
        pytest.skip("mlflow is not installed: put it on PATH, or name it in MLFLOW_COMMAND")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [MLFLOW, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=1):
                break
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def test_mlflow(mlflow: str) -> None:
    registry = other_registry(f"mlflow:{mlflow}")
    assert registry.announce(FIRST) == registry.announce(FIRST) == "trees version 1"
    assert registry.announce(SECOND) == "trees version 2"
    api = JsonService(f"{mlflow}/api/2.0/mlflow", "MLflow")
    versions = api.ask("GET", "model-versions/search", filter="name='trees'")["model_versions"]
    assert {version["source"] for version in versions} == {FIRST.uri, SECOND.uri}
    assert all(FACTS.items() <= {tag["key"]: tag["value"] for tag in one["tags"]}.items() for one in versions)
    model = api.ask("GET", "registered-models/get", name="trees")["registered_model"]
    assert {one["alias"]: one["version"] for one in model["aliases"]} == {"candidate": "1", "champion": "2"}


def test_eight_at_once_leave_one_version_in_mlflow(mlflow: str) -> None:
    oak = Announcement("oaks", "cccc3333", "gs://models/oaks/versions/cccc3333/x", ["champion"], {})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: other_registry(f"mlflow:{mlflow}").announce(oak), range(8)))
    other_registry(f"mlflow:{mlflow}").announce(oak)
    api = JsonService(f"{mlflow}/api/2.0/mlflow", "MLflow")
    assert len(api.ask("GET", "model-versions/search", filter="name='oaks'")["model_versions"]) == 1


def test_mlflow_takes_no_local_registry(mlflow: str) -> None:
    local = Announcement("elms", "dddd4444", "/registry/elms/versions/dddd4444/x", [], {})
    with pytest.raises(UserError, match="it takes a gs:// registry_uri, and a local one not at all"):
        other_registry(f"mlflow:{mlflow}").announce(local)


class KubeflowApi:
    """The part of the Model Registry's v1alpha3 that is used, as its OpenAPI document describes it."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self.dies_after: int | None = None
        self.changes = 0

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        with self.lock:
            if method != "GET":
                self.changes += 1
                if self.dies_after is not None and self.changes > self.dies_after:
                    return 503, {"message": "going down"}
            return self._answer(method, path, query, body)

    def _answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        kind, *rest = path.split("/")
        if method == "GET" and kind in ("registered_model", "model_version"):
            parent = query.get("parentResourceId", "")
            found = self._named(f"{kind}s", query["name"], parent)
            return (200, found) if found else (404, {"code": "", "message": f"no {kind} {query['name']}"})
        if method == "GET" and rest == rest[:1]:
            return 200, self.kept[rest[0]]
        if method == "GET":
            return 200, {"items": [one for one in self.kept.values() if one["kind"] == f"artifact of {rest[0]}"]}
        if method == "PATCH":
            self.kept[rest[0]]["customProperties"] = body["customProperties"]
            return 200, self.kept[rest[0]]
        kind = f"artifact of {rest[0]}" if rest else kind
        if self._named(kind, body["name"], body.get("registeredModelId", "")):
            return 409, {"code": "", "message": "already exists"}
        number = str(len(self.kept) + 1)
        self.kept[number] = body | {"id": number, "kind": kind}
        return 201, self.kept[number]

    def _named(self, kind: str, name: str, parent: str) -> dict[str, Any] | None:
        for one in self.kept.values():
            if (one["kind"], one["name"], one.get("registeredModelId", "")) == (kind, name, parent):
                return one
        return None

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.kept.values() if one["kind"].startswith(kind)]


@pytest.fixture
def kubeflow() -> Iterator[tuple[KubeflowApi, str]]:
    """A Kubeflow Model Registry on loopback, and its target."""
    api = KubeflowApi()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            path = parts.path.removeprefix("/api/model_registry/v1alpha3/")
            status, value = api.answer(self.command, path, dict(urllib.parse.parse_qsl(parts.query)), body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        do_GET = do_POST = do_PATCH = do  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler) as address:
        yield api, f"kubeflow:{address}"


@contextlib.contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class VertexApi:
    """Models of Vertex AI v1 over HTTP; requests and answers go through Google's own messages, strictly."""

    def __init__(self) -> None:
        self.versions: list[aiplatform_v1.Model] = []
        self.authorizations: set[str] = set()
        self.lock = threading.Lock()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        with self.lock:
            place, _, verb = path.removeprefix("/v1/").partition(":")
            name, _, number = place.partition("@")
            if verb == "upload":
                return self._upload(
                    place, aiplatform_v1.UploadModelRequest.from_json(json.dumps(body | {"parent": "p"}))
                )
            found = [one for one in self.versions if one.name == name]
            if verb == "listVersions":
                listed = aiplatform_v1.ListModelVersionsResponse(models=found)
                return (200, json.loads(type(listed).to_json(listed))) if found else (404, {"error": "no such model"})
            (version,) = [one for one in found if one.version_id == number] or [None]
            if version is None:
                return 404, {"error": "no such version"}
            if method == "DELETE":
                self.versions.remove(version)
                return 200, {"name": "operations/2", "done": True}
            for alias in body["versionAliases"]:
                for one in found:
                    if alias in one.version_aliases:
                        one.version_aliases.remove(alias)
                version.version_aliases.append(alias)
            return 200, json.loads(aiplatform_v1.Model.to_json(version))

    def _upload(self, place: str, request: aiplatform_v1.UploadModelRequest) -> tuple[int, Any]:
        name = request.parent_model or f"{place}/{request.model_id}"
        numbers = [int(one.version_id) for one in self.versions if one.name == name]
        if numbers and request.model_id:
            return 409, {"error": "already exists"}
        model = aiplatform_v1.Model(request.model)
        model.name, model.version_id = name, str(max(numbers, default=0) + 1)
        self.versions.append(model)
        return 200, {"name": f"{place}/operations/1", "done": True}


@pytest.fixture
def vertex() -> Iterator[tuple[VertexApi, VertexRegistry]]:
    """Vertex AI on loopback, and a registry that talks to it."""
    api = VertexApi()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            api.authorizations.add(str(self.headers["Authorization"]))
            status, value = api.answer(self.command, urllib.parse.urlsplit(self.path).path, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        do_GET = do_POST = do_DELETE = do  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler) as address:
        service = JsonService(f"{address}/v1", "Vertex AI", lambda: "secret")
        yield api, VertexRegistry("project/europe-west4/registry.example/serving:1", service)


def test_vertex(vertex: tuple[VertexApi, VertexRegistry]) -> None:
    api, registry = vertex
    parent = "projects/project/locations/europe-west4/models/m-trees"
    assert registry.announce(FIRST) == registry.announce(FIRST) == f"{parent}@1"
    assert registry.announce(SECOND) == f"{parent}@2"
    first, second = api.versions
    assert (first.artifact_uri, second.artifact_uri) == (f"{FIRST.uri}/saved_model/1", f"{SECOND.uri}/saved_model/1")
    assert first.container_spec.image_uri == "registry.example/serving:1"
    assert (list(first.version_aliases), list(second.version_aliases)) == (["candidate"], ["champion"])
    assert api.authorizations == {"Bearer secret"}


def test_eight_at_once_leave_one_version_in_vertex(vertex: tuple[VertexApi, VertexRegistry]) -> None:
    api, registry = vertex
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: registry.announce(FIRST), range(8)))
    registry.announce(FIRST)
    assert [one.version_id for one in api.versions] == ["1"]


def test_kubeflow(kubeflow: tuple[KubeflowApi, str]) -> None:
    api, target = kubeflow
    for announcement in (FIRST, FIRST, SECOND, FIRST):
        other_registry(target).announce(announcement)
    other_registry(target).announce(SECOND)
    (model,) = api.of_kind("registered_models")
    aliases = {name: value["string_value"] for name, value in model["customProperties"].items()}
    assert aliases == {"candidate": FIRST.version, "champion": SECOND.version}
    assert [version["name"] for version in api.of_kind("model_versions")] == [FIRST.version, SECOND.version]
    assert [artifact["uri"] for artifact in api.of_kind("artifact")] == [FIRST.uri, SECOND.uri]
    assert api.of_kind("model_versions")[0]["customProperties"]["accuracy"]["string_value"] == "0.8824"


def test_kubeflow_that_dies_at_any_request_is_completed(kubeflow: tuple[KubeflowApi, str]) -> None:
    api, target = kubeflow
    for after in range(4):
        api.kept.clear()
        api.changes, api.dies_after = 0, after
        with pytest.raises(TransientError, match="going down"):
            other_registry(target).announce(FIRST)
        api.dies_after = None
        other_registry(target).announce(FIRST)
        counts = [len(api.of_kind(kind)) for kind in ("registered_models", "model_versions", "artifact")]
        assert counts == [1, 1, 1], after


def test_names_made_by_eight_at_once_are_made_once(kubeflow: tuple[KubeflowApi, str]) -> None:
    api, target = kubeflow
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: other_registry(target).announce(FIRST), range(8)))
    assert [len(api.of_kind(kind)) for kind in ("registered_models", "model_versions", "artifact")] == [1, 1, 1]


def test_registering_tells_and_promoting_can_be_told(
    kubeflow: tuple[KubeflowApi, str], register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api, target = kubeflow
    rejected = register(gate=Gate(0.99), other_registries=[target])
    (version,) = api.of_kind("model_versions")
    assert version["customProperties"]["state"]["string_value"] == "rejected"
    registry = str(tmp_path / "registry")
    assert main(["promote", registry, "trees", rejected.version, "--even-rejected"]) == 0
    assert main(["announce", registry, "trees", "champion", target]) == 0
    assert f"trees {rejected.version}" in capsys.readouterr().out
    (model,) = api.of_kind("registered_models")
    assert model["customProperties"]["champion"]["string_value"] == rejected.version


@pytest.mark.parametrize("target", ["", "mlflow:", "mlflow:ftp://host", "vertex:project", "http://mlflow:5000"])
def test_targets_that_name_nothing(target: str) -> None:
    with pytest.raises(UserError, match="other_registries names|is to be found at"):
        other_registry(target)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"MLflow at .* does not answer"):
        other_registry("mlflow:http://127.0.0.1:9").announce(FIRST)
