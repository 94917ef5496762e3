"""Ask a service that speaks JSON over HTTP, with the standard library alone."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from components.failures import TransientError, UserError

_TIMEOUT_SECONDS = 30.0


class RefusedError(Exception):
    """The service understood and said no.

    Attributes:
        status: Of HTTP.
        answer: What it said.
    """

    def __init__(self, asked: str, status: int, answer: str) -> None:
        super().__init__(f"{asked}: {status} {answer[:300]}")
        self.status = status
        self.answer = answer


class JsonService:
    """A service at an address.

    Args:
        address: ``http://host:port`` or ``https://...``, with the path that all requests begin with.
        name: What to call it in an error.
        token: Returns a bearer token for each request; None sends none.

    Raises:
        UserError: When the address is malformed.
    """

    def __init__(self, address: str, name: str, token: Callable[[], str] | None = None) -> None:
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{name} is to be found at {address!r}: write http://host:port")
        self._address = address.rstrip("/")
        self._name = name
        self._token = token

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> dict[str, Any]:
        """Send a request and return the answer, an empty dictionary for an empty one.

        Raises:
            RefusedError: When the service answers 400 to 499, except as below.
            UserError: When it does not let us in.
            TransientError: When it does not answer, or is busy.
        """
        url = f"{self._address}/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token()}"
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - http or https, see above
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                content = answer.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            if error.code in (401, 403):
                raise UserError(
                    f"{self._name} at {self._address} does not let us in: {error.code} {said[:200]}"
                ) from error
            if error.code in (408, 429) or error.code >= 500:
                raise TransientError(
                    f"{self._name} at {self._address} could not answer: {error.code} {said[:200]}"
                ) from error
            raise RefusedError(f"{method} {path}", error.code, said) from error
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{self._name} at {self._address} does not answer: {error}") from error
        try:
            value: dict[str, Any] = json.loads(content or b"{}")
        except ValueError as error:
            raise UserError(f"what answers at {self._address} is no {self._name}: check the address") from error
        return value
