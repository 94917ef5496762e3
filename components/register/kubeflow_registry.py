"""Kubeflow's Model Registry."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.failures import UserError
from components.register.announcement import ModelNews, VersionNews
from components.register.json_service import JsonService, RefusedError

_RELEASES = ("v1", "v1alpha3")
_PAGE_SIZE = "100"


class KubeflowRegistry:
    """Kubeflow's Model Registry, by its REST API v1, or v1alpha3 where the server is older than that.

    Model, version and artifact are three requests, and names are unique: what is there is kept, what lacks is added.
    It has no aliases: properties of the model name the version by alias, those of a version its aliases.

    Args:
        address: Of the service.
    """

    def __init__(self, address: str) -> None:
        self._releases = [
            JsonService(f"{address.rstrip('/')}/api/model_registry/{release}", "the Kubeflow Model Registry")
            for release in _RELEASES
        ]
        self._service = self._releases[0]

    def look(self) -> None:
        """See ``OtherRegistry``."""
        self._answering()

    def bring_in_line(self, model: ModelNews) -> dict[str, str]:
        """See ``OtherRegistry``."""
        self._service = self._answering()
        number = self._found_or_made("registered_model", "registered_models", {"name": model.name})
        told = {news.version: {**news.facts, "aliases": ", ".join(news.aliases)} for news in model.versions}
        for news in model.versions:
            if news.wanted:
                self._complete(model.name, number, news, told[news.version])
        known = [one for one in self._listed(f"registered_models/{number}/versions") if one["name"] in told]
        for one in known:
            self._tell(f"model_versions/{one['id']}", told[one["name"]])
        # A patch may add to what is there or replace it: what should not be named any more is said to be nothing.
        self._tell(f"registered_models/{number}", {**dict.fromkeys(model.free_aliases, ""), **model.holders})
        return {one["name"]: f"{model.name} {one['name']}" for one in known}

    def _answering(self) -> JsonService:
        newest, *older = self._releases
        for service in (newest, *older):
            try:
                service.ask("GET", "registered_models", None, pageSize="1")
            except RefusedError as error:
                if error.status != 404:
                    raise
            else:
                return service
        raise UserError(f"the Kubeflow Model Registry answers none of {', '.join(_RELEASES)}: check its address")

    def _complete(self, name: str, model: str, news: VersionNews, properties: Mapping[str, str]) -> None:
        """Make sure that a version and its artifact are there."""
        body = {"name": news.version, "registeredModelId": model, "customProperties": _as_sent(properties)}
        version = self._found_or_made("model_version", "model_versions", body, parentResourceId=model)
        artifacts = self._listed(f"model_versions/{version}/artifacts")
        if any(artifact.get("uri") == news.uri for artifact in artifacts):
            return
        artifact = {"artifactType": "model-artifact", "uri": news.uri}
        try:
            # An earlier bundle of the version may be known.
            earlier = next((one["id"] for one in artifacts if one.get("name") == name), None)
            if earlier is not None:
                self._service.ask("PATCH", f"model_artifacts/{earlier}", artifact)
                return
            new = {"name": name, "modelFormatName": "tensorflow", "modelFormatVersion": "2"}
            self._service.ask("POST", f"model_versions/{version}/artifacts", artifact | new)
        except RefusedError as error:
            now = self._listed(f"model_versions/{version}/artifacts")
            if not any(artifact.get("uri") == news.uri for artifact in now):
                raise UserError(f"the Kubeflow Model Registry refuses {news.uri}: {error}") from error

    def _tell(self, what: str, properties: Mapping[str, str]) -> None:
        """Change properties that say something else; those that others set are sent along."""
        kept = self._service.ask("GET", what).get("customProperties") or {}
        changed = kept | _as_sent(properties)
        if changed != kept:
            self._service.ask("PATCH", what, {"customProperties": changed})

    def _found_or_made(self, one: str, many: str, body: dict[str, Any], **parent: str) -> str:
        """Return the identifier of what has the body's name, which somebody else may make at this very moment."""
        found = self._find(one, body["name"], parent)
        if found is None:
            try:
                return str(self._service.ask("POST", many, body)["id"])
            except RefusedError as error:
                found = self._find(one, body["name"], parent)
                if found is None:
                    raise UserError(f"the Kubeflow Model Registry refuses {body['name']}: {error}") from error
        return found

    def _find(self, one: str, name: str, parent: Mapping[str, str]) -> str | None:
        try:
            return str(self._service.ask("GET", one, None, name=name, **parent)["id"])
        except RefusedError as error:
            if error.status == 404:
                return None
            raise UserError(f"the Kubeflow Model Registry does not look for {name}: {error}") from error

    def _listed(self, what: str) -> Sequence[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page = ""
        while True:
            query = {"pageSize": _PAGE_SIZE} | ({"nextPageToken": page} if page else {})
            answer = self._service.ask("GET", what, None, **query)
            found += answer.get("items") or ()
            page = answer.get("nextPageToken", "")
            if not page:
                return found


def _as_sent(properties: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {
        name: {"metadataType": "MetadataStringValue", "string_value": value}
        for name, value in sorted(properties.items())
    }
