"""A real MLflow server with an empty database."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = "MLFLOW_COMMAND"
"""Names the program of another release, in an environment of its own, to test with."""

_PORTS = 3

# Nothing leaves this machine, and what runs jobs for large language models stays off.
_SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run one and give its address; skip the test where mlflow is not installed."""
    given = os.environ.get(COMMAND)
    if not given and importlib.util.find_spec("mlflow") is None:
        pytest.skip(f"mlflow is not installed: make install does it, or name a command of yours in {COMMAND}")
    program = [given] if given else [sys.executable, "-m", "mlflow"]
    server, address = _started([*program, "server", "--host", "127.0.0.1", "--workers", "1"], folder)
    try:
        yield address
    finally:
        server.terminate()
        server.wait()


def _started(command: list[str], folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start it on a port that nobody listens at, and on another one where somebody came first."""
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | _SETTINGS
    for _ in range(_PORTS):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [*command, "--port", str(port)], stdout=log, stderr=log, env=environment, cwd=folder
            )
        while server.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10):
                return server, f"http://127.0.0.1:{port}"
            time.sleep(0.2)
    pytest.fail(f"MLflow does not answer: {(folder / 'log').read_text()}")
