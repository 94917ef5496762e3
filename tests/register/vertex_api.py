"""Models of Vertex AI v1 on loopback; requests and answers go through Google's own messages, strictly."""

import json
import re
import threading
from typing import Any

from google.cloud import aiplatform_v1

_ALIAS = re.compile(r"-?[a-z][a-zA-Z0-9-]{0,126}[a-z0-9-]")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_-]{0,62}")


class VertexApi:
    """Versions of models.

    Attributes:
        versions: All of them.
        authorizations: What requests came with.
        deployed: Numbers of versions that an endpoint serves.
        highest: Number of the newest version, by model.
        dies_after: So many changes; None never.
    """

    def __init__(self) -> None:
        self.versions: list[aiplatform_v1.Model] = []
        self.authorizations: set[str] = set()
        self.deployed: set[str] = set()
        self.highest: dict[str, int] = {}
        self.dies_after: int | None = None
        self.changes = 0
        self._lock = threading.Lock()

    def answer(  # noqa: PLR0911 - one for each request
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, Any]:
        with self._lock:
            if method != "GET":
                self.changes += 1
                if self.dies_after is not None and self.changes > self.dies_after:
                    return 503, {"error": "going down"}
            place, _, verb = path.removeprefix("/v1/").partition(":")
            name, _, number = place.partition("@")
            if verb == "upload":
                return self._upload(
                    place, aiplatform_v1.UploadModelRequest.from_json(json.dumps(body | {"parent": "p"}))
                )
            if method == "GET" and place.endswith("/models"):
                return 200, {"models": []}
            found = [one for one in self.versions if one.name == name]
            if verb == "listVersions":
                listed = aiplatform_v1.ListModelVersionsResponse(models=found)
                return (200, json.loads(type(listed).to_json(listed))) if found else (404, {"error": "no such model"})
            (version,) = [one for one in found if one.version_id == number] or [None]
            if version is None:
                return 404, {"error": "no such version"}
            if method == "DELETE" and (number in self.deployed or "default" in version.version_aliases):
                return 400, {"error": {"status": "FAILED_PRECONDITION", "message": "the version is in use"}}
            if method == "DELETE":
                self.versions.remove(version)
                return 200, {"name": "operations/2", "done": True}
            if method == "PATCH":
                _update(version, aiplatform_v1.Model.from_json(json.dumps(body)), query["updateMask"].split(","))
            else:
                _merge_aliases(found, version, body["versionAliases"])
            return 200, json.loads(aiplatform_v1.Model.to_json(version))

    def _upload(self, place: str, request: aiplatform_v1.UploadModelRequest) -> tuple[int, Any]:
        assert request.parent_model or _IDENTIFIER.fullmatch(request.model_id), request.model_id
        name = request.parent_model or f"{place}/{request.model_id}"
        numbers = [int(one.version_id) for one in self.versions if one.name == name]
        if numbers and request.model_id:
            return 409, {"error": "already exists"}
        model = aiplatform_v1.Model(request.model)
        # The number of a version that was deleted is not given to another one.
        self.highest[name] = self.highest.get(name, 0) + 1
        model.name, model.version_id = name, str(self.highest[name])
        if not numbers:
            model.version_aliases.append("default")
        self.versions.append(model)
        return 200, {"name": f"{place}/operations/1", "done": True}


def _update(version: aiplatform_v1.Model, told: aiplatform_v1.Model, fields: list[str]) -> None:
    assert set(fields) <= {"labels", "versionDescription"}, "of a version, nothing else can be changed"
    if "labels" in fields:
        assert all(re.fullmatch(r"[a-z0-9_-]{0,63}", value) for value in told.labels.values())
        version.labels = dict(told.labels)
    if "versionDescription" in fields:
        version.version_description = told.version_description


def _merge_aliases(found: list[aiplatform_v1.Model], version: aiplatform_v1.Model, aliases: list[str]) -> None:
    for alias in aliases:
        assert _ALIAS.fullmatch(alias), alias
        for one in [version] if alias.startswith("-") else found:
            if alias.removeprefix("-") in one.version_aliases:
                one.version_aliases.remove(alias.removeprefix("-"))
        if not alias.startswith("-"):
            version.version_aliases.append(alias)
