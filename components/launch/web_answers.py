"""One HTTP request with a short limit, and a plain word for why no answer came: for checks that a person waits for."""

import functools
import socket
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

from components.failures import TransientError, UserError

NOT_ACCEPTED = (429, 503)
"""What says that a request was not taken: it may be sent again."""
ANSWER_LOST = (502, 504)
"""What a gateway answers that lost the answer of the server behind it."""
BUSY = (408, *NOT_ACCEPTED, 500, *ANSWER_LOST)
"""What servers and the proxies before them answer when another try may succeed."""

LOG_IN = "run: gcloud auth application-default login"
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class NoAnswerError(Exception):
    """A server did not answer.

    Attributes:
        passing: Whether it may answer later. A name that nobody knows and a port where nobody listens are no accident.
    """

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing

    def with_fix(self, sentence: str) -> UserError | TransientError:
        """Return what to raise: ``sentence``, as the user's to act on or as worth another try."""
        return TransientError(sentence) if self.passing else UserError(sentence)


def ask(url: str, *, timeout_seconds: float, method: str = "GET", headers: Mapping[str, str] | None = None) -> "Answer":
    """Return the answer to one request, after redirects.

    Args:
        url: ``http://`` or ``https://``.
        timeout_seconds: To connect, and between any two pieces of the answer.
        method: ``GET`` or ``HEAD``.
        headers: What to send; never forwarded to another host's redirect target if it is ``Authorization``.

    Raises:
        NoAnswerError: When there is none.
    """
    import requests  # noqa: PLC0415 - not needed by a launcher that only compiles

    with requests.Session() as session:
        # Proxies are for other machines.
        session.trust_env = urllib.parse.urlsplit(url).hostname not in _LOOPBACK
        try:
            response = session.request(
                method,
                url,
                timeout=timeout_seconds,
                # Given as auth, because requests would put what ~/.netrc says in the place of a header.
                auth=functools.partial(_with_headers, headers or {}),
                allow_redirects=True,
            )
        except requests.exceptions.RequestException as error:
            raise explain_no_answer(error, url, timeout_seconds) from error
        return Answer(response.status_code, response.headers, response.content, response.url)


class Answer:
    """An HTTP response, read completely."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, url: str) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.url = url

    def json_object(self) -> dict[str, Any] | None:
        """Return the body if it is a JSON object."""
        import json  # noqa: PLC0415

        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def in_words(self) -> str:
        """Return the status and the server's own sentence, short."""
        return f"{self.status} {_said(self.json_object())}".strip()


def base_url(host: str) -> str:
    """Return the URL of a service named by host and port, as docker does: without TLS on this very machine only."""
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    return f"{'http' if name in _LOOPBACK else 'https'}://{host}"


def is_unknown_name(host: str) -> bool:
    """Return whether no machine is known by this name, ``host`` or ``host:port``; False where nobody can say."""
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(f"//{host}").hostname, None)
    except socket.gaierror as error:
        return error.errno != socket.EAI_AGAIN
    return False


def google_credentials() -> Any:
    """Return Google's default credentials, as ``gcloud auth application-default login`` sets them up.

    Raises:
        UserError: When there are none.
    """
    import google.auth  # noqa: PLC0415
    from google.auth import exceptions  # noqa: PLC0415

    try:
        credentials, _ = google.auth.default(scopes=[_GOOGLE_SCOPE])
    except exceptions.DefaultCredentialsError as error:
        raise UserError(f"no Google Cloud credentials; {LOG_IN}") from error
    return credentials


def google_token(timeout_seconds: float) -> str:
    """Return an access token for Google's default credentials.

    Raises:
        UserError: When there are no credentials or they no longer work.
        TransientError: When Google does not answer.
    """
    from google.auth import exceptions  # noqa: PLC0415
    from google.auth.transport.requests import Request  # noqa: PLC0415

    credentials = google_credentials()
    try:
        credentials.refresh(functools.partial(Request(), timeout=timeout_seconds))
    except exceptions.RefreshError as error:
        if not error.retryable:
            raise UserError(f"Google Cloud credentials no longer work; {LOG_IN}") from error
        raise TransientError("Google gives no access token for now; try again later") from error
    except exceptions.TransportError as error:
        raise TransientError("cannot reach Google for an access token; try again later") from error
    return str(credentials.token)


def _with_headers(headers: Mapping[str, str], request: Any) -> Any:
    request.headers.update(headers)
    return request


def _said(value: dict[str, Any] | None) -> str:
    """Return the sentence in an error of a registry, of Kubeflow Pipelines or of a Google API."""
    if value is None:
        return ""
    errors = value.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        value = errors[0]
    error = value.get("error")
    said = error.get("message") if isinstance(error, dict) else value.get("message") or error
    return " ".join(str(said or "").split())[:300]


def explain_no_answer(error: Exception, url: str, timeout_seconds: float) -> NoAnswerError:
    """Return in plain words why no answer came, from what ``requests`` or ``urllib3`` raised."""
    import requests  # noqa: PLC0415
    import urllib3  # noqa: PLC0415

    host = urllib.parse.urlsplit(url).netloc
    # urllib3 counts every failure to connect, such as a closed port, as one kind of timeout.
    timeouts = (requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError)
    slow = type(error) is urllib3.exceptions.ConnectTimeoutError
    if isinstance(error, timeouts) or slow:
        return NoAnswerError(f"{host} gives no answer within {timeout_seconds:.0f} s", passing=True)
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return NoAnswerError(f"{url} is no address", passing=False)
    causes = _causes(error)
    for cause in causes:
        known = _known_cause(cause, host)
        if known is not None:
            return known
    words = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), error)
    return NoAnswerError(f"{host} cannot be reached: {str(words).lower()}", passing=True)


def _known_cause(cause: BaseException, host: str) -> NoAnswerError | None:
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            return NoAnswerError(f"the name {host} cannot be looked up from here: no network?", passing=True)
        return NoAnswerError(f"no machine is known by the name {host}", passing=False)
    if isinstance(cause, ConnectionRefusedError):
        return NoAnswerError(f"nothing listens at {host}", passing=False)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NoAnswerError(f"the certificate of {host} is not trusted: {cause.verify_message}", passing=False)
    if isinstance(cause, ssl.SSLError):
        return NoAnswerError(f"{host} does not speak TLS as expected: {cause.reason or cause}", passing=False)
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what lies behind it: libraries wrap, and some put the cause into an attribute."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in found:
            found.append(cause)
            waiting += [getattr(cause, "reason", None), cause.__cause__, cause.__context__, *cause.args]
    return found
