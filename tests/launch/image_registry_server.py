"""A real image registry on this machine: Debian's package docker-registry, filled through its HTTP API."""

import contextlib
import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PROGRAM = shutil.which("docker-registry")
_PORTS = 3


@dataclass(frozen=True)
class RegistryServer:
    """Where it listens, and how to fill it."""

    host: str

    def push(self, repository: str, tag: str, platform: str, labels: Mapping[str, str]) -> str:
        """Publish an image without layers and return its digest."""
        system, architecture = platform.split("/")
        configuration = {
            "os": system,
            "architecture": architecture,
            "config": {"Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        body = json.dumps(configuration).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self._push_blob(repository, body),
                "size": len(body),
            },
            "layers": [],
        }
        return self._push_manifest(repository, tag, MANIFEST, manifest)

    def push_index(self, repository: str, tag: str, labels: Mapping[str, Mapping[str, str]]) -> str:
        """Publish images for several platforms under one tag, labels by platform, and return the index' digest."""
        entries = []
        for platform, of_platform in labels.items():
            system, architecture = platform.split("/")
            digest = self.push(repository, f"{tag}-{architecture}", platform, of_platform)
            size = len(self._call("GET", f"{repository}/manifests/{digest}", headers={"Accept": MANIFEST}).content)
            described = {"os": system, "architecture": architecture}
            entries.append({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": described})
        # What build tools add about the build itself.
        entries.append({**entries[0], "platform": {"os": "unknown", "architecture": "unknown"}})
        return self._push_manifest(
            repository, tag, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        )

    def _push_manifest(self, repository: str, tag: str, media_type: str, manifest: dict[str, Any]) -> str:
        body = json.dumps(manifest).encode()
        self._call("PUT", f"{repository}/manifests/{tag}", data=body, headers={"Content-Type": media_type})
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def _push_blob(self, repository: str, body: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        upload = self._call("POST", f"{repository}/blobs/uploads/").headers["Location"]
        response = requests.put(upload, params={"digest": digest}, data=body, timeout=60)
        response.raise_for_status()
        return digest

    def _call(self, method: str, path: str, **more: Any) -> requests.Response:
        response = requests.request(method, f"http://{self.host}/v2/{path}", timeout=60, **more)
        response.raise_for_status()
        return response


@contextlib.contextmanager
def registry_server(directory: Path) -> Iterator[RegistryServer]:
    """Run an empty registry on a free port of 127.0.0.1 that keeps its images in ``directory``."""
    assert PROGRAM is not None
    process, host = _started(PROGRAM, directory)
    try:
        yield RegistryServer(host)
    finally:
        process.terminate()
        process.wait()


def _started(program: str, directory: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start it on a port that nobody listens at, and on another one where somebody came first."""
    configuration = directory / "config.yml"
    for _ in range(_PORTS):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            host = f"127.0.0.1:{listener.getsockname()[1]}"
        settings = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(directory / "images")}},
            "http": {"addr": host},
        }
        configuration.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        process = subprocess.Popen([program, "serve", str(configuration)], stderr=subprocess.DEVNULL)
        while process.poll() is None:
            try:
                requests.get(f"http://{host}/v2/", timeout=10).raise_for_status()
            except requests.exceptions.RequestException:
                time.sleep(0.05)
            else:
                return process, host
    raise AssertionError("docker-registry ended by itself")
