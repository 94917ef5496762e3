"""The Vertex AI Model Registry."""

import hashlib
import re
import time
from typing import Any

from components import storage
from components.failures import TransientError, UserError
from components.formats.model_bundle import read_manifest
from components.formats.trained_model import SAVED_MODEL_FOLDER
from components.register.announcement import VERSION_TAG, ModelNews, VersionNews
from components.register.json_service import JsonService, RefusedError

BUNDLE_LABEL = "bundle"
STATE_LABEL = "state"

_DEFAULT = "default"
_IN_USE = (400, 409, 412)  # FAILED_PRECONDITION is 400 over HTTP

_PAUSES_SECONDS = (0.5, 1, 2, 4, 8, 15, 15, 15, 30, 30, 60, 60)
"""Between looks at what takes Vertex AI a while: four minutes."""

# UploadModelRequest.model_id: at most 63 characters of [a-z0-9_-], the first no digit and no hyphen.
_LONGEST_IDENTIFIER = 63
_PLAIN_NAME = re.compile(rf"[a-z0-9_-]{{1,{_LONGEST_IDENTIFIER - 2}}}")
_NAME_DIGITS = 12

Version = dict[str, Any]
"""A version as Vertex AI describes it."""


def model_identifier(model_name: str) -> str:
    """Return a model's identifier in Vertex AI: always the same for a name, and another one for each name.

    A name of lowercase letters, digits, ``_`` and ``-`` is in it as it is. Of others, and of long ones, a digest tells
    apart what would look alike: ``Trees`` from ``trees``, ``a.b`` from ``a-b``.
    """
    if _PLAIN_NAME.fullmatch(model_name):
        return f"m-{model_name}"
    digest = hashlib.sha256(model_name.encode()).hexdigest()[:_NAME_DIGITS]
    readable = re.sub(r"[^a-z0-9_-]", "-", model_name.lower())
    # Another letter than above: no plain name can be taken for this one.
    return f"n-{readable[: _LONGEST_IDENTIFIER - len('n--') - _NAME_DIGITS]}-{digest}"


class VertexRegistry:
    """The Vertex AI Model Registry, by its REST API v1.

    Each upload makes a version, so versions are looked up by a label first; of several attempts that uploaded one at
    once the lowest number stays. Vertex numbers versions from 1 and wants the container that serves them. Another label
    holds their state; version aliases are those of the index, besides ``default``, which Vertex AI gives to the first.

    Args:
        address: ``project/region/container``, the container being the image that serves, for example
            ``my-project/europe-west4/europe-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest``.
        service: For another endpoint than Google's.
    """

    def __init__(self, address: str, service: JsonService | None = None) -> None:
        project, _, rest = address.partition("/")
        region, _, self._container = rest.partition("/")
        if not (project and region and self._container):
            raise UserError(f"other_registries names 'vertex:{address}': write vertex:project/region/serving-image")
        self._parent = f"projects/{project}/locations/{region}"
        self._service = service or JsonService(
            f"https://{region}-aiplatform.googleapis.com/v1", "Vertex AI", storage.access_token
        )

    def look(self) -> None:
        """See ``OtherRegistry``."""
        self._service.ask("GET", f"{self._parent}/models", None, pageSize="1")

    def bring_in_line(self, model: ModelNews) -> dict[str, str]:
        """See ``OtherRegistry``."""
        place = f"{self._parent}/models/{model_identifier(model.name)}"
        known = self._known(place)
        uploaded = []
        for news in model.versions:
            if news.wanted and not _holding(news, known):
                if _has_saved_model(news.uri):
                    self._upload(place, model.name, news)
                    uploaded.append(news)
                elif news.asked_for:
                    raise UserError(
                        f"Vertex AI serves SavedModels, and {news.uri} holds none: register the model with saved_model "
                        "among its exports"
                    )
        if uploaded:
            known = self._known(place)
        for news in uploaded:
            if not _holding(news, known):
                raise TransientError(f"Vertex AI does not list {news.version} of {model.name} yet: try again")
        numbers: dict[str, int] = {}
        replaced: dict[int, int] = {}
        for news in model.versions:
            if news.version in known:
                # An earlier bundle of the version may be known, too.
                lowest = min(_holding(news, known) or known[news.version])
                replaced |= dict.fromkeys(known[news.version].keys() - {lowest}, lowest)
                self._describe(f"{place}@{lowest}", news, known[news.version][lowest])
                numbers[news.version] = lowest
        self._move_aliases(place, model, numbers, replaced, known)
        for number in sorted(replaced):
            self._delete(place, number)
        return {version: f"{place}@{number}" for version, number in numbers.items()}

    def _upload(self, place: str, name: str, news: VersionNews) -> None:
        body: dict[str, Any] = {
            "model": {
                "displayName": name,
                "versionDescription": news.facts["gate"],
                "artifactUri": f"{news.uri}/{SAVED_MODEL_FOLDER}",
                "containerSpec": {"imageUri": self._container},
                "labels": _labels(news),
            }
        }
        to_model = {"parentModel": place} if self._listed(place) else {"modelId": place.rpartition("/")[2]}
        try:
            operation = self._service.ask("POST", f"{self._parent}/models:upload", body | to_model)
        except RefusedError as error:
            if error.status != 409:
                raise UserError(f"Vertex AI refuses {news.uri}: {error}") from error
            # Somebody else made the model just now: this is one more version of it.
            operation = self._answer("POST", f"{self._parent}/models:upload", body | {"parentModel": place})
        for pause in _PAUSES_SECONDS:
            if operation.get("done"):
                break
            time.sleep(pause)
            operation = self._answer("GET", operation["name"])
        else:
            raise TransientError(f"Vertex AI is still busy with {operation.get('name')}: try again later")
        if "error" in operation:
            raise UserError(f"Vertex AI refuses {news.uri}: {operation['error'].get('message')}")

    def _describe(self, place: str, news: VersionNews, known: Version) -> None:
        """Let a version's state and description be what the index says."""
        labels = {**known.get("labels", {}), STATE_LABEL: news.facts["state"]}
        description = news.facts["gate"]
        if known.get("labels", {}) != labels or known.get("versionDescription", "") != description:
            body = {"name": place, "labels": labels, "versionDescription": description}
            self._service.ask("PATCH", place, body, updateMask="labels,versionDescription")

    def _move_aliases(
        self,
        place: str,
        model: ModelNews,
        numbers: dict[str, int],
        replaced: dict[int, int],
        known: dict[str, dict[int, Version]],
    ) -> None:
        """Let each alias name what it names in the index, and nothing where it names nothing."""
        now = {
            alias: number
            for versions in known.values()
            for number, version in versions.items()
            for alias in version.get("versionAliases", ())
        }
        changes: dict[int, list[str]] = {}
        for alias, version in model.holders.items():
            if version in numbers and now.get(alias) != numbers[version]:
                # What gets an alias takes it from whatever had it.
                changes.setdefault(numbers[version], []).append(alias)
        if (default := now.get(_DEFAULT)) in replaced:
            # What has it cannot be deleted.
            changes.setdefault(replaced[default], []).append(_DEFAULT)
        unnamed = [alias for alias, version in model.holders.items() if version not in numbers]
        for alias in (*model.free_aliases, *unnamed):
            if alias in now:
                changes.setdefault(now[alias], []).append(f"-{alias}")
        for number, aliases in sorted(changes.items()):
            self._service.ask("POST", f"{place}@{number}:mergeVersionAliases", {"versionAliases": aliases})

    def _known(self, place: str) -> dict[str, dict[int, Version]]:
        """Return what has a label of ours: by version, by number."""
        known: dict[str, dict[int, Version]] = {}
        for one in self._listed(place):
            if version := one.get("labels", {}).get(VERSION_TAG):
                known.setdefault(version, {})[int(one["versionId"])] = one
        return known

    def _listed(self, place: str) -> list[Version]:
        versions: list[Version] = []
        page = ""
        while True:
            try:
                query = {"pageToken": page} if page else {}
                answer = self._service.ask("GET", f"{place}:listVersions", None, **query)
            except RefusedError as error:
                if error.status == 404:
                    return []
                raise UserError(f"Vertex AI does not list {place}: {error}") from error
            versions += answer.get("models", ())
            page = answer.get("nextPageToken", "")
            if not page:
                return versions

    def _delete(self, place: str, number: int) -> None:
        try:
            self._service.ask("DELETE", f"{place}@{number}:deleteVersion")
        except RefusedError as error:
            if error.status in _IN_USE:
                # What is registered here is known there all the same, and who serves the earlier bundle goes on.
                print(
                    f"register: Vertex AI keeps {place}@{number}, of an earlier bundle: {error}; undeploy it",
                    flush=True,
                )
            elif error.status != 404:
                raise UserError(f"Vertex AI does not delete the doubled version {place}@{number}: {error}") from error

    def _answer(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            return self._service.ask(method, path, body)
        except RefusedError as error:
            raise UserError(f"Vertex AI refuses {path}: {error}") from error


def _labels(news: VersionNews) -> dict[str, str]:
    return {VERSION_TAG: news.version, BUNDLE_LABEL: _bundle(news), STATE_LABEL: news.facts["state"]}


def _bundle(news: VersionNews) -> str:
    """Return the last part of a bundle's address, a digest: a label holds no address."""
    return news.uri.rpartition("/")[2]


def _holding(news: VersionNews, known: dict[str, dict[int, Version]]) -> list[int]:
    """Return the numbers of a version that hold the bundle it has now."""
    versions = known.get(news.version, {})
    return [number for number, one in versions.items() if one["labels"].get(BUNDLE_LABEL) == _bundle(news)]


def _has_saved_model(uri: str) -> bool:
    manifest = read_manifest(uri)
    return manifest is not None and any(file.path.startswith(f"{SAVED_MODEL_FOLDER}/") for file in manifest.files)
