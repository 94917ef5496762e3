"""What other registries are told: which versions a model has, and which of them each alias names."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

from components.register.version_index import ALIASES, Index, VersionRecord

VERSION_TAG = "image_classification_version"
"""Names our version in a registry that numbers versions itself."""


@dataclasses.dataclass(frozen=True)
class VersionNews:
    """What another registry is told of a version.

    Attributes:
        version: Identity of the version.
        uri: Of its bundle.
        aliases: Those that name it, sorted; others may not.
        facts: What else is worth knowing, as text by name.
        wanted: Whether it must be known there; one that is not is brought up to date where it is known already.
        asked_for: Whether somebody asked that it be known there, and not its alias alone.
    """

    version: str
    uri: str
    aliases: Sequence[str]
    facts: Mapping[str, str]
    wanted: bool
    asked_for: bool = False


@dataclasses.dataclass(frozen=True)
class ModelNews:
    """What another registry is told of a model: all that the index says.

    Attributes:
        name: Of the model.
        versions: All of them, in the order they were first registered.
    """

    name: str
    versions: Sequence[VersionNews]

    @property
    def holders(self) -> dict[str, str]:
        """Version by alias."""
        return {alias: news.version for news in self.versions for alias in news.aliases}

    @property
    def free_aliases(self) -> list[str]:
        """Aliases that name no version."""
        return [alias for alias in ALIASES if alias not in self.holders]


def news_of(index: Index, asked_for: Collection[str], bundle_uri: Callable[[VersionRecord], str]) -> ModelNews:
    """Return what to tell of a model: every version, of which those asked for and those with an alias must be known.

    Args:
        index: Of the model.
        asked_for: Versions.
        bundle_uri: Returns where a version's bundle lies.
    """
    versions = []
    for record in index.versions:
        aliases, asked = index.aliases_of(record), record.version in asked_for
        uri = bundle_uri(record)
        facts = {
            "accuracy": f"{record.accuracy:.4f}",
            "bundle": uri,
            "created": record.created,
            "dataset_digest": record.dataset_digest,
            "gate": record.gate_reason,
            "pipeline_run": record.run,
            "state": record.state,
        }
        versions.append(VersionNews(record.version, uri, aliases, facts, bool(aliases) or asked, asked))
    return ModelNews(index.model_name, versions)
