"""Before a run on a cluster: can it work? Each check says that it can, or what to fix.

Checks are independent and run side by side, with limits of seconds: a person is waiting. They look with the caller's
own eyes, from the caller's machine; what only the cluster can see is named as such.
"""

import contextlib
import functools
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from components import __version__, images, storage
from components.classifier.weights_source import (
    IMAGENET,
    IMAGENET_ADDRESS,
    IMAGENET_FILE,
    RANDOM,
    check_weights,
    check_weights_file,
)
from components.clean.earlier_findings import find_earlier_findings
from components.failures import TransientError, UserError
from components.ingest.source import find_source, require_fingerprint
from components.launch import argo_retries, cluster_apis
from components.launch.accelerators import find_accelerator
from components.launch.cluster_reach import (
    CheckpointPlace,
    choose_checkpoints,
    in_volume,
    require_lasting_checkpoints,
    require_lasting_registry,
    require_readable_earlier_runs,
    require_readable_source,
    require_readable_weights,
    unused_volume,
)
from components.launch.gcs_emulator import HOST_VARIABLE
from components.launch.image_registry import LoginNeededError, find_image, parse_reference
from components.launch.placement import Placement, Target
from components.launch.preflight import check_floor_classes, check_values
from components.launch.submission import Destination, require_pipeline_root
from components.launch.web_answers import BUSY, NoAnswerError, ask
from components.register.json_service import RefusedError
from components.register.other_registries import other_registry
from components.register.promotion_gate import classes_with_floors
from components.register.registry import ModelRegistry

Verdict = Literal["ok", "note", "fix", "later", "unchecked"]

_ANSWER_SECONDS = 8.0
_CHECK_SECONDS = 30.0
# Listing a folder of a million photos takes a thousand requests.
_SOURCE_SECONDS = 60.0
_LONG_LISTING = (
    "a folder of very many files takes longer to list: a run can use it, but starts slowly; a ZIP file does not"
)
_SLOW_NETWORK = "try again, and see whether the network works"
_PLATFORM = "linux/amd64"
_WORDS: Mapping[Verdict, str] = {"ok": "OK", "note": "NOTE", "fix": "FIX", "later": "LATER", "unchecked": "NOTE"}


@dataclass(frozen=True)
class Checkup:
    """What one check found.

    Attributes:
        subject: What was looked at.
        verdict: ``ok``; ``note``: it works, but not as well as it could; ``fix``: the user must act; ``later``: trouble
            outside that may pass; ``unchecked``: cannot be seen from here.
        detail: What was found, and after ``;`` what to do.
    """

    subject: str
    verdict: Verdict
    detail: str


class UncheckedError(Exception):
    """What cannot be seen from here; the message says what to make sure of."""


class NoteError(Exception):
    """What works, but should be known; the message says what to do about it."""


def examine(
    target: Target, placement: Placement, values: Mapping[str, Any], destination: Destination
) -> Iterator[Checkup]:
    """Check everything that a run needs, and yield each result as it is known, always in the same order.

    In the registry and the pipeline root an object of a name of its own is created, read and deleted; nothing else is
    changed.

    Args:
        target: Where the run shall go.
        placement: What the pipeline would be compiled with.
        values: Value of every parameter, defaults included; None for one that was not given and has no default.
        destination: Where and as whom to run.
    """
    _import_clients()
    checkpoints = choose_checkpoints(
        values["checkpoint_uri"],
        spot=placement.spot,
        pipeline_root=destination.pipeline_root,
        registry_uri=values["registry_uri"],
    )
    checks = [
        _Check("values", lambda: _values(values, placement.training_gpus)),
        _Check(
            "source", lambda: _source(values["source"], values["source_fingerprint"]), _SOURCE_SECONDS, _LONG_LISTING
        ),
        *(
            [_Check("class floors", lambda: _class_floors(values), _SOURCE_SECONDS, _LONG_LISTING)]
            if classes_with_floors(values["class_recall_floors"])
            else []
        ),
        _Check("registry", lambda: _registry(values["registry_uri"], values["model_name"])),
        _Check("pipeline root", lambda: _pipeline_root(target, destination.pipeline_root)),
        *([_Check("checkpoints", lambda: _checkpoints(checkpoints))] if checkpoints.uri else []),
        *([_Check("earlier run", lambda: _earlier_run(values))] if values["earlier_findings"] else []),
        _Check("data image", lambda: _image(images.DATA, placement)),
        _Check("training image", lambda: _image(images.TRAINING, placement)),
        _Check("GPU", lambda: _gpu(placement)),
        _Check("weights", lambda: _weights(values["weights"], values["backbone"], placement)),
        *(
            _Check(f"tells {target.partition(':')[0]}", functools.partial(_other_registry, target))
            for target in values["other_registries"]
        ),
        _Check("Vertex AI", lambda: cluster_apis.check_vertex(destination, _ANSWER_SECONDS))
        if target == "vertex"
        else _Check("Kubeflow", lambda: cluster_apis.check_kubeflow(destination, _ANSWER_SECONDS)),
        *([_Check("retries", lambda: _retries(destination))] if placement.spot else []),
        _Check("rights", lambda: _rights(target, destination.service_account)),
    ]
    for check in checks:
        check.start()
    for check in checks:
        yield check.result()
    for check in checks:
        check.raise_defect()


def print_and_judge(checkups: Iterable[Checkup]) -> int:
    """Print each result as it comes, then a summary, and return the exit code.

    Returns:
        0 when the run can start; 2 when the user must fix something; 75 when trouble outside may pass.
    """
    found: dict[Verdict, list[str]] = {"ok": [], "note": [], "fix": [], "later": [], "unchecked": []}
    for checkup in checkups:
        found[checkup.verdict].append(checkup.subject)
        what, *to_do = checkup.detail.split("; ")
        print(f"{_WORDS[checkup.verdict]:5}  {checkup.subject:14}  {what}")
        for part in to_do:
            print(f"{'':5}  {'':14}  {part}")
        sys.stdout.flush()
    checked = sum(map(len, found.values())) - len(found["unchecked"])
    summary = [f"{len(found['ok'])} of {checked} checks are fine"]
    if found["note"]:
        summary.append(f"worth a look: {', '.join(found['note'])}")
    if found["fix"]:
        need = "needs" if len(found["fix"]) == 1 else "need"
        summary.append(f"{len(found['fix'])} {need} a fix: {', '.join(found['fix'])}")
    if found["later"]:
        summary.append(f"try again later: {', '.join(found['later'])}")
    if found["unchecked"]:
        summary.append(f"not seen from here: {', '.join(found['unchecked'])}")
    print(f"\n{'; '.join(summary)}", flush=True)
    if found["fix"]:
        return UserError.exit_code
    return TransientError.exit_code if found["later"] else 0


class _Check:
    """One check in a thread of its own, which is left behind if it does not end in time."""

    def __init__(
        self,
        subject: str,
        look: Callable[[], str],
        limit_seconds: float | None = None,
        when_late: str = _SLOW_NETWORK,
    ) -> None:
        self._subject = subject
        self._look = look
        self._limit_seconds = limit_seconds or _CHECK_SECONDS
        self._when_late = when_late
        self._results: queue.SimpleQueue[Checkup] = queue.SimpleQueue()
        self._defect: Exception | None = None

    def start(self) -> None:
        self._started = time.monotonic()
        threading.Thread(target=self._run, daemon=True).start()

    def result(self) -> Checkup:
        remaining_seconds = self._started + self._limit_seconds - time.monotonic()
        try:
            return self._results.get(timeout=max(remaining_seconds, 0.0))
        except queue.Empty:
            sentence = f"no result within {self._limit_seconds:.0f} s; {self._when_late}"
            return Checkup(self._subject, "later", sentence)

    def raise_defect(self) -> None:
        if self._defect is not None:
            raise self._defect

    def _run(self) -> None:
        self._results.put(Checkup(self._subject, *self._outcome()))

    def _outcome(self) -> tuple[Verdict, str]:
        try:
            with storage.patience(_ANSWER_SECONDS):
                return "ok", self._look()
        except UserError as error:
            return "fix", str(error)
        except TransientError as error:
            return "later", str(error)
        except NoteError as error:
            return "note", str(error)
        except UncheckedError as error:
            return "unchecked", str(error)
        except Exception as error:
            # The other results are worth showing before the traceback.
            self._defect = error
            return "unchecked", f"this check has a defect: {type(error).__name__}: {error}"


def _import_clients() -> None:
    """Import what several checks import: threads that import the same modules at once can meet half of one."""
    import google.auth.transport.requests  # noqa: PLC0415
    import google.cloud.storage  # noqa: F401, PLC0415


# The checks ---------------------------------------------------------------------------------------------------------


def _values(values: Mapping[str, Any], training_gpus: int) -> str:
    missing = [name for name, value in values.items() if value is None]
    # The rest can be checked all the same.
    check_values({**values, "registry_uri": values["registry_uri"] or "gs://bucket"}, training_gpus)
    if missing:
        options = " and ".join(f"--{name.removesuffix('_uri')}" for name in missing)
        raise UserError(f"no value for {' and '.join(missing)}; give {options}, or put it in the run file")
    return f"all {len(values)} parameters have valid values"


def _source(uri: str | None, fingerprint: str) -> str:
    if not uri:
        raise UserError("no source; give --source gs://bucket/Photos.zip")
    require_readable_source(uri)
    source = find_source(uri)
    found = require_fingerprint(source, fingerprint)
    size = _size(sum(file.size_bytes for file in source.files))
    if source.zipped:
        return f"{uri}, {size}, generation {source.files[0].generation}"
    return f"{uri}, {len(source.files):,} files, {size}, fingerprint {found[:12]}"


def _class_floors(values: Mapping[str, Any]) -> str:
    if not values["source"]:
        raise UncheckedError("without a source nobody can tell whether it has the classes of class_recall_floors")
    check_floor_classes(values)
    return f"{', '.join(classes_with_floors(values['class_recall_floors']))}: classes of the source"


def _registry(uri: str | None, model_name: str) -> str:
    if not uri:
        raise UserError("no registry; give --registry gs://bucket/models")
    require_lasting_registry(uri)
    versions = len(ModelRegistry(uri, model_name).read_index().versions)
    _probe(uri)
    return f"{uri}, wrote, read and deleted a probe; it holds {versions} versions of {model_name}"


def _other_registry(target: str) -> str:
    """Look at a registry that the run shall tell of its version."""
    kind, _, address = target.partition(":")
    try:
        other_registry(target).look()
    except RefusedError as error:
        raise UserError(f"{target} refuses: {error}; check the address") from error
    except TransientError as error:
        if kind == "vertex":
            raise
        raise UncheckedError(
            f"{address} does not answer from here, as one inside the cluster would not; let the pods reach it: kubectl "
            "label namespace NAMESPACE image-classification/holds-registry=true"
        ) from error
    if kind == "vertex":
        project = address.partition("/")[0]
        return f"{target}, answers; the steps' service account needs roles/aiplatform.user on {project}"
    return f"{target}, answers from here"


def _pipeline_root(target: Target, uri: str | None) -> str:
    require_pipeline_root(target, uri)
    if not uri:
        raise UncheckedError("not given: artifacts go where the cluster is set up to put them")
    if not storage.is_remote(uri):
        raise UncheckedError(f"{uri} can be seen from the cluster only")
    _probe(uri)
    return f"{uri}, wrote, read and deleted a probe"


def _checkpoints(place: CheckpointPlace) -> str:
    require_lasting_checkpoints(place.uri)
    _probe(place.uri)
    found = f"{place.uri}, wrote, read and deleted a probe"
    if place.caution:
        raise NoteError(f"{found}; {place.caution}")
    return found


def _earlier_run(values: Mapping[str, Any]) -> str:
    require_readable_earlier_runs(values)
    return find_earlier_findings(values["earlier_findings"])


def _probe(uri: str) -> None:
    """Create an object of a name that nobody else has, read it, and delete it."""
    content = uuid.uuid4().hex
    probe = storage.join(uri, f"doctor-probe-{content}")
    try:
        storage.write_if_absent(probe, content.encode())
    except TransientError:
        # It may have been written although no answer said so.
        with contextlib.suppress(UserError, TransientError):
            storage.delete_file(probe)
        raise
    try:
        intact = storage.read_bytes(probe) == content.encode()
    finally:
        _remove(probe)
    if not intact:
        raise TransientError(f"{uri} gave back other bytes than were written; try again")


def _remove(probe: str) -> None:
    try:
        storage.delete_file(probe)
    except (UserError, TransientError) as error:
        # Registering replaces an index, and a step that tries again its outputs: both need the right to delete.
        raise type(error)(f"{error}; the probe is left behind: gcloud storage rm {probe}") from error


def _image(image: str, placement: Placement) -> str:
    name = placement.image_reference(image)
    if not placement.image_registry:
        if placement.target == "vertex":
            raise UserError(
                f"Vertex AI cannot pull {name}, which names no registry; give --image-registry, for example "
                "europe-docker.pkg.dev/my-project/images, and push to it: make push REGISTRY=..."
            )
        raise UncheckedError(
            f"{name} names no registry: every node must hold it already; give --image-registry, or on kind run: "
            f"kind load docker-image {name}"
        )
    try:
        found = find_image(parse_reference(name), _PLATFORM, _ANSWER_SECONDS)
    except LoginNeededError:
        raise UncheckedError(
            f"{name} is shown only to who logs in, or is not there; see for yourself: docker manifest inspect {name}, "
            "and give the steps' service account the imagePullSecret"
        ) from None
    if found is None:
        raise UserError(_missing(name, placement))
    if _PLATFORM not in found.platforms and (placement.accelerator or placement.target == "vertex"):
        raise UserError(
            f"{name} is built for {', '.join(found.platforms) or 'no platform'}, and the nodes are {_PLATFORM}; build "
            f"it for them: DOCKER_DEFAULT_PLATFORM={_PLATFORM} {_rebuild(placement)}"
        )
    version = found.labels.get(images.VERSION_LABEL, __version__)
    if version != __version__:
        raise UserError(
            f"{name} holds version {version} of the steps, and this is {__version__}; push this one: "
            f"{_rebuild(placement)}"
        )
    if image == images.TRAINING and placement.accelerator and found.labels.get(images.VARIANT_LABEL) == "cpu":
        raise UserError(
            f"{name} was built without CUDA, and training asks for a GPU; build it for one: "
            f"{_rebuild(placement, 'VARIANT=gpu')}"
        )
    return f"{name}, {found.digest[:19]}, {', '.join(found.platforms)}"


def _missing(name: str, placement: Placement) -> str:
    push = f"make push REGISTRY={placement.image_registry}"
    if "@" in name:
        return (
            f"{name} is not in its registry; check --image-digest; images that are pushed again have other digests, "
            f"which {push} prints"
        )
    built = f"{push}, after make images if it is not built yet"
    if placement.image_tag:
        return f"{name} is not in its registry; check --image-tag, or leave it out and push this version: {built}"
    return f"{name} is not in its registry; put it there: {built}"


def _rebuild(placement: Placement, variant: str = "") -> str:
    """Return the command that makes both images again and replaces those in the registry, weights included."""
    command = " ".join(["make images push", f"REGISTRY={placement.image_registry}", *([variant] if variant else [])])
    if "@" in placement.image_reference(images.TRAINING) or "@" in placement.image_reference(images.DATA):
        command += ", and give --image-digest as it prints them"
    labels = _training_labels(placement)
    weights = labels.get(images.WEIGHTS_LABEL)
    if not weights:
        return command
    sha256 = labels.get(images.WEIGHTS_SHA256_LABEL) or "..."
    return f"{command}; with the weights that are in the image now, WEIGHTS=/path/to/{weights} WEIGHTS_SHA256={sha256}"


def _gpu(placement: Placement) -> str:
    if placement.accelerator is None:
        return "none: trains on CPU"
    accelerator, count = find_accelerator(placement.accelerator.name, placement.gpu_count), placement.gpu_count
    machine = accelerator.machines[count]
    if placement.target == "vertex":
        return f"{count} x {accelerator.vertex_type} on {machine.machine_type}; your quota is not looked at"
    spot = " on spot nodes" if placement.spot else ""
    where = "" if placement.node_selector else f", on GKE {machine.machine_type}"
    labels = placement.gpu_node_labels
    labelled = " and ".join(f"{label}={value}" for label, value in labels.items())
    nodes = cluster_apis.labelled_nodes(labels, _ANSWER_SECONDS)
    return (
        f"{count} x {accelerator.name}{spot}{where}; steps go to nodes labelled {labelled} and tolerate the taint "
        f"nvidia.com/gpu{'; ' if nodes else ''}{nodes}"
    )


def _weights(weights: str, backbone: str, placement: Placement) -> str:
    found = _weights_found(weights, backbone, placement)
    if unused := unused_volume(weights, placement.weights_claim):
        raise NoteError(f"{found}; {unused}")
    return found


def _weights_found(weights: str, backbone: str, placement: Placement) -> str:
    if storage.is_remote(weights):
        return f"{weights}, {_size(check_weights_file(weights).size_bytes)}"
    if weights == RANDOM:
        return "random: an untrained backbone, good for trying out the pipeline only"
    if in_volume(weights, placement.weights_claim):
        raise UncheckedError(f"{weights} is for the cluster to find, in the volume {placement.weights_claim}")
    baked = _training_labels(placement).get(images.WEIGHTS_LABEL, "")
    if weights == IMAGENET:
        return _imagenet(backbone, baked)
    if baked and weights == f"{images.BAKED_WEIGHTS_FOLDER}/{baked}":
        return f"{weights}, in the training image"
    require_readable_weights(weights, placement.weights_claim)
    raise UncheckedError(f"{weights} is not a file of this machine; it must be in the training image")


def _imagenet(backbone: str, baked: str) -> str:
    check_weights(IMAGENET, backbone)
    if baked == IMAGENET_FILE:
        return f"imagenet, in the training image: {baked}"
    instead = (
        f"put them into the image: make images WEIGHTS={IMAGENET_FILE} WEIGHTS_SHA256=...; or upload them and "
        "give --set weights=gs://bucket/weights.h5"
    )
    try:
        answer = ask(IMAGENET_ADDRESS, method="HEAD", timeout_seconds=_ANSWER_SECONDS)
    except NoAnswerError as error:
        # The run would meet this hours from now: nothing to hope for.
        raise UserError(f"Keras' ImageNet weights cannot be downloaded from here: {error}; {instead}") from error
    if answer.status in BUSY:
        raise TransientError(f"{IMAGENET_ADDRESS} is busy ({answer.status}); try again later")
    if answer.status != 200:
        raise UserError(f"{IMAGENET_ADDRESS} answers {answer.status}; {instead}")
    length = answer.headers.get("Content-Length", "")
    size = f"{_size(int(length))} " if length.isdigit() else ""
    return f"imagenet, {size}from {IMAGENET_ADDRESS}; the training pods must reach it too, or {instead}"


def _training_labels(placement: Placement) -> Mapping[str, str]:
    """Return the labels of the training image, none when it is not there or nobody can tell."""
    if not placement.image_registry:
        return {}
    name = placement.image_reference(images.TRAINING)
    # What is wrong with the image is said where the image is checked.
    with contextlib.suppress(UserError, TransientError, LoginNeededError):
        found = find_image(parse_reference(name), _PLATFORM, _ANSWER_SECONDS)
        return found.labels if found else {}
    return {}


def _retries(destination: Destination) -> str:
    """Look at what Argo does when a spot node is taken away."""
    version = cluster_apis.kubeflow_version(destination, _ANSWER_SECONDS)
    old = argo_retries.is_older(version)
    patch = argo_retries.PATCH
    if old:
        patch += (
            f"; without its ttlStrategy, for Kubeflow Pipelines {version} is older than the 2.17 it was written for"
        )
    retried = argo_retries.retried_in_cluster(_ANSWER_SECONDS)
    if retried == "unknown":
        installed = "any failure is retried, wrong settings too" if old else "a node's shutdown is not retried"
        raise UncheckedError(f"kubectl cannot tell; as installed, {installed}; change that once: {patch}")
    cluster = cluster_apis.kubectl_context(_ANSWER_SECONDS) or "kubectl's cluster"
    if retried == "deleted pods":
        raise UserError(f"Argo in {cluster} does not retry a step whose node shuts down; change that: {patch}")
    if retried == "any failure":
        raise NoteError(f"Argo in {cluster} retries any failure, wrong settings too; make it choose: {patch}")
    if retried == "by an expression":
        raise NoteError(
            f"Argo in {cluster} retries by an expression of its own; see that it retries what a node's shutdown ends, "
            f"as that in {argo_retries.DEFAULTS_FILE} does"
        )
    if old:
        raise NoteError(
            f"Argo in {cluster} retries what a node's shutdown ends; whether it does in Kubeflow Pipelines {version} "
            "nobody has looked up: the expression was written for 2.17"
        )
    return f"Argo in {cluster} retries what a node's shutdown ends, and exit code 75"


def _rights(target: Target, service_account: str | None) -> str:
    runner = service_account or (
        "the project's Compute Engine service account" if target == "vertex" else "the service account of the namespace"
    )
    emulator = os.environ.get(HOST_VARIABLE)
    if emulator:
        raise UncheckedError(
            f"buckets were those of the emulator at {emulator}; without {HOST_VARIABLE} it is the cloud"
        )
    raise UncheckedError(f"all was seen with your own rights; the steps run as {runner}, which needs them too")


def _size(size_bytes: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes} bytes"
