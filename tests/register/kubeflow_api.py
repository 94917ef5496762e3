"""A Kubeflow Model Registry on loopback: the part of its API that is used, as its OpenAPI documents describe it."""

import threading
from typing import Any


class KubeflowApi:
    """Models, versions and artifacts, by number.

    Attributes:
        kept: All of them.
        releases: Which releases of the API it serves.
        merges: Whether a patch of properties adds to those that are there; else it replaces them.
        page: How many it lists at a time.
        dies_after: So many changes; None never.
    """

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.releases = {"v1", "v1alpha3"}
        self.merges = False
        self.page = 2
        self.dies_after: int | None = None
        self.changes = 0
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        release, _, what = path.removeprefix("/api/model_registry/").partition("/")
        with self._lock:
            if release not in self.releases:
                return 404, {"code": "", "message": "404 page not found"}
            if method != "GET":
                self.changes += 1
                if self.dies_after is not None and self.changes > self.dies_after:
                    return 503, {"message": "going down"}
            return self._answer(method, what.split("/"), query, body)

    def _answer(  # noqa: PLR0911 - one for each request
        self, method: str, path: list[str], query: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, Any]:
        match method, path:
            case "GET", ["registered_models"]:
                return self._page(self.of_kind("registered_models"), query)
            case "GET", ["registered_model" | "model_version" as one]:
                found = self._named(f"{one}s", query["name"], query.get("parentResourceId", ""))
                return (200, found) if found else (404, {"code": "", "message": f"no {one} {query['name']}"})
            case "GET", [_, number, "versions"]:
                versions = [one for one in self.of_kind("model_versions") if one["registeredModelId"] == number]
                return self._page(versions, query)
            case "GET", [_, number, "artifacts"]:
                return self._page([one for one in self.kept.values() if one["kind"] == f"artifact of {number}"], query)
            case "GET", [_, number]:
                return 200, self.kept[number]
            case "PATCH", [_, number]:
                if self.merges and "customProperties" in body:
                    body["customProperties"] = self.kept[number].get("customProperties", {}) | body["customProperties"]
                self.kept[number] |= body
                return 200, self.kept[number]
            case "POST", [many]:
                return self._make(many, body)
            case "POST", ["model_versions", number, "artifacts"]:
                return self._make(f"artifact of {number}", body)
        raise AssertionError(f"{method} {path}")

    def _page(self, found: list[dict[str, Any]], query: dict[str, str]) -> tuple[int, Any]:
        first = int(query.get("nextPageToken", "0"))
        last = first + min(self.page, int(query["pageSize"]))
        return 200, {"items": found[first:last], "nextPageToken": str(last) if last < len(found) else ""}

    def _make(self, kind: str, body: dict[str, Any]) -> tuple[int, Any]:
        if self._named(kind, body["name"], body.get("registeredModelId", "")):
            return 409, {"code": "", "message": "already exists"}
        number = str(len(self.kept) + 1)
        self.kept[number] = body | {"id": number, "kind": kind}
        return 201, self.kept[number]

    def _named(self, kind: str, name: str, parent: str) -> dict[str, Any] | None:
        for one in self.kept.values():
            if (one["kind"], one["name"], one.get("registeredModelId", "")) == (kind, name, parent):
                return one
        return None

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.kept.values() if one["kind"].startswith(kind)]


def text(one: dict[str, Any]) -> dict[str, str]:
    """Return the properties of a model or version."""
    return {name: value["string_value"] for name, value in one.get("customProperties", {}).items()}
