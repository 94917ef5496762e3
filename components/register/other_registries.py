"""Other registries that are told of a version: MLflow, Kubeflow's and Vertex AI's, behind one small interface.

The registry of files decides what a version is and who is the champion; others are told where it lies. Telling is
idempotent: look up, then complete what is missing, so that a stopped or doubled attempt leaves one version.
"""

import dataclasses
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from components import storage
from components.failures import TransientError, UserError
from components.formats.trained_model import SAVED_MODEL_FOLDER
from components.register.json_service import JsonService, RefusedError
from components.register.version_index import Index, VersionRecord

VERSION_TAG = "image_classification_version"
"""Names our version in a registry that numbers versions itself."""

_PAUSES_SECONDS = (0.5, 1, 2, 4, 8, 15, 15, 15, 30, 30, 60, 60)
"""Between looks at what takes Vertex AI a while: four minutes."""


@dataclasses.dataclass(frozen=True)
class Announcement:
    """What another registry is told.

    Attributes:
        model_name: Name of the model.
        version: Identity of the version.
        uri: Of its bundle.
        aliases: Those that name it.
        facts: What else is worth knowing, as text by name.
    """

    model_name: str
    version: str
    uri: str
    aliases: Sequence[str]
    facts: Mapping[str, str]


def announcement_of(index: Index, record: VersionRecord, uri: str) -> Announcement:
    """Return what to tell of a listed version, whose bundle lies at ``uri``."""
    facts = {
        "accuracy": f"{record.accuracy:.4f}",
        "created": record.created,
        "dataset_digest": record.dataset_digest,
        "gate": record.gate_reason,
        "pipeline_run": record.run,
        "state": "accepted" if record.gate_passed else "rejected",
    }
    return Announcement(index.model_name, record.version, uri, index.aliases_of(record), facts)


def tell(other: "OtherRegistry", announcement: Announcement) -> str:
    """Make sure that another registry knows a version; return its name there.

    Raises:
        UserError: When the registry refuses.
        TransientError: When it does not answer.
    """
    try:
        return other.announce(announcement)
    except RefusedError as error:
        raise UserError(
            f"{type(other).__name__} refuses version {announcement.version}, which is registered here: {error}; check "
            "the address and its release, then announce it again"
        ) from error


class OtherRegistry(Protocol):
    """A registry that can be told of a version."""

    def announce(self, announcement: Announcement) -> str:
        """Make sure that the version is known there, once and completely; return its name there.

        Raises:
            RefusedError: When the registry says no to what it should know.
            UserError: When it does, and why is known.
            TransientError: When it does not answer.
        """


def other_registry(target: str) -> OtherRegistry:
    """Return the registry that a target such as ``mlflow:http://mlflow:5000`` names.

    Raises:
        UserError: When it names none.
    """
    kind, _, address = target.partition(":")
    known: dict[str, Callable[[str], OtherRegistry]] = {
        "mlflow": MlflowRegistry,
        "kubeflow": KubeflowRegistry,
        "vertex": VertexRegistry,
    }
    if kind not in known:
        raise UserError(
            f"other_registries names {target!r}: write mlflow:http://host:port, kubeflow:http://host:port or "
            "vertex:project/region/serving-image"
        )
    return known[kind](address)


class MlflowRegistry:
    """MLflow's model registry, by its REST API 2.0.

    MLflow numbers versions; a tag holds ours. Of several attempts that created a version at once the lowest number
    stays, which each of them comes to by itself.

    Args:
        address: Of the tracking server.
    """

    def __init__(self, address: str) -> None:
        self._service = JsonService(f"{address.rstrip('/')}/api/2.0/mlflow", "MLflow")

    def announce(self, announcement: Announcement) -> str:
        """See ``OtherRegistry``."""
        name = announcement.model_name
        try:
            self._service.ask("POST", "registered-models/create", {"name": name})
        except RefusedError as error:
            if "RESOURCE_ALREADY_EXISTS" not in error.answer:
                raise UserError(f"MLflow refuses the model {name}: {error}") from error
        if not self._numbers(announcement):
            self._create(announcement)
        lowest, *doubled = self._numbers(announcement)
        for number in doubled:
            self._delete(name, number)
        for key, value in announcement.facts.items():
            tag = {"name": name, "version": str(lowest), "key": key, "value": value}
            self._service.ask("POST", "model-versions/set-tag", tag)
        for alias in announcement.aliases:
            self._service.ask("POST", "registered-models/alias", {"name": name, "alias": alias, "version": str(lowest)})
        return f"{name} version {lowest}"

    def _create(self, announcement: Announcement) -> None:
        tags = [{"key": VERSION_TAG, "value": announcement.version}]
        body = {"name": announcement.model_name, "source": announcement.uri, "tags": tags}
        try:
            self._service.ask("POST", "model-versions/create", body)
        except RefusedError as error:
            raise UserError(
                f"MLflow refuses {announcement.uri}: {error}; it takes a gs:// registry_uri, and a local one not at all"
            ) from error

    def _numbers(self, announcement: Announcement) -> list[int]:
        """Return the numbers of the version, the lowest first."""
        numbers: list[int] = []
        page = ""
        while True:
            query = {"filter": f"name='{announcement.model_name}'", "max_results": "200"} | (
                {"page_token": page} if page else {}
            )
            answer = self._service.ask("GET", "model-versions/search", None, **query)
            for version in answer.get("model_versions", ()):
                tags = {tag["key"]: tag.get("value") for tag in version.get("tags", ())}
                if tags.get(VERSION_TAG) == announcement.version:
                    numbers.append(int(version["version"]))
            page = answer.get("next_page_token", "")
            if not page:
                return sorted(numbers)

    def _delete(self, name: str, number: int) -> None:
        try:
            self._service.ask("DELETE", "model-versions/delete", {"name": name, "version": str(number)})
        except RefusedError as error:
            # Whoever made it has deleted it.
            if error.status != 404 and "RESOURCE_DOES_NOT_EXIST" not in error.answer:
                raise UserError(f"MLflow does not delete the doubled version {number} of {name}: {error}") from error


class KubeflowRegistry:
    """Kubeflow's Model Registry, by its REST API v1alpha3.

    Model, version and artifact are three requests, and names are unique: what is there is kept, what lacks is added.

    Args:
        address: Of the service.
    """

    def __init__(self, address: str) -> None:
        self._service = JsonService(f"{address.rstrip('/')}/api/model_registry/v1alpha3", "the Kubeflow Model Registry")

    def announce(self, announcement: Announcement) -> str:
        """See ``OtherRegistry``."""
        model = self._found_or_made("registered_model", "registered_models", {"name": announcement.model_name})
        version = self._found_or_made(
            "model_version",
            "model_versions",
            {
                "name": announcement.version,
                "registeredModelId": model,
                "customProperties": _properties(announcement.facts),
            },
            parentResourceId=model,
        )
        if not self._has_artifact(version, announcement.uri):
            artifact = {
                "artifactType": "model-artifact",
                "name": announcement.model_name,
                "uri": announcement.uri,
                "modelFormatName": "tensorflow",
                "modelFormatVersion": "2",
            }
            try:
                self._service.ask("POST", f"model_versions/{version}/artifacts", artifact)
            except RefusedError as error:
                if not self._has_artifact(version, announcement.uri):
                    raise UserError(f"the Kubeflow Model Registry refuses {announcement.uri}: {error}") from error
        if announcement.aliases:
            named = dict.fromkeys(announcement.aliases, announcement.version)
            try:
                # A patch may replace all properties: those that others set are sent along.
                kept = self._service.ask("GET", f"registered_models/{model}").get("customProperties") or {}
                changed = {"customProperties": kept | _properties(named)}
                self._service.ask("PATCH", f"registered_models/{model}", changed)
            except RefusedError as error:
                raise UserError(f"the Kubeflow Model Registry refuses the aliases: {error}") from error
        return f"{announcement.model_name} {announcement.version}"

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

    def _has_artifact(self, version: str, uri: str) -> bool:
        artifacts = self._service.ask("GET", f"model_versions/{version}/artifacts").get("items", ())
        return any(artifact.get("uri") == uri for artifact in artifacts)


def _properties(values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {
        name: {"metadataType": "MetadataStringValue", "string_value": value} for name, value in sorted(values.items())
    }


class VertexRegistry:
    """The Vertex AI Model Registry, by its REST API v1.

    Each upload makes a version, so versions are looked up by a label first; of several attempts that uploaded one at
    once the lowest number stays. Vertex numbers versions from 1 and wants the container that serves them.

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

    def announce(self, announcement: Announcement) -> str:
        """See ``OtherRegistry``."""
        # Identifiers: lowercase letters, digits and dashes, beginning with a letter.
        identifier = "m-" + re.sub(r"[^a-z0-9-]", "-", announcement.model_name.lower())
        model = f"{self._parent}/models/{identifier}"
        if not self._versions(model, announcement):
            self._upload(model, identifier, announcement)
        versions = self._versions(model, announcement)
        if not versions:
            raise TransientError(f"Vertex AI does not list {announcement.version} of {identifier} yet: try again")
        lowest, *doubled = sorted(versions)
        for number in doubled:
            self._delete(model, number)
        missing = [alias for alias in announcement.aliases if alias not in versions[lowest]]
        if missing:
            self._answer("POST", f"{model}@{lowest}:mergeVersionAliases", {"versionAliases": missing})
        return f"{model}@{lowest}"

    def _upload(self, model: str, identifier: str, announcement: Announcement) -> None:
        known = self._any_version(model)
        body: dict[str, Any] = {
            "model": {
                "displayName": announcement.model_name,
                "versionDescription": announcement.facts.get("gate", ""),
                "artifactUri": f"{announcement.uri}/{SAVED_MODEL_FOLDER}",
                "containerSpec": {"imageUri": self._container},
                "labels": {VERSION_TAG: announcement.version},
            }
        } | ({"parentModel": model} if known else {"modelId": identifier})
        try:
            operation = self._service.ask("POST", f"{self._parent}/models:upload", body)
        except RefusedError as error:
            if error.status != 409:
                raise UserError(f"Vertex AI refuses {announcement.uri}: {error}") from error
            # Somebody else made the model just now: this is one more version of it.
            operation = self._answer(
                "POST", f"{self._parent}/models:upload", {"model": body["model"], "parentModel": model}
            )
        for pause in _PAUSES_SECONDS:
            if operation.get("done"):
                break
            time.sleep(pause)
            operation = self._answer("GET", operation["name"])
        else:
            raise TransientError(f"Vertex AI is still busy with {operation.get('name')}: try again later")
        if "error" in operation:
            raise UserError(f"Vertex AI refuses {announcement.uri}: {operation['error'].get('message')}")

    def _any_version(self, model: str) -> bool:
        return bool(self._listed(model))

    def _versions(self, model: str, announcement: Announcement) -> dict[int, list[str]]:
        """Return the aliases of each number of the version."""
        return {
            int(one["versionId"]): list(one.get("versionAliases", ()))
            for one in self._listed(model)
            if one.get("labels", {}).get(VERSION_TAG) == announcement.version
        }

    def _listed(self, model: str) -> list[dict[str, Any]]:
        versions: list[dict[str, Any]] = []
        page = ""
        while True:
            try:
                query = {"pageToken": page} if page else {}
                answer = self._service.ask("GET", f"{model}:listVersions", None, **query)
            except RefusedError as error:
                if error.status == 404:
                    return []
                raise UserError(f"Vertex AI does not list {model}: {error}") from error
            versions += answer.get("models", ())
            page = answer.get("nextPageToken", "")
            if not page:
                return versions

    def _delete(self, model: str, number: int) -> None:
        try:
            self._service.ask("DELETE", f"{model}@{number}:deleteVersion")
        except RefusedError as error:
            if error.status != 404:
                raise UserError(f"Vertex AI does not delete the doubled version {model}@{number}: {error}") from error

    def _answer(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            return self._service.ask(method, path, body)
        except RefusedError as error:
            raise UserError(f"Vertex AI refuses {path}: {error}") from error
