"""A loopback stand-in for Cloud Storage's JSON API that answers what a test dictates: refusals, outages, damage."""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from components.launch.gcs_emulator import HOST_VARIABLE


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def refusal(cls, status: int, message: str) -> "Answer":
        """Return an error as Cloud Storage words it."""
        return cls(status, json.dumps({"error": {"code": status, "message": message}}).encode())

    @classmethod
    def of(cls, value: object) -> "Answer":
        """Return a JSON document."""
        return cls(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that wait no longer: it would be said amid the next test."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def scripted_gcs(answer: Callable[[str, str, Mapping[str, str]], Answer]) -> Iterator[None]:
    """Let Cloud Storage clients of this process talk to ``answer(method, path with query, request headers)``."""
    with scripted_server(answer) as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv(HOST_VARIABLE, url)
        yield


@contextlib.contextmanager
def scripted_server(answer: Callable[[str, str, Mapping[str, str]], Answer]) -> Iterator[str]:
    """Yield the URL of a server on 127.0.0.1 that says what ``answer`` returns."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = answer(self.command, self.path, {name.title(): value for name, value in self.headers.items()})
            self.send_response(said.status)
            for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said.body)
            # A promise of more bytes than were sent can only be broken by hanging up.
            self.close_connection = said.headers.get("Content-Length", "") not in ("", str(len(said.body)))

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _respond  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
