"""Other registries on loopback, what they were told, and models to tell them of."""

import contextlib
import dataclasses
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from components.formats.model_bundle import Manifest, describe_files, write_bundle
from components.register.announcement import VERSION_TAG
from components.register.json_service import JsonService, RefusedError
from components.register.other_registries import OtherRegistry
from components.register.registry import ModelRegistry
from components.register.version_index import Index, VersionRecord
from tests.register.kubeflow_api import KubeflowApi, text
from tests.register.vertex_api import VertexApi


@dataclasses.dataclass(frozen=True)
class Told:
    """What a registry knows of the model ``trees``.

    Attributes:
        aliases: Version by alias.
        states: State by version.
        bundles: Addresses of the bundles, one for each version there is.
    """

    aliases: Mapping[str, str]
    states: Mapping[str, str]
    bundles: list[str]


@dataclasses.dataclass(frozen=True)
class Other:
    """A registry to tell.

    Attributes:
        registry: It.
        told: Returns what it knows.
        api: The one behind it; None for a real server.
    """

    registry: OtherRegistry
    told: Callable[[], Told]
    api: KubeflowApi | VertexApi | None = None


@contextlib.contextmanager
def served(api: KubeflowApi | VertexApi) -> Iterator[str]:
    """Serve an API on loopback and give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            if isinstance(api, VertexApi):
                api.authorizations.add(str(self.headers["Authorization"]))
            status, value = api.answer(self.command, parts.path, dict(urllib.parse.parse_qsl(parts.query)), body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        do_GET = do_POST = do_PATCH = do_DELETE = do  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def told_kubeflow(api: KubeflowApi) -> Told:
    (model,) = api.of_kind("registered_models")
    versions = api.of_kind("model_versions")
    aliases = {alias: version for alias, version in text(model).items() if version}
    by_version = {
        alias: one["name"] for one in versions for alias in text(one)["aliases"].split(", ") if text(one)["aliases"]
    }
    assert by_version == aliases, "model and versions agree"
    states = {one["name"]: text(one)["state"] for one in versions}
    assert len(states) == len(versions)
    return Told(aliases, states, [one["uri"] for one in api.of_kind("artifact")])


def told_vertex(api: VertexApi) -> Told:
    aliases = {
        alias: one.labels[VERSION_TAG] for one in api.versions for alias in one.version_aliases if alias != "default"
    }
    states = {one.labels[VERSION_TAG]: one.labels["state"] for one in api.versions}
    assert len(states) == len(api.versions)
    return Told(aliases, states, [one.artifact_uri.removesuffix("/saved_model/1") for one in api.versions])


def told_mlflow(address: str) -> Told:
    api = JsonService(f"{address}/api/2.0/mlflow", "MLflow")
    model = api.ask("GET", "registered-models/get", name="trees")["registered_model"]
    listed = api.ask("GET", "model-versions/search", filter="name='trees'")["model_versions"]
    tags = {one["version"]: {tag["key"]: tag["value"] for tag in one["tags"]} for one in listed}
    states = {known[VERSION_TAG]: known["state"] for known in tags.values()}
    assert len(states) == len(listed)
    aliases = {one["alias"]: tags[one["version"]][VERSION_TAG] for one in model.get("aliases", ())}
    return Told(aliases, states, [one["source"] for one in listed])


def forget_trees(address: str) -> None:
    """Empty an MLflow server, where a test before left something."""
    with contextlib.suppress(RefusedError):
        JsonService(f"{address}/api/2.0/mlflow", "MLflow").ask("DELETE", "registered-models/delete", {"name": "trees"})


class Trees:
    """A registry with versions of the model ``trees`` that hold a SavedModel and nothing else.

    Args:
        registry_uri: Where it lies.
    """

    def __init__(self, registry_uri: str) -> None:
        self.registry = ModelRegistry(registry_uri, "trees")

    def add(self, version: str, *, passed: bool = True, content: str = "c1", **aliases: str) -> None:
        """List a version, or list it anew, and let aliases name it or others."""
        record = VersionRecord(
            version, f"versions/{version}/{content}", "now", 0.9, "d" * 64, "run", gate_passed=passed
        )
        files: dict[str, bytes | Path] = {"saved_model/1/saved_model.pb": b""}
        write_bundle(self.registry.bundle_uri(record), Manifest("trees", version, describe_files(files)), files)

        def listed(index: Index) -> Index:
            others = tuple(one for one in index.versions if one.version != version)
            return dataclasses.replace(index, versions=(*others, record), aliases={**index.aliases, **aliases})

        self.registry.change(listed)

    def bundle(self, version: str) -> str:
        """Return where the bundle of a version lies."""
        return self.registry.bundle_uri(self.registry.read_index().named(version))

    def told(self, *versions: str) -> Told:
        """Return what the index says, and so what a registry must know that was told of some versions."""
        index = self.registry.read_index()
        known = [record for record in index.versions if record.version in versions]
        bundles = [self.registry.bundle_uri(record) for record in known]
        return Told(dict(index.aliases), {record.version: record.state for record in known}, bundles)


def api_service(address: str) -> JsonService:
    """Return Vertex AI at an address."""
    return JsonService(f"{address}/v1", "Vertex AI", lambda: "secret")


def without_order(told: Told) -> Any:
    """Return what can be compared: registries list bundles in an order of their own."""
    return dict(told.aliases), dict(told.states), sorted(told.bundles)
