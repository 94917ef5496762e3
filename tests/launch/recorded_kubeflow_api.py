"""A Kubeflow Pipelines API on loopback that records what it is sent, and fails as it is told to."""

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class RecordedKubeflowApi:
    """What the API was asked, and what it answers.

    Attributes:
        url: Where it listens.
        runs: Runs it was asked to start, refused ones too.
        experiments: Experiments it was asked for.
        run_answers: Status of its next answers to new runs, 200 when used up; None hangs up without an answer.
        lookup_answers: The same for reading experiments.
        shows_login: Answer everything with the page of a login, as a gateway does.
    """

    url: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    run_answers: list[int | None] = field(default_factory=list)
    lookup_answers: list[int | None] = field(default_factory=list)
    shows_login: bool = False


@contextlib.contextmanager
def recorded_kubeflow_api(certificate: Path | None = None, key: Path | None = None) -> Iterator[RecordedKubeflowApi]:
    """Serve the API until the block ends.

    Args:
        certificate: PEM file with a certificate for ``localhost``, None for plain HTTP.
        key: PEM file with its private key.
    """
    recorded = RecordedKubeflowApi()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/experiments" not in self.path:
                self._answer(200, {"multi_user": False})
                return
            found = [
                {"experiment_id": f"experiment-{number}", "display_name": experiment["display_name"]}
                for number, experiment in enumerate(recorded.experiments, start=1)
                if f"%22{experiment['display_name']}%22" in self.path
            ]
            self._answer(recorded.lookup_answers.pop(0) if recorded.lookup_answers else 200, {"experiments": found})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.startswith("/apis/v2beta1/experiments"):
                recorded.experiments.append(body)
                name = body["display_name"]
                self._answer(200, {"experiment_id": f"experiment-{len(recorded.experiments)}", "display_name": name})
            else:
                recorded.runs.append(body)
                answer = recorded.run_answers.pop(0) if recorded.run_answers else 200
                self._answer(answer, {"run_id": f"run-{len(recorded.runs)}"})

        def _answer(self, status: int | None, body: dict[str, Any]) -> None:
            if status is None:
                self.close_connection = True
                return
            login = recorded.shows_login
            data = b"<html>Who are you?</html>" if login else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if login else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Keep the tests' output quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorded.url = f"http://127.0.0.1:{server.server_port}"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        recorded.url = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield recorded
    server.shutdown()
    thread.join()
    server.server_close()
