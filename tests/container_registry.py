"""A real container registry on loopback, for tests: Debian's ``docker-registry`` over a folder."""

import contextlib
import http.client
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_START_SECONDS = 20


@contextlib.contextmanager
def container_registry(directory: Path) -> Iterator[str]:
    """Run a registry and yield its ``host:port``; skip the test, saying why, where none is installed.

    Args:
        directory: Empty folder for its configuration, images and log.
    """
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed; on Debian: apt-get install docker-registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = directory / "registry.yml"
    configuration.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {directory}/images}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n",
        encoding="utf-8",
    )
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen([program, "serve", str(configuration)], stdout=log, stderr=log) as server,
    ):
        try:
            _wait_until_it_answers(server, port, directory / "log")
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/v2/")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise RuntimeError(f"docker-registry does not start: {log.read_text(encoding='utf-8')[-500:]}")
