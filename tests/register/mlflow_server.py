"""A real MLflow server with an empty database, where there is one to start."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

MLFLOW = os.environ.get("MLFLOW_COMMAND") or shutil.which("mlflow")


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run one and give its address; skip the test where mlflow is not installed."""
    if not MLFLOW:
        pytest.skip("mlflow is not installed (850 MB): put it on PATH, or name it in MLFLOW_COMMAND")
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
