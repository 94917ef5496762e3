"""Other registries that are told of a model: MLflow, Kubeflow's and Vertex AI's, behind one small interface.

The registry of files decides what a version is and who is the champion; others are told where it lies. Telling is
idempotent: look up, then complete what is missing, so that a stopped or doubled attempt leaves one version. It
converges: whoever tells looks at the index again afterwards, so that the last of many leaves what the index says.
"""

import random
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from components import storage
from components.failures import TransientError, UserError
from components.register.announcement import ModelNews, news_of
from components.register.json_service import RefusedError
from components.register.kubeflow_registry import KubeflowRegistry
from components.register.mlflow_registry import MlflowRegistry
from components.register.registry import ModelRegistry
from components.register.vertex_registry import VertexRegistry

_ROUNDS = 30
"""More changes of the index than this, each while the one before was told, are no coincidence."""

_TRIES = 6
"""Of a round. Who is told of one version by two at once may refuse one of them: MLflow's database does."""

_SERVED_EXPORT = "saved_model"


class Listener(Protocol):
    """Who can be told of a model."""

    def bring_in_line(self, model: ModelNews) -> dict[str, str]:
        """Make sure that the wanted versions are known there, once and completely, and every known one as it is told.

        An alias of ours names there what it names here, and nothing where it names nothing here.

        Returns:
            Name there by version, of each that is known there.

        Raises:
            RefusedError: When the registry says no to what it should know, which may pass.
            UserError: When it does, and it will not.
            TransientError: When it does not answer.
        """


class OtherRegistry(Listener, Protocol):
    """A registry that can be told of a model, and looked at before there is one."""

    def look(self) -> None:
        """Check that the registry answers, and lets us in.

        Raises:
            RefusedError: When it says no.
            UserError: When it does not let us in, or is no such registry.
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


def check_other_registries(targets: Sequence[str], registry_uri: str, exports: Sequence[str]) -> None:
    """Check that others can be told of what will be registered.

    Args:
        targets: What ``other_registry`` takes.
        registry_uri: Where versions will lie.
        exports: What a bundle will hold besides ``model.keras``.

    Raises:
        UserError: When a target names no registry, or one that cannot take such a version.
    """
    for target in targets:
        other = other_registry(target)
        if isinstance(other, VertexRegistry) and _SERVED_EXPORT not in exports:
            raise UserError(
                f"other_registries names {target!r}, and Vertex AI serves SavedModels: add {_SERVED_EXPORT} to exports"
            )
        if isinstance(other, MlflowRegistry | VertexRegistry) and not storage.is_remote(registry_uri):
            raise UserError(
                f"other_registries names {target!r}, which takes no version that lies in the local folder "
                f"{registry_uri}: give a gs:// registry_uri, or leave it out"
            )


def announce(other: Listener, registry: ModelRegistry, versions: Collection[str]) -> dict[str, str]:
    """Bring another registry in line with a model's index, and in it make some versions known.

    The index may change meanwhile, and whoever changed it tells the other registry too. Each of them looks at the
    index after it has told, and tells again what it missed: the last one to write leaves what the index says.

    Args:
        other: The other registry.
        registry: Of the model.
        versions: That must be known there, besides those with an alias.

    Returns:
        Name there by version, of each that is known there.

    Raises:
        UserError: When the other registry refuses.
        TransientError: When it does not answer, or the index keeps changing.
    """
    index = registry.read_index()
    for _ in range(_ROUNDS):
        names = _round(other, news_of(index, versions, registry.bundle_uri))
        told, index = index, registry.read_index()
        if index == told:
            return names
    raise TransientError(f"the index of {registry.model_name} changes while it is told: announce it again later")


def _round(other: Listener, model: ModelNews) -> dict[str, str]:
    for attempt in range(_TRIES - 1):
        try:
            return other.bring_in_line(model)
        except RefusedError:
            time.sleep(random.uniform(0.0, 0.1 * 2**attempt))  # noqa: S311 - no secret
    try:
        return other.bring_in_line(model)
    except RefusedError as error:
        raise UserError(
            f"{type(other).__name__} refuses what is registered here of {model.name}: {error}; check the address and "
            "its release, then announce it again"
        ) from error
