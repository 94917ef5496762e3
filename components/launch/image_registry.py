"""What a registry holds under the name of an image, asked for as a cluster's nodes do.

Written after the OCI distribution specification 1.1 (https://github.com/opencontainers/distribution-spec) and, for
logins, the token flow of https://distribution.github.io/distribution/spec/auth/token/.
"""

import base64
import dataclasses
import hashlib
import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from components.failures import TransientError, UserError
from components.launch.web_answers import BUSY, Answer, NoAnswerError, ask, base_url, google_token

_IMAGES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_DOCKER_HUB = "registry-1.docker.io"
_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'([a-z]+)="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Reference:
    """An image's name, taken apart.

    Attributes:
        host: Host and port of the registry's API.
        repository: Path of the image there.
        version: Tag or digest.
    """

    host: str
    repository: str
    version: str

    def url(self, kind: str, version: str) -> str:
        """Return the address of a manifest or blob."""
        return f"{base_url(self.host)}/v2/{self.repository}/{kind}/{version}"


@dataclasses.dataclass(frozen=True)
class PublishedImage:
    """One image as a registry holds it now.

    Attributes:
        digest: ``sha256:`` and 64 hex digits, of what the reference names.
        platforms: ``linux/amd64`` and others it was built for.
        labels: Labels of the image for the platform that was asked for, or for the first when there is none for that.
    """

    digest: str
    platforms: tuple[str, ...]
    labels: Mapping[str, str]


class LoginNeededError(Exception):
    """The registry shows the image only to somebody it knows, and no login for it is known here."""


def parse_reference(text: str) -> Reference:
    """Take an image's name apart, by docker's rules: ``[host[:port]/]path[:tag][@sha256:digest]``.

    Raises:
        UserError: When it is no name of an image.
    """
    name, _, digest = text.partition("@")
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, ""
    host, slash, rest = path.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        repository = rest
    else:
        host, repository = "docker.io", path if slash else f"library/{path}"
    version = digest or tag or "latest"
    well_formed = bool(_HOST.fullmatch(host))
    well_formed &= all(_PATH.fullmatch(part) for part in repository.split("/"))
    well_formed &= bool(_DIGEST.fullmatch(digest) if "@" in text else _TAG.fullmatch(version))
    if not well_formed:
        raise UserError(
            f"{text} is no name of an image; write host/path:tag or host/path@sha256:digest, the path in lowercase"
        )
    return Reference(_DOCKER_HUB if host in ("docker.io", "index.docker.io") else host, repository, version)


def require_registry_and_tag(registry: str, tag: str) -> None:
    """Check ``--image-registry`` and ``--image-tag`` before names of images are made of them.

    Args:
        registry: Host and path; empty for none.
        tag: Empty for none.

    Raises:
        UserError: When no name of an image can be made of them.
    """
    scheme, is_url, rest = registry.partition("://")
    if is_url:
        raise UserError(f"--image-registry {registry} is a URL; leave out {scheme}://: --image-registry {rest}")
    if tag and not _TAG.fullmatch(tag):
        raise UserError(
            f"--image-tag {tag} is no tag: it holds letters, digits, '_', '.' and '-', at most 128 of them, and begins "
            "with a letter, a digit or '_'"
        )
    try:
        parse_reference(f"{registry.rstrip('/')}/image" if registry else "image")
    except UserError as error:
        raise UserError(
            f"--image-registry {registry} is no place of images; give a host and a path in lowercase, for example "
            "europe-docker.pkg.dev/my-project/images"
        ) from error


def is_google(host: str) -> bool:
    """Return whether a registry is Google's, which takes Google's credentials."""
    return host.endswith((".pkg.dev", ".gcr.io")) or host == "gcr.io"


def find_image(reference: Reference, platform: str, timeout_seconds: float) -> PublishedImage | None:
    """Ask a registry for an image.

    Args:
        reference: Which image.
        platform: ``linux/amd64`` for example: whose labels to read.
        timeout_seconds: For each of the up to seven requests.

    Returns:
        None when the registry has no image by that name and version.

    Raises:
        LoginNeededError: When the registry does not show it to everybody.
        UserError: When the registry refuses, does not exist, or is no registry.
        TransientError: When it does not answer or is busy.
    """
    conversation = _Conversation(reference, timeout_seconds)
    body = conversation.manifest(reference.version)
    if body is None:
        return None
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    manifest = _json(body, reference)
    entries = manifest.get("manifests")
    if not isinstance(entries, list):
        only, labels = conversation.configuration(manifest)
        return PublishedImage(digest, (only,), labels)
    # Build tools add entries such as signatures and attestations, for platform unknown/unknown.
    by_platform = {_platform(entry.get("platform") or {}): entry["digest"] for entry in entries}
    by_platform.pop("unknown/unknown", None)
    platforms = tuple(sorted(by_platform))
    if not platforms:
        return PublishedImage(digest, (), {})
    body = conversation.manifest(by_platform[platform if platform in by_platform else platforms[0]])
    if body is None:
        raise conversation.incomplete()
    return PublishedImage(digest, platforms, conversation.configuration(_json(body, reference))[1])


class _Conversation:
    """Requests about one image, with the token that the first of them was told to get."""

    def __init__(self, reference: Reference, timeout_seconds: float) -> None:
        self._reference = reference
        self._timeout_seconds = timeout_seconds
        self._authorization: dict[str, str] = {}
        self._no_credentials: UserError | None = None

    def manifest(self, version: str) -> bytes | None:
        """Return a manifest, or None when there is none."""
        return self._bytes("manifests", version, {"Accept": ", ".join(_IMAGES + _INDEXES)})

    def configuration(self, manifest: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
        """Return the platform and labels of the image that a manifest describes."""
        body = self._bytes("blobs", manifest.get("config", {}).get("digest", ""), {})
        if body is None:
            raise self.incomplete()
        configuration = _json(body, self._reference)
        return _platform(configuration), (configuration.get("config") or {}).get("Labels") or {}

    def incomplete(self) -> UserError:
        """Return what to raise when something that a manifest names is not there."""
        return UserError(
            f"{self._reference.host} holds {self._reference.repository} incompletely; push the image again"
        )

    def _bytes(self, kind: str, version: str, headers: Mapping[str, str]) -> bytes | None:
        reference = self._reference
        answer = self._ask(reference.url(kind, version), {**headers, **self._authorization})
        if answer.status == 401 and not self._authorization:
            self._authorization = self._login(answer.headers.get("WWW-Authenticate", ""))
            answer = self._ask(reference.url(kind, version), {**headers, **self._authorization})
        if answer.status == 404:
            self._require_registry(answer)
            return None
        if answer.status in (401, 403):
            raise self._refused(answer)
        self._require_success(answer, reference.host)
        if _DIGEST.fullmatch(version) and hashlib.sha256(answer.body).hexdigest() != version.removeprefix("sha256:"):
            raise TransientError(f"{version} of {reference.repository} arrived damaged; try again")
        return answer.body

    def _ask(self, url: str, headers: Mapping[str, str]) -> Answer:
        try:
            return ask(url, timeout_seconds=self._timeout_seconds, headers=headers)
        except NoAnswerError as error:
            raise error.with_fix(f"no image registry answers: {error}; check its name and your network") from error

    def _login(self, challenge: str) -> dict[str, str]:
        """Return the header that a 401 asks for. No password leaves this machine: only Google's token, to Google."""
        host = self._reference.host
        scheme, _, rest = challenge.partition(" ")
        credentials = self._google_login() if is_google(host) else {}
        if scheme.lower() == "basic" and credentials:
            return credentials
        wanted = dict(_CHALLENGE.findall(rest))
        realm = urllib.parse.urlsplit(wanted.pop("realm", ""))
        if scheme.lower() != "bearer" or not realm.hostname:
            raise self._no_credentials or LoginNeededError()
        if not (realm.scheme == "https" and is_google(realm.hostname)):
            credentials = {}
        wanted.setdefault("scope", f"repository:{self._reference.repository}:pull")
        query = urllib.parse.urlencode({name: wanted[name] for name in ("service", "scope") if name in wanted})
        answer = self._ask(f"{realm.geturl()}?{query}", credentials)
        if answer.status in (401, 403):
            raise self._refused(answer)
        self._require_success(answer, realm.netloc)
        token = answer.json_object() or {}
        return {"Authorization": f"Bearer {token.get('token') or token.get('access_token')}"}

    def _google_login(self) -> dict[str, str]:
        try:
            token = google_token(self._timeout_seconds)
        except UserError as error:
            # Google shows some images to everybody.
            self._no_credentials = error
            return {}
        known_as = base64.b64encode(f"oauth2accesstoken:{token}".encode()).decode()
        return {"Authorization": f"Basic {known_as}"}

    def _refused(self, answer: Answer) -> Exception:
        if self._no_credentials is not None:
            return self._no_credentials
        if not is_google(self._reference.host):
            return LoginNeededError()
        return UserError(
            f"no permission to read {self._reference.repository} from {self._reference.host}, or there is no such "
            "repository; create it with gcloud artifacts repositories create, and grant roles/artifactregistry.reader "
            f"(it answered {answer.in_words()})"
        )

    def _require_registry(self, answer: Answer) -> None:
        """Tell a registry's own 404 from that of a web site."""
        if "errors" not in (answer.json_object() or {}):
            raise UserError(f"{self._reference.host} answers, but not as an image registry; check --image-registry")

    def _require_success(self, answer: Answer, host: str) -> None:
        if answer.status in BUSY:
            wait = answer.headers.get("Retry-After", "")
            again = f"try again in {wait} s" if wait.isdigit() else "try again later"
            raise TransientError(f"{host} is busy; {again} (it answered {answer.in_words()})")
        if answer.status != 200:
            raise UserError(f"{host} refuses to show {self._reference.repository}: {answer.in_words()}")


def _json(body: bytes, reference: Reference) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{reference.host} answers, but not as an image registry; check --image-registry")
    return value


def _platform(described: Mapping[str, Any]) -> str:
    return f"{described.get('os', 'unknown')}/{described.get('architecture', 'unknown')}"
