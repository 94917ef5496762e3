"""What steps on a cluster can reach and what outlives their pods: what must be in Cloud Storage, and why."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from components import storage
from components.classifier.weights_source import WEIGHTS_IN_WORDS
from components.failures import UserError
from components.launch.placement import WEIGHTS_FOLDER


@dataclasses.dataclass(frozen=True)
class CheckpointPlace:
    """Where training steps keep their state.

    Attributes:
        uri: Value of ``checkpoint_uri``, empty: nowhere.
        chosen: Whether it was chosen for the user, who gave none.
        with_models: Whether it was chosen, for want of a better one, in the bucket that models are registered in.
    """

    uri: str
    chosen: bool = False
    with_models: bool = False

    @property
    def caution(self) -> str:
        """Return what to know of the place; empty when there is nothing."""
        if not self.with_models:
            return ""
        return (
            "this is the bucket of models, which usually keeps what is deleted, so old checkpoints are billed on; give "
            "--pipeline-root gs://another-bucket/runs, or --set checkpoint_uri=gs://another-bucket/checkpoints"
        )


def choose_checkpoints(
    given: str, *, spot: bool, pipeline_root: str | None, registry_uri: str | None
) -> CheckpointPlace:
    """Return where training steps keep their state: on spot nodes they go on where they were preempted.

    Args:
        given: ``checkpoint_uri`` as the user set it, empty: not at all.
        spot: Whether steps may be preempted.
        pipeline_root: Where artifacts of the run go, the best place after one that was given.
        registry_uri: Where models are registered, the last resort.
    """
    if given or not spot:
        return CheckpointPlace(given)
    places = [uri for uri in (pipeline_root, registry_uri) if uri and storage.is_remote(uri)]
    if not places:
        return CheckpointPlace("")
    bucket = places[0].removeprefix("gs://").partition("/")[0]
    return CheckpointPlace(f"gs://{bucket}/checkpoints", chosen=True, with_models=places[0] != pipeline_root)


def require_readable_source(uri: str) -> None:
    """Raise ``UserError`` unless steps on a cluster can read photos from there."""
    if not storage.is_remote(uri):
        raise UserError(f"a cluster cannot read {uri}; upload it and give --source gs://bucket/Photos.zip")


def require_readable_earlier_runs(values: Mapping[str, str]) -> None:
    """Raise ``UserError`` unless steps on a cluster can read what earlier runs left, where parameters name any."""
    for name in ("previous_decisions", "earlier_findings"):
        if values[name] and not storage.is_remote(values[name]):
            raise UserError(
                f"a cluster cannot read {values[name]}; upload it and give --set {name}=gs://bucket/earlier-run"
            )


def require_lasting_registry(uri: str) -> None:
    """Raise ``UserError`` unless a model registered there outlives the pod that registers it."""
    if not storage.is_remote(uri):
        raise UserError(f"a model registered in {uri} would be lost with its pod; give --registry gs://bucket/models")


def require_lasting_checkpoints(uri: str) -> None:
    """Raise ``UserError`` unless checkpoints outlive the pod that writes them; an empty ``uri`` means none."""
    if uri and not storage.is_remote(uri):
        raise UserError(
            f"checkpoints in {uri} would be lost with their pod; give --set checkpoint_uri=gs://bucket/checkpoints"
        )


def require_readable_weights(weights: str, weights_claim: str) -> None:
    """Raise ``UserError`` when a weights file is on this machine only.

    Args:
        weights: A word, a URI or a path.
        weights_claim: The volume that training steps see at WEIGHTS_FOLDER, empty: none.
    """
    if weights in WEIGHTS_IN_WORDS or storage.is_remote(weights) or in_volume(weights, weights_claim):
        return
    # An absolute path that is not there may be one inside an image of one's own.
    if not Path(weights).is_absolute() or Path(weights).exists():
        raise UserError(f"a cluster cannot read {weights}; upload it and give --set weights=gs://bucket/weights")


def in_volume(weights: str, weights_claim: str) -> bool:
    """Return whether weights are in the volume of a claim, which only the cluster sees."""
    return bool(weights_claim) and weights.startswith(f"{WEIGHTS_FOLDER}/")


def unused_volume(weights: str, weights_claim: str) -> str:
    """Return a warning when there is a volume of weights that no step would read; empty otherwise."""
    if not weights_claim or in_volume(weights, weights_claim):
        return ""
    return (
        f"weights is {weights}, so nothing reads the volume {weights_claim}; give --set weights={WEIGHTS_FOLDER}/FILE"
    )
