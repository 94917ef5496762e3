"""Single requests: why no answer came, and what is never sent where it does not belong."""

import json
import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from components.failures import TransientError, UserError
from components.launch.gcs_emulator import HOST_VARIABLE
from components.launch.web_answers import NoAnswerError, ask, base_url, google_token
from tests.scripted_gcs import Answer, scripted_server


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("europe-docker.pkg.dev", "https://europe-docker.pkg.dev"),
        ("localhost.example", "https://localhost.example"),
    ],
)
def test_only_this_machine_is_asked_without_tls(host: str, expected: str) -> None:
    assert base_url(host) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://127.0.0.1:9/x", "nothing listens at 127.0.0.1:9"), ("ftp://host/x", "ftp://host/x is no address")],
)
def test_what_no_waiting_helps_is_not_passing(url: str, expected: str) -> None:
    with pytest.raises(NoAnswerError, match=expected) as said:
        ask(url, timeout_seconds=60)
    assert not said.value.passing
    assert isinstance(said.value.with_fix("x"), UserError)


def test_silence_may_pass() -> None:
    leave = threading.Event()

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        leave.wait(30)
        return Answer(200)

    with scripted_server(script) as url:
        with pytest.raises(NoAnswerError, match="gives no answer within") as said:
            ask(url, timeout_seconds=0.1)
        leave.set()
    assert said.value.passing
    assert isinstance(said.value.with_fix("x"), TransientError)


def test_a_certificate_that_is_not_trusted_is_said(localhost_certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*localhost_certificate)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        with pytest.raises(NoAnswerError, match="certificate of localhost:.* is not trusted: self") as said:
            ask(f"https://localhost:{server.server_port}/", timeout_seconds=60)
        assert not said.value.passing
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with scripted_server(lambda *_: Answer.of({})) as url:
        assert ask(url, timeout_seconds=60).status == 200


def test_a_token_does_not_follow_a_redirect_to_another_host() -> None:
    sent: dict[str, str | None] = {}

    def storage(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        sent["storage"] = headers.get("Authorization")
        return Answer(200, b"content")

    with scripted_server(storage) as elsewhere:

        def registry(method: str, path: str, headers: Mapping[str, str]) -> Answer:
            sent["registry"] = headers.get("Authorization")
            return Answer(307, b"", {"Location": elsewhere.replace("127.0.0.1", "localhost")})

        with scripted_server(registry) as url:
            answer = ask(url, timeout_seconds=60, headers={"Authorization": "Bearer secret"})
    assert answer.body == b"content"
    assert sent == {"registry": "Bearer secret", "storage": None}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"errors": [{"message": "manifest unknown"}]}', "404 manifest unknown"),
        (b'{"error": {"message": "no such project"}}', "404 no such project"),
        (b'{"error": "not\\n found", "code": 5}', "404 not found"),
        (b"<html>long</html>", "404"),
        (b'{"errors": []}', "404"),
    ],
)
def test_an_answer_is_quoted_in_its_own_words(body: bytes, expected: str) -> None:
    with scripted_server(lambda *_: Answer(404, body)) as url:
        assert ask(url, timeout_seconds=60).in_words() == expected


def token_from(url: str, service_account: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    account = json.loads(service_account.read_text(encoding="utf-8"))
    file = folder / "account.json"
    file.write_text(json.dumps({**account, "token_uri": f"{url}/token"}), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return google_token(5)


def test_google_gives_a_token(service_account: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    granted = Answer.of({"access_token": "ya29", "expires_in": 3600})
    with scripted_server(lambda *_: granted) as url:
        assert token_from(url, service_account, monkeypatch, tmp_path) == "ya29"


def test_credentials_that_were_revoked_name_the_command(
    service_account: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    revoked = Answer(400, b'{"error": "invalid_grant"}', {"Content-Type": "application/json"})
    with scripted_server(lambda *_: revoked) as url, pytest.raises(UserError, match="no longer work; run: gcloud auth"):
        token_from(url, service_account, monkeypatch, tmp_path)


def test_a_token_service_out_of_reach_may_come_back(
    service_account: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(TransientError, match="cannot reach Google for an access token"):
        token_from("http://127.0.0.1:9", service_account, monkeypatch, tmp_path)


def test_missing_credentials_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in (HOST_VARIABLE, "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(UserError, match="no Google Cloud credentials; run: gcloud auth application-default login"):
        google_token(5)
