"""MLflow's model registry."""

from collections.abc import Mapping
from typing import NamedTuple

from components.failures import UserError
from components.register.announcement import VERSION_TAG, ModelNews, VersionNews
from components.register.json_service import JsonService, RefusedError


class _Known(NamedTuple):
    """A version as MLflow knows it."""

    source: str
    tags: Mapping[str, str]


_Numbered = dict[str, dict[int, _Known]]
"""By our version and MLflow's number."""


class MlflowRegistry:
    """MLflow's model registry, by its REST API 2.0.

    MLflow numbers versions; a tag holds ours. Of several attempts that created a version at once the lowest number
    stays, which each of them comes to by itself.

    Args:
        address: Of the tracking server.
    """

    def __init__(self, address: str) -> None:
        self._service = JsonService(f"{address.rstrip('/')}/api/2.0/mlflow", "MLflow")

    def look(self) -> None:
        """See ``OtherRegistry``."""
        self._service.ask("GET", "registered-models/search", None, max_results="1")

    def bring_in_line(self, model: ModelNews) -> dict[str, str]:
        """See ``OtherRegistry``."""
        name = model.name
        try:
            self._service.ask("POST", "registered-models/create", {"name": name})
        except RefusedError as error:
            if "RESOURCE_ALREADY_EXISTS" not in error.answer:
                raise UserError(f"MLflow refuses the model {name}: {error}") from error
        known = self._known(name)
        missing = [news for news in model.versions if news.wanted and not _holding(news, known)]
        for news in missing:
            self._create(name, news)
        if missing:
            known = self._known(name)
        numbers = {}
        for news in model.versions:
            if news.version in known:
                # An earlier bundle of the version may be known, too.
                lowest = min(_holding(news, known) or known[news.version])
                for number in known[news.version].keys() - {lowest}:
                    self._forget("model-versions/delete", {"name": name, "version": str(number)})
                self._tell_facts(name, lowest, news.facts, known[news.version][lowest].tags)
                numbers[news.version] = lowest
        self._move_aliases(model, numbers)
        return {version: f"{name} version {number}" for version, number in numbers.items()}

    def _create(self, name: str, news: VersionNews) -> None:
        body = {"name": name, "source": news.uri, "tags": [{"key": VERSION_TAG, "value": news.version}]}
        try:
            self._service.ask("POST", "model-versions/create", body)
        except RefusedError as error:
            raise UserError(
                f"MLflow refuses {news.uri}: {error}; it takes a gs:// registry_uri, and a local one not at all"
            ) from error

    def _tell_facts(self, name: str, number: int, facts: Mapping[str, str], known: Mapping[str, str]) -> None:
        for key, value in facts.items():
            if known.get(key) != value:
                tag = {"name": name, "version": str(number), "key": key, "value": value}
                self._service.ask("POST", "model-versions/set-tag", tag)

    def _move_aliases(self, model: ModelNews, numbers: Mapping[str, int]) -> None:
        """Let each alias name what it names in the index, and nothing where it names nothing."""
        told = self._service.ask("GET", "registered-models/get", None, name=model.name)["registered_model"]
        now = {one["alias"]: int(one["version"]) for one in told.get("aliases", ())}
        for alias, version in model.holders.items():
            if now.get(alias) != numbers[version]:
                body = {"name": model.name, "alias": alias, "version": str(numbers[version])}
                self._service.ask("POST", "registered-models/alias", body)
        for alias in model.free_aliases:
            if alias in now:
                self._forget("registered-models/alias", {"name": model.name, "alias": alias})

    def _known(self, name: str) -> _Numbered:
        known: _Numbered = {}
        page = ""
        while True:
            query = {"filter": f"name='{name}'", "max_results": "200"} | ({"page_token": page} if page else {})
            answer = self._service.ask("GET", "model-versions/search", None, **query)
            for one in answer.get("model_versions", ()):
                tags = {tag["key"]: tag.get("value", "") for tag in one.get("tags", ())}
                if VERSION_TAG in tags:
                    numbered = known.setdefault(tags[VERSION_TAG], {})
                    numbered[int(one["version"])] = _Known(one.get("source", ""), tags)
            page = answer.get("next_page_token", "")
            if not page:
                return known

    def _forget(self, what: str, body: dict[str, str]) -> None:
        try:
            self._service.ask("DELETE", what, body)
        except RefusedError as error:
            # Somebody else was faster.
            if error.status != 404 and "RESOURCE_DOES_NOT_EXIST" not in error.answer:
                raise UserError(f"MLflow does not delete {body}: {error}") from error


def _holding(news: VersionNews, known: _Numbered) -> list[int]:
    """Return the numbers of a version that name the bundle it has now."""
    return [number for number, one in known.get(news.version, {}).items() if one.source == news.uri]
