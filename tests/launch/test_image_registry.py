"""Asking an image registry: a real one for what it holds, scripted answers for logins, refusals and outages."""

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from components.failures import TransientError, UserError
from components.launch import image_registry
from components.launch.image_registry import LoginNeededError, Reference, find_image, parse_reference
from tests.launch.image_registry_server import PROGRAM, RegistryServer, registry_server
from tests.scripted_gcs import Answer, scripted_server

DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    if PROGRAM is None:
        pytest.skip("docker-registry is not installed; install Debian's package of that name")
    with registry_server(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.mark.parametrize(
    ("text", "host", "repository", "version"),
    [
        ("europe-docker.pkg.dev/p/r/data:1.0", "europe-docker.pkg.dev", "p/r/data", "1.0"),
        ("localhost:5000/data:1", "localhost:5000", "data", "1"),
        ("localhost/data", "localhost", "data", "latest"),
        ("host.example:5000/a/b", "host.example:5000", "a/b", "latest"),
        (f"host.example/a@{DIGEST}", "host.example", "a", DIGEST),
        (f"host.example/a:1.0@{DIGEST}", "host.example", "a", DIGEST),
        ("data:0.1.0", "registry-1.docker.io", "library/data", "0.1.0"),
        ("team/data", "registry-1.docker.io", "team/data", "latest"),
        ("docker.io/team/data:1", "registry-1.docker.io", "team/data", "1"),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, host: str, repository: str, version: str) -> None:
    assert parse_reference(text) == Reference(host, repository, version)


@pytest.mark.parametrize(
    "text",
    ["", "host.example/", "host.example/Upper:1", "a:b:c", "a:-tag", "a@sha256:12", "a@", "https://host/a:1", "a/../b"],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no name of an image; write host/path:tag"):
        parse_reference(text)


def test_an_image_is_found_by_tag_and_by_digest(registry: RegistryServer) -> None:
    digest = registry.push("team/data", "1.0", "linux/amd64", {"version": "1.0"})
    for name in ("team/data:1.0", f"team/data@{digest}"):
        found = find_image(parse_reference(f"{registry.host}/{name}"), "linux/amd64", 60)
        assert found is not None
        assert found.digest == digest
        assert found.platforms == ("linux/amd64",)
        assert found.labels == {"version": "1.0"}


def test_labels_are_those_of_the_platform_asked_for(registry: RegistryServer) -> None:
    labels = {"linux/arm64": {"for": "arm"}, "linux/amd64": {"for": "intel"}}
    digest = registry.push_index("team/both", "1", labels)
    found = find_image(parse_reference(f"{registry.host}/team/both:1"), "linux/amd64", 60)
    assert found is not None
    assert found.digest == digest
    assert found.platforms == ("linux/amd64", "linux/arm64"), "an attestation is no platform"
    assert found.labels == {"for": "intel"}
    other = find_image(parse_reference(f"{registry.host}/team/both:1"), "linux/s390x", 60)
    assert other is not None
    assert other.platforms == found.platforms


def test_an_image_that_is_not_there_is_none(registry: RegistryServer) -> None:
    registry.push("team/there", "1", "linux/amd64", {})
    for name in ("team/there:2", "team/nowhere:1", f"team/there@{DIGEST}"):
        assert find_image(parse_reference(f"{registry.host}/{name}"), "linux/amd64", 60) is None


# Scripted registries ------------------------------------------------------------------------------------------------

CONFIGURATION = json.dumps({"os": "linux", "architecture": "amd64", "config": {"Labels": None}}).encode()
MANIFEST = json.dumps({"config": {"digest": "sha256:config"}}).encode()
Script = Callable[[str, str, Mapping[str, str]], Answer]


def ask(script: Script) -> image_registry.PublishedImage | None:
    with scripted_server(script) as url:
        return find_image(Reference(url.removeprefix("http://"), "team/data", "1"), "linux/amd64", 60)


def content(path: str) -> Answer:
    return Answer(200, MANIFEST if "/manifests/" in path else CONFIGURATION)


def test_a_public_image_behind_a_token_is_found() -> None:
    asked: list[str] = []

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        asked.append(path)
        if path.startswith("/token"):
            return Answer.of({"token": "let-me-in"})
        if headers.get("Authorization") != "Bearer let-me-in":
            challenge = f'Bearer realm="http://{headers["Host"]}/token",service="registry.example"'
            return Answer(401, b"", {"WWW-Authenticate": challenge})
        return content(path)

    found = ask(script)
    assert found is not None
    assert found.platforms == ("linux/amd64",)
    assert asked[1] == "/token?service=registry.example&scope=repository%3Ateam%2Fdata%3Apull"
    assert len([path for path in asked if path.startswith("/token")]) == 1, "one token serves all requests"


@pytest.mark.parametrize("challenge", ['Basic realm="x"', "", "Bearer", 'Bearer realm="not an address"', "Negotiate"])
def test_a_registry_that_wants_a_password_is_told_apart(challenge: str) -> None:
    with pytest.raises(LoginNeededError):
        ask(lambda *_: Answer(401, b"", {"WWW-Authenticate": challenge}))


def test_a_token_that_does_not_help_is_no_endless_loop() -> None:
    asked: list[str] = []

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        asked.append(path)
        if path.startswith("/token"):
            return Answer.of({"access_token": "useless"})
        return Answer(401, b"", {"WWW-Authenticate": f'Bearer realm="http://{headers["Host"]}/token"'})

    with pytest.raises(LoginNeededError):
        ask(script)
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("answer", "kind", "expected"),
    [
        (Answer(429, b"", {"Retry-After": "7"}), TransientError, "is busy; try again in 7 s"),
        (Answer(503), TransientError, "is busy; try again later"),
        (Answer(200, b"<html>Welcome</html>"), UserError, "not as an image registry; check --image-registry"),
        (Answer(404, b"<html>Not found</html>"), UserError, "not as an image registry; check --image-registry"),
        (
            Answer(400, b'{"errors": [{"code": "X", "message": "no such thing"}]}'),
            UserError,
            "refuses to show team/data: 400 no such thing",
        ),
    ],
)
def test_answers_that_are_no_image_are_explained(answer: Answer, kind: type[Exception], expected: str) -> None:
    with pytest.raises(kind, match=expected):
        ask(lambda *_: answer)


def test_an_image_whose_configuration_is_gone_is_incomplete() -> None:
    gone = Answer(404, b'{"errors": [{"code": "BLOB_UNKNOWN"}]}')
    with pytest.raises(UserError, match="incompletely; push the image again"):
        ask(lambda _, path, __: content(path) if "/manifests/" in path else gone)


def test_bytes_that_are_not_those_of_the_digest_are_refused() -> None:
    with scripted_server(lambda *_: Answer(200, MANIFEST)) as url, pytest.raises(TransientError, match="damaged"):
        find_image(Reference(url.removeprefix("http://"), "team/data", DIGEST), "linux/amd64", 60)


def test_nobody_listening_is_for_the_user_to_fix() -> None:
    with pytest.raises(UserError, match="nothing listens at 127.0.0.1:9; check its name"):
        find_image(Reference("127.0.0.1:9", "team/data", "1"), "linux/amd64", 60)


def test_a_registry_that_does_not_answer_in_time_may_do_so_later() -> None:
    leave = threading.Event()

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        leave.wait(30)
        return Answer(200)

    with scripted_server(script) as url:
        with pytest.raises(TransientError, match="gives no answer within"):
            find_image(Reference(url.removeprefix("http://"), "team/data", "1"), "linux/amd64", 0.1)
        leave.set()


def test_passwords_of_netrc_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\ndefault login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    sent: list[Mapping[str, str]] = []

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        sent.append(headers)
        return content(path)

    ask(script)
    assert all("Authorization" not in headers for headers in sent)


def google(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the registry on loopback for Google's, and let the credentials be a known token."""
    monkeypatch.setattr(image_registry, "google_token", lambda _: "ya29")
    monkeypatch.setattr(image_registry, "is_google", lambda _: True)


def test_googles_token_is_given_to_googles_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    google(monkeypatch)
    known_as = f"Basic {base64.b64encode(b'oauth2accesstoken:ya29').decode()}"

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        if headers.get("Authorization") != known_as:
            return Answer(401, b"", {"WWW-Authenticate": 'Basic realm="registry"'})
        return content(path)

    assert ask(script) is not None


def test_googles_public_images_need_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    google(monkeypatch)
    monkeypatch.setattr(image_registry, "google_token", no_credentials)

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        if path.startswith("/token"):
            return Answer.of({"token": "anybody"})
        if "Authorization" not in headers:
            return Answer(401, b"", {"WWW-Authenticate": f'Bearer realm="http://{headers["Host"]}/token"'})
        return content(path)

    assert ask(script) is not None


def test_googles_other_images_name_the_command_that_logs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    google(monkeypatch)
    monkeypatch.setattr(image_registry, "google_token", no_credentials)

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        challenge = f'Bearer realm="http://{headers["Host"]}/token"'
        return Answer(403) if path.startswith("/token") else Answer(401, b"", {"WWW-Authenticate": challenge})

    with pytest.raises(UserError, match="log in first"):
        ask(script)


def no_credentials(timeout_seconds: float) -> str:
    raise UserError("log in first")


def test_googles_token_is_not_given_to_a_realm_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    google(monkeypatch)
    sent: list[Mapping[str, str]] = []

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        sent.append(headers)
        if path.startswith("/token"):
            return Answer(403)
        return Answer(401, b"", {"WWW-Authenticate": f'Bearer realm="http://{headers["Host"]}/token"'})

    with pytest.raises(UserError, match="grant roles/artifactregistry.reader"):
        ask(script)
    assert all("Authorization" not in headers for headers in sent)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("europe-docker.pkg.dev", True),
        ("gcr.io", True),
        ("eu.gcr.io", True),
        ("ghcr.io", False),
        ("evilgcr.io", False),
        ("pkg.dev.example", False),
    ],
)
def test_googles_registries_are_known_by_name(host: str, expected: bool) -> None:
    assert image_registry.is_google(host) is expected
