"""The checks before a run on a cluster, against a bucket emulator, an image registry and APIs on loopback."""

import dataclasses
import importlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import Client

from components import __version__, images, storage
from components.classifier.weights_source import IMAGENET_ADDRESS, IMAGENET_FILE
from components.failures import TransientError, UserError
from components.ingest.source import fingerprint_source
from components.launch import argo_retries, doctor
from components.launch.accelerators import ACCELERATORS
from components.launch.command_line import main
from components.launch.doctor import Checkup, examine, print_and_judge
from components.launch.gcs_emulator import HOST_VARIABLE
from components.launch.parameters import pipeline_parameters, with_defaults
from components.launch.placement import Placement, Target
from components.launch.submission import Destination
from pipeline import image_classification
from tests.launch.image_registry_server import PROGRAM, RegistryServer, registry_server
from tests.launch.recorded_kubeflow_api import RecordedKubeflowApi
from tests.launch.recorded_vertex_api import RecordedVertexApi
from tests.register.kubeflow_api import KubeflowApi
from tests.register.told_registries import served
from tests.scripted_gcs import Answer, scripted_gcs, scripted_server

L4 = Placement(
    target="kubeflow",
    accelerator=ACCELERATORS["nvidia-l4"],
    gpu_count=1,
    spot=False,
    evaluate_on_gpu=False,
    node_selector={},
    image_registry="",
    image_tag="",
)
NOWHERE = Destination(
    host=None,
    namespace="kubeflow",
    project=None,
    region=None,
    api_endpoint=None,
    pipeline_root=None,
    service_account=None,
    experiment=None,
    labels={},
    caching=True,
    retries=0,
)
VERSION = {"org.opencontainers.image.version": __version__}
DATA, TRAINING = (name.partition(":")[0] for name in (images.DATA, images.TRAINING))
LITE0 = Path(__file__).resolve().parents[2] / "samples" / "efficientnet_lite0" / "imagenet_float16.npz"
Values = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    if PROGRAM is None:
        pytest.skip("docker-registry is not installed; install Debian's package of that name")
    with registry_server(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="module")
def values() -> Values:
    """A function that returns the value of every parameter, with those given instead of defaults."""
    parameters = pipeline_parameters(image_classification(L4))

    def complete(**given: Any) -> dict[str, Any]:
        return with_defaults(given, parameters)

    return complete


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No saved login or cluster of whoever runs the tests, and no download server."""
    kubectl_that(tmp_path, "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr(doctor, "IMAGENET_ADDRESS", "http://127.0.0.1:9/weights.h5")
    monkeypatch.setattr(doctor, "_ANSWER_SECONDS", 60.0)  # what answers does so, however busy the machine is
    monkeypatch.setattr(doctor, "_CHECK_SECONDS", 120.0)


def results(
    values: Mapping[str, Any],
    placement: Placement = L4,
    destination: Destination = NOWHERE,
    target: Target = "kubeflow",
) -> dict[str, Checkup]:
    return {checkup.subject: checkup for checkup in examine(target, placement, values, destination)}


def kubectl_that(folder: Path, does: str) -> None:
    program = folder / "kubectl"
    program.write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
    program.chmod(0o755)


def names_in(bucket: str) -> list[str]:
    return [file.uri.removeprefix(f"{bucket}/") for file in storage.list_files(bucket)]


# The whole ----------------------------------------------------------------------------------------------------------


def test_a_run_that_can_work_is_told_so(
    source: str,
    new_bucket: Callable[[], str],
    registry: RegistryServer,
    kubeflow: RecordedKubeflowApi,
    values: Values,
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry.push(f"good/{DATA}", __version__, "linux/amd64", VERSION)
    registry.push(
        f"good/{TRAINING}", __version__, "linux/amd64", {**VERSION, "image-classification.weights": IMAGENET_FILE}
    )
    models, runs = new_bucket(), new_bucket()
    placement = dataclasses.replace(L4, image_registry=f"{registry.host}/good")
    destination = dataclasses.replace(NOWHERE, host=kubeflow.url, pipeline_root=f"{runs}/root")
    wanted = values(source=source, registry_uri=f"{models}/registry")
    assert print_and_judge(examine("kubeflow", placement, wanted, destination)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"OK     source          {source}, 11 bytes, generation \d+", lines[1])
    assert [line.split()[0] for line in lines if line[:1].strip()][:9] == ["OK"] * 9
    assert lines[-1] == "9 of 9 checks are fine; not seen from here: rights"
    assert kubeflow.runs == []
    assert kubeflow.experiments == [], "nothing is started or made"


def test_the_command_line_asks_for_it(
    source: str,
    new_bucket: Callable[[], str],
    registry: RegistryServer,
    kubeflow: RecordedKubeflowApi,
    capsys: pytest.CaptureFixture[str],
) -> None:
    digests = [
        f"--image-digest={short}={registry.push(f'pinned/{name}', 'any', 'linux/amd64', VERSION)}"
        for short, name in (("data", DATA), ("training", TRAINING))
    ]
    options = ["--source", source, "--registry", f"{new_bucket()}/models", "--set", "weights=random"]
    options += ["--host", kubeflow.url, "--image-registry", f"{registry.host}/pinned", *digests]
    assert exit_code(["--doctor", *options]) == 0
    assert "8 of 8 checks are fine" in capsys.readouterr().out
    options.remove("--host")
    options.remove(kubeflow.url)
    assert exit_code(["--doctor", "--target", "vertex", *options]) == 2
    assert "Vertex AI needs --project, --region, --pipeline-root" in capsys.readouterr().out


def exit_code(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        main(image_classification, arguments)
    return ended.value.code


def test_each_check_finds_its_own_trouble(values: Values, gcs: str, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = values(source="photos.zip", registry_uri="models", image_size_px=-1, weights="weights.h5")
    placement = dataclasses.replace(L4, image_registry="127.0.0.1:9/images")
    destination = dataclasses.replace(NOWHERE, host="http://127.0.0.1:9", pipeline_root="runs")
    assert print_and_judge(examine("kubeflow", placement, wanted, destination)) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FIX    values          image_size_px is -1")
    fixes = "values, source, registry, pipeline root, data image, training image, weights, Kubeflow"
    assert lines[-1] == f"1 of 9 checks are fine; 8 need a fix: {fixes}; not seen from here: rights"


def test_trouble_that_may_pass_is_told_apart_by_the_exit_code() -> None:
    fine, later = Checkup("a", "ok", "x"), Checkup("b", "later", "x")
    assert print_and_judge([fine]) == 0
    assert print_and_judge([fine, later]) == TransientError.exit_code
    assert print_and_judge([later, Checkup("c", "fix", "x")]) == UserError.exit_code
    assert print_and_judge([Checkup("d", "unchecked", "x"), Checkup("e", "note", "x")]) == 0


def test_what_to_do_stands_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    print_and_judge([Checkup("source", "fix", "it is gone; upload it"), Checkup("GPU", "later", "busy; wait; or not")])
    assert capsys.readouterr().out.splitlines() == [
        "FIX    source          it is gone",
        "                       upload it",
        "LATER  GPU             busy",
        "                       wait",
        "                       or not",
        "",
        "0 of 2 checks are fine; 1 needs a fix: source; try again later: GPU",
    ]


def test_a_check_that_hangs_is_left_behind(values: Values, gcs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(doctor, "_gpu", lambda _: str(ended.wait(30)))
    monkeypatch.setattr(doctor, "_CHECK_SECONDS", 0.2)
    found = results(values())["GPU"]
    ended.set()
    assert found.verdict == "later"
    assert "no result within 0 s; try again" in found.detail


def test_a_defect_in_one_check_does_not_hide_the_others(
    values: Values, gcs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_gpu", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        print_and_judge(examine("kubeflow", L4, values(), NOWHERE))
    lines = capsys.readouterr().out.splitlines()
    assert (
        "NOTE   GPU             this check has a defect: ZeroDivisionError: integer division or modulo by zero" in lines
    )
    assert any(line.startswith("NOTE   rights") for line in lines)


# Values, source, places ---------------------------------------------------------------------------------------------


def test_values_that_are_missing_are_named(values: Values, gcs: str) -> None:
    found = results(values())
    assert found["values"].detail.startswith("no value for source and registry_uri; give --source and --registry")
    assert found["source"].detail == "no source; give --source gs://bucket/Photos.zip"
    assert found["registry"].detail == "no registry; give --registry gs://bucket/models"


def test_a_folder_is_counted(new_bucket: Callable[[], str], values: Values) -> None:
    bucket = new_bucket()
    for name in ("bird/a.jpg", "fish/b.jpg"):
        storage.write_if_absent(f"{bucket}/photos/{name}", b"12345")
    fingerprint = fingerprint_source(f"{bucket}/photos/")
    found = results(values(source=f"{bucket}/photos/"))["source"]
    assert found.verdict == "ok"
    assert found.detail == f"{bucket}/photos/, 2 files, 10 bytes, fingerprint {fingerprint[:12]}"


def test_a_source_that_is_not_there_or_not_the_pinned_one_is_refused(source: str, values: Values) -> None:
    missing = results(values(source=f"{source}.old"))["source"]
    assert missing.verdict == "fix"
    assert "does not exist or holds no files" in missing.detail
    changed = results(values(source=source, source_fingerprint="0" * 64))["source"]
    assert changed.verdict == "fix"
    assert "changed since this run was submitted" in changed.detail


def test_a_probe_leaves_a_place_as_it_was(new_bucket: Callable[[], str], values: Values) -> None:
    bucket = new_bucket()
    before = {name: name.encode() for name in ("models/animals/notes.txt", "models/doctor-probe", "runs/old")}
    for name, content in before.items():
        storage.write_if_absent(f"{bucket}/{name}", content)
    generations = {file.uri: file.generation for file in storage.list_files(bucket)}
    destination = dataclasses.replace(NOWHERE, pipeline_root=f"{bucket}/runs/")
    found = results(values(registry_uri=f"{bucket}/models"), destination=destination)
    assert found["registry"].verdict == "ok"
    assert found["registry"].detail.endswith("wrote, read and deleted a probe; it holds 0 versions of animals")
    assert found["pipeline root"].detail == f"{bucket}/runs/, wrote, read and deleted a probe"
    assert {file.uri: file.generation for file in storage.list_files(bucket)} == generations
    assert {name: storage.read_bytes(f"{bucket}/{name}") for name in before} == before


def test_a_damaged_registry_is_found_before_anything_is_trained(new_bucket: Callable[[], str], values: Values) -> None:
    bucket = new_bucket()
    storage.write_if_absent(f"{bucket}/models/animals/index.json", b"not JSON")
    found = results(values(registry_uri=f"{bucket}/models"))["registry"]
    assert found.verdict == "fix"
    assert names_in(bucket) == ["models/animals/index.json"]


def test_a_bucket_that_does_not_exist_is_to_be_made(gcs: str, values: Values) -> None:
    found = results(values(registry_uri="gs://no-such-bucket/models"))["registry"]
    assert found.verdict == "fix"
    assert "gcloud storage buckets create gs://no-such-bucket" in found.detail


def bucket_that(refuses: str) -> Callable[[str, str, Mapping[str, str]], Answer]:
    """An empty bucket that keeps what it is given and refuses one method."""
    kept: dict[str, str] = {}

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        if method == refuses:
            return Answer.refusal(403, f"you may not {method}")
        if method == "POST":
            kept["written"] = path
            return Answer.of({"name": "x", "size": "0", "generation": "7"})
        if method == "DELETE":
            return Answer(204)
        if "/o?" in path:
            return Answer.of({"items": []})
        return Answer.refusal(404, "none")

    return answer


def test_a_bucket_that_may_not_be_written_names_the_role(values: Values) -> None:
    destination = dataclasses.replace(NOWHERE, pipeline_root="gs://b/root")
    with scripted_gcs(bucket_that(refuses="POST")):
        found = results(values(registry_uri="gs://b/models"), destination=destination)
    for subject in ("registry", "pipeline root"):
        assert found[subject].verdict == "fix"
        assert re.search(
            "no permission to write gs://b/.*; grant roles/storage.objectUser on gs://b", found[subject].detail
        )


def test_a_probe_that_cannot_be_deleted_is_named(
    monkeypatch: pytest.MonkeyPatch, new_bucket: Callable[[], str], values: Values
) -> None:
    def refuse(uri: str) -> bool:
        raise UserError(f"no permission to delete {uri}; grant roles/storage.objectUser")

    bucket = new_bucket()
    monkeypatch.setattr(storage, "delete_file", refuse)
    found = results(values(registry_uri=f"{bucket}/models"))["registry"]
    assert found.verdict == "fix"
    [left] = names_in(bucket)
    assert found.detail.endswith(f"; the probe is left behind: gcloud storage rm {bucket}/{left}")


def test_an_outage_may_pass(values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_ANSWER_SECONDS", 0.2)
    destination = dataclasses.replace(NOWHERE, pipeline_root="gs://b/root")
    with scripted_gcs(lambda *_: Answer.refusal(503, "Backend error")):
        wanted = values(source="gs://b/Animals.zip", registry_uri="gs://b/models", weights="gs://b/weights.h5")
        found = results(wanted, destination=destination)
    for subject in ("source", "registry", "pipeline root", "weights"):
        assert found[subject].verdict == "later", found[subject]
        assert "try again later" in found[subject].detail


@pytest.mark.parametrize(
    ("target", "root", "verdict", "expected"),
    [
        ("kubeflow", None, "unchecked", "where the cluster is set up to put them"),
        ("kubeflow", "minio://mlpipeline/root", "unchecked", "can be seen from the cluster only"),
        ("kubeflow", "runs", "fix", "steps cannot keep artifacts in runs; give --pipeline-root a place in gs:// or"),
        ("vertex", None, "fix", "no pipeline root; give --pipeline-root gs://"),
        ("vertex", "s3://bucket/root", "fix", "steps cannot keep artifacts in s3://bucket/root"),
    ],
)
def test_a_pipeline_root_elsewhere(
    values: Values, gcs: str, target: Target, root: str | None, verdict: str, expected: str
) -> None:
    placement = dataclasses.replace(L4, target=target)
    found = results(values(), placement, dataclasses.replace(NOWHERE, pipeline_root=root), target)["pipeline root"]
    assert found.verdict == verdict
    assert expected in found.detail


def test_a_place_for_checkpoints_is_tried_when_there_is_one(new_bucket: Callable[[], str], values: Values) -> None:
    assert "checkpoints" not in results({**values(), "checkpoint_uri": ""})
    bucket = new_bucket()
    found = results({**values(), "checkpoint_uri": f"{bucket}/checkpoints"})["checkpoints"]
    assert found.detail == f"{bucket}/checkpoints, wrote, read and deleted a probe"
    assert names_in(bucket) == []
    assert results({**values(), "checkpoint_uri": "/tmp/x"})["checkpoints"].verdict == "fix"


def test_an_earlier_run_to_clean_by_is_looked_for(new_bucket: Callable[[], str], values: Values) -> None:
    assert "earlier run" not in results(values())
    bucket = new_bucket()
    found = results({**values(), "earlier_findings": f"{bucket}/run"})["earlier run"]
    assert (found.verdict, "earlier_findings has no" in found.detail) == ("fix", True)
    lying = f"{bucket}/run/evaluate/suspected/suspected_labels.parquet"
    storage.write_if_absent(lying, b"findings")
    assert results({**values(), "earlier_findings": f"{bucket}/run"})["earlier run"].detail == lying
    here = results({**values(), "earlier_findings": "runs/demo"})["earlier run"]
    assert here.detail.startswith("a cluster cannot read runs/demo; upload it and give --set earlier_findings=gs://")


def test_on_spot_nodes_the_place_that_a_submission_would_choose_is_tried(
    new_bucket: Callable[[], str], values: Values
) -> None:
    models, runs = new_bucket(), new_bucket()
    spot, wanted = dataclasses.replace(L4, spot=True), values(registry_uri=f"{models}/registry")
    beside_models = results(wanted, spot)["checkpoints"]
    assert beside_models.verdict == "note"
    assert beside_models.detail.startswith(
        f"{models}/checkpoints, wrote, read and deleted a probe; this is the bucket of"
    )
    beside_runs = results(wanted, spot, dataclasses.replace(NOWHERE, pipeline_root=f"{runs}/root"))["checkpoints"]
    assert (beside_runs.verdict, beside_runs.detail) == (
        "ok", f"{runs}/checkpoints, wrote, read and deleted a probe",
    )  # fmt: skip
    assert "checkpoints" not in results(values(), spot), "without a registry there is no place to choose"


# Retries ------------------------------------------------------------------------------------------------------------

ARGO_DEFAULTS = Path(__file__).resolve().parents[2] / argo_retries.DEFAULTS_FILE
STOCK = "spec: {templateDefaults: {retryStrategy: {limit: '2', retryPolicy: OnError}}}"
OWN = "spec: {templateDefaults: {retryStrategy: {limit: '2', expression: 'true'}}}"


def argo_is(folder: Path, workflow_defaults: str | None) -> None:
    config_map = {"data": {} if workflow_defaults is None else {"workflowDefaults": workflow_defaults}}
    (folder / "config-map.json").write_text(json.dumps(config_map), encoding="utf-8")
    kubectl_that(folder, f"[ $1 = config ] && echo gke_animals || cat {folder}/config-map.json")


def retries_with(values: Values, version: str) -> Checkup:
    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        return Answer.of({"tag_name": version} if path.endswith("/healthz") else {})

    with scripted_server(script) as url:
        destination = dataclasses.replace(NOWHERE, host=url)
        return results(values(), dataclasses.replace(L4, spot=True), destination)["retries"]


def test_the_defaults_of_this_project_retry_interruptions(values: Values, gcs: str, tmp_path: Path) -> None:
    argo_is(tmp_path, yaml.safe_load(ARGO_DEFAULTS.read_text(encoding="utf-8"))["data"]["workflowDefaults"])
    found = retries_with(values, "2.17.0")
    assert found.verdict == "ok"
    assert found.detail == "Argo in gke_animals retries what a node's shutdown ends, and exit code 75"
    older = retries_with(values, "2.16.1")
    assert older.verdict == "note"
    assert "whether it does in Kubeflow Pipelines 2.16.1 nobody has looked up" in older.detail


@pytest.mark.parametrize(
    ("workflow_defaults", "verdict", "expected"),
    [
        (STOCK, "fix", "Argo in gke_animals does not retry a step whose node shuts down; change that: kubectl patch "),
        (None, "note", "retries any failure, wrong settings too; make it choose: kubectl patch configmap "),
        (OWN, "note", "retries by an expression of its own; see that it retries what"),
        ("no: [table", "unchecked", "kubectl cannot tell"),
        ("spec: 5", "unchecked", "kubectl cannot tell"),
    ],
)
def test_other_defaults_are_told_apart(
    values: Values, gcs: str, tmp_path: Path, workflow_defaults: str | None, verdict: str, expected: str
) -> None:
    argo_is(tmp_path, workflow_defaults)
    found = retries_with(values, "2.17.0")
    assert found.verdict == verdict
    assert expected in found.detail


def test_without_kubectl_what_is_installed_is_said(values: Values, gcs: str) -> None:
    new, old = retries_with(values, "2.17.0"), retries_with(values, "2.5.0")
    assert new.verdict == old.verdict == "unchecked"
    assert new.detail == (
        f"kubectl cannot tell; as installed, a node's shutdown is not retried; change that once: {argo_retries.PATCH}"
    )
    assert "as installed, any failure is retried, wrong settings too; change that once: kubectl patch" in old.detail
    assert old.detail.endswith("; without its ttlStrategy, for Kubeflow Pipelines 2.5.0 is older than the 2.17 it was "
                               "written for")  # fmt: skip


def test_retries_are_looked_at_for_spot_nodes_only(values: Values, gcs: str) -> None:
    assert "retries" not in results(values())


# Images and GPUs ----------------------------------------------------------------------------------------------------


def test_images_without_a_registry(values: Values, gcs: str) -> None:
    on_nodes = results(values())["training image"]
    assert on_nodes.verdict == "unchecked"
    assert on_nodes.detail.endswith(f"kind load docker-image {images.TRAINING}")
    on_vertex = results(values(), dataclasses.replace(L4, target="vertex"), target="vertex")["data image"]
    assert on_vertex.verdict == "fix"
    assert "Vertex AI cannot pull" in on_vertex.detail


def test_images_that_are_not_what_the_run_needs(values: Values, gcs: str, registry: RegistryServer) -> None:
    registry.push(f"bad/{DATA}", __version__, "linux/arm64", VERSION)
    old = {"org.opencontainers.image.version": "0.0.1"}
    registry.push(f"bad/{TRAINING}", __version__, "linux/amd64", old)
    repository = f"{registry.host}/bad"
    push = f"make images push REGISTRY={repository}"
    found = results(values(), dataclasses.replace(L4, image_registry=repository))
    assert found["data image"].verdict == found["training image"].verdict == "fix"
    assert "is built for linux/arm64, and the nodes are linux/amd64" in found["data image"].detail
    assert found["data image"].detail.endswith(f"DOCKER_DEFAULT_PLATFORM=linux/amd64 {push}")
    expected = f"holds version 0.0.1 of the steps, and this is {__version__}; push this one: {push}"
    assert found["training image"].detail.endswith(expected)
    on_cpu = dataclasses.replace(L4, accelerator=None, gpu_count=0, image_registry=repository)
    assert results(values(), on_cpu)["data image"].verdict == "ok", "CPU nodes of a cluster may be arm64"


def test_an_image_without_cuda_is_not_for_gpu_steps(values: Values, gcs: str, registry: RegistryServer) -> None:
    registry.push(f"cpu/{TRAINING}", __version__, "linux/amd64", VERSION | {"image-classification.variant": "cpu"})
    on_gpu = dataclasses.replace(L4, image_registry=f"{registry.host}/cpu")
    assert results(values(), on_gpu)["training image"].detail.endswith("VARIANT=gpu")
    on_cpu = dataclasses.replace(on_gpu, accelerator=None, gpu_count=0)
    assert results(values(), on_cpu)["training image"].verdict == "ok"


def test_an_image_that_was_not_pushed_names_the_command(values: Values, gcs: str, registry: RegistryServer) -> None:
    placement = dataclasses.replace(L4, image_registry=f"{registry.host}/none")
    found = results(values(), placement)["data image"]
    assert found.verdict == "fix"
    push = f"make push REGISTRY={registry.host}/none"
    built = f"{push}, after make images if it is not built yet"
    assert found.detail.endswith(f"is not in its registry; put it there: {built}"), "a new build may lack the weights"
    tagged = results(values(), dataclasses.replace(placement, image_tag="nightly"))["data image"]
    assert f"{DATA}:nightly is not" in tagged.detail
    assert tagged.detail.endswith(f"check --image-tag, or leave it out and push this version: {built}")


def test_an_image_pinned_by_digest_is_looked_up_by_it(values: Values, gcs: str, registry: RegistryServer) -> None:
    digest = registry.push(f"pinned/{DATA}", "nightly", "linux/amd64", VERSION)
    placement = dataclasses.replace(L4, image_registry=f"{registry.host}/pinned", image_digests={images.DATA: digest})
    found = results(values(), placement)
    assert found["data image"].detail == f"{registry.host}/pinned/{DATA}@{digest}, {digest[:19]}, linux/amd64"
    assert found["training image"].verdict == "fix", "this one goes by its tag"
    other = dataclasses.replace(placement, image_digests={images.DATA: f"sha256:{'0' * 64}"})
    assert results(values(), other)["data image"].detail.endswith(
        "is not in its registry; check --image-digest; images that are pushed again have other digests, which make "
        f"push REGISTRY={registry.host}/pinned prints"
    )


def test_building_an_image_again_is_told_with_the_weights_that_were_in_it(
    values: Values, gcs: str, registry: RegistryServer
) -> None:
    old = {"org.opencontainers.image.version": "0.0.1"}
    weights = {"image-classification.weights": "mine.npz", "image-classification.weights.sha256": "5a" * 32}
    registry.push(f"old/{DATA}", __version__, "linux/amd64", old)
    registry.push(f"old/{TRAINING}", __version__, "linux/amd64", old | weights)
    repository = f"{registry.host}/old"
    found = results(values(), dataclasses.replace(L4, image_registry=repository))
    for subject in ("data image", "training image"):
        assert found[subject].detail.endswith(
            f"push this one: make images push REGISTRY={repository}; with the weights that are in the image now, "
            f"WEIGHTS=/path/to/mine.npz WEIGHTS_SHA256={'5a' * 32}"
        )


def test_an_image_behind_a_login_cannot_be_seen(values: Values, gcs: str) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="private"'}
    with scripted_server(lambda *_: Answer(401, b"", challenge)) as url:
        host = url.removeprefix("http://")
        found = results(values(), dataclasses.replace(L4, image_registry=f"{host}/team"))["data image"]
    assert found.verdict == "unchecked"
    assert f"docker manifest inspect {host}/team/{images.DATA}" in found.detail


def test_what_the_gpu_steps_ask_for_is_said(values: Values, gcs: str) -> None:
    assert "1 x nvidia-l4, on GKE g2-standard-12; " in results(values())["GPU"].detail
    assert "cloud.google.com/gke-accelerator=nvidia-l4" in results(values())["GPU"].detail
    elsewhere = dataclasses.replace(L4, node_selector={"nvidia.com/gpu.product": "NVIDIA-L4"}, spot=True)
    detail = results(values(), elsewhere)["GPU"].detail
    assert "on spot nodes" in detail
    assert "nvidia.com/gpu.product=NVIDIA-L4" in detail
    four = dataclasses.replace(L4, target="vertex", gpu_count=4)
    assert results(values(), four, target="vertex")["GPU"].detail.startswith("4 x NVIDIA_L4 on g2-standard-48; ")
    assert results(values(), dataclasses.replace(L4, accelerator=None))["GPU"].detail == "none: trains on CPU"
    three = results(values(), dataclasses.replace(L4, gpu_count=3))["GPU"]
    assert three.verdict == "fix"
    assert "no machine type offers 3 x nvidia-l4" in three.detail


@pytest.mark.parametrize(
    ("prints", "expected"),
    [
        ("node/a\nnode/b", "kubectl sees 2 such nodes in gke_animals now"),
        ("node/a", "kubectl sees 1 such node in gke_animals now"),
        ("", "kubectl sees no such node in gke_animals now: a node pool must be able to add one"),
    ],
)
def test_nodes_are_counted_where_kubectl_knows_the_cluster(
    values: Values, gcs: str, tmp_path: Path, prints: str, expected: str
) -> None:
    asked = tmp_path / "asked"
    kubectl_that(tmp_path, f"echo $* >> {asked}\n[ $1 = config ] && echo gke_animals || printf '{prints}'")
    found = results(values())["GPU"]
    assert found.verdict == "ok"
    assert found.detail.endswith(f"; {expected}")
    selector = "--selector cloud.google.com/gke-accelerator=nvidia-l4"
    assert asked.read_text().splitlines() == [f"get nodes {selector} --output name", "config current-context"]


# Weights ------------------------------------------------------------------------------------------------------------


def test_the_address_of_the_imagenet_weights_is_keras_own() -> None:
    keras = pytest.importorskip("keras")
    inception_v3 = importlib.import_module(keras.applications.InceptionV3.__module__)
    assert inception_v3.WEIGHTS_PATH_NO_TOP == IMAGENET_ADDRESS


def test_weights_in_a_bucket(new_bucket: Callable[[], str], values: Values) -> None:
    uri = f"{new_bucket()}/weights.h5"
    missing = results(values(weights=uri))["weights"]
    assert missing.verdict == "fix"
    assert "does not exist; see what does: gcloud storage ls" in missing.detail
    storage.write_if_absent(uri, b"<html>Sign in</html>")
    page = results(values(weights=uri))["weights"]
    assert page.verdict == "fix"
    assert page.detail.startswith(f"weights {uri} is neither HDF5 nor a NumPy archive but begins as a web page does")
    storage.delete_file(uri)
    storage.write_if_absent(uri, LITE0)
    assert results(values(weights=uri))["weights"].detail == f"{uri}, {LITE0.stat().st_size / 1e6:.1f} MB"


@pytest.mark.parametrize(
    ("weights", "backbone", "verdict", "expected"),
    [
        ("random", "inception_v3", "ok", "good for trying out the pipeline only"),
        (__file__, "inception_v3", "fix", "a cluster cannot read .*; upload it"),
        ("no/such/file.h5", "inception_v3", "fix", "a cluster cannot read no/such/file.h5"),
        ("/opt/mine/weights.h5", "inception_v3", "unchecked", "must be in the training image"),
        ("imagenet", "efficientnet_lite0", "fix", "Keras has no ImageNet weights for efficientnet_lite0"),
        (
            "imagenet",
            "inception_v3",
            "fix",
            "cannot be downloaded from here: nothing listens .*; put them into the image",
        ),
    ],
)
def test_weights_elsewhere(values: Values, gcs: str, weights: str, backbone: str, verdict: str, expected: str) -> None:
    found = results(values(weights=weights, backbone=backbone))["weights"]
    assert found.verdict == verdict
    assert re.search(expected, found.detail)


@pytest.mark.parametrize(
    ("answer", "verdict", "expected"),
    [
        (Answer(200, bytes(3000)), "ok", "imagenet, 3.0 kB from http.*; the training pods must reach it too"),
        (Answer(503), "later", "is busy"),
        (Answer(403), "fix", "answers 403; put them into the image"),
    ],
)
def test_the_imagenet_weights_are_looked_for_and_not_downloaded(
    values: Values, gcs: str, monkeypatch: pytest.MonkeyPatch, answer: Answer, verdict: str, expected: str
) -> None:
    methods: list[str] = []

    def script(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        methods.append(method)
        return answer

    with scripted_server(script) as url:
        monkeypatch.setattr(doctor, "IMAGENET_ADDRESS", f"{url}/weights.h5")
        found = results(values())["weights"]
    assert found.verdict == verdict
    assert re.search(expected, found.detail)
    assert methods == ["HEAD"]


def test_weights_in_the_training_image_need_no_network(values: Values, gcs: str, registry: RegistryServer) -> None:
    labels = {**VERSION, "image-classification.weights": "mine.npz"}
    registry.push(f"own/{TRAINING}", __version__, "linux/amd64", labels)
    placement = dataclasses.replace(L4, image_registry=f"{registry.host}/own")
    own = results(values(weights="/opt/keras/models/mine.npz"), placement)["weights"]
    assert own.detail == "/opt/keras/models/mine.npz, in the training image"
    assert results(values(weights="imagenet"), placement)["weights"].verdict == "fix", "these are others"


def test_weights_in_a_volume_are_for_the_cluster_to_find(values: Values, gcs: str) -> None:
    found = results(values(weights="/weights/mine.npz"), dataclasses.replace(L4, weights_claim="backbones"))["weights"]
    assert found.verdict == "unchecked"
    assert found.detail == "/weights/mine.npz is for the cluster to find, in the volume backbones"


def test_a_volume_that_nothing_reads_is_worth_a_look(values: Values, gcs: str) -> None:
    found = results(values(weights="random"), dataclasses.replace(L4, weights_claim="backbones"))["weights"]
    assert found.verdict == "note"
    assert found.detail.endswith(
        "weights is random, so nothing reads the volume backbones; give --set weights=/weights/FILE"
    )


# Where it runs ------------------------------------------------------------------------------------------------------


def test_vertex_ai_is_asked_for_a_run_there(values: Values, gcs: str, vertex: RecordedVertexApi) -> None:
    destination = dataclasses.replace(
        NOWHERE,
        project="animals",
        region="europe-west4",
        api_endpoint=vertex.endpoint,
        pipeline_root="gs://b/root",
        service_account="trainer@animals",
    )
    found = results(values(), dataclasses.replace(L4, target="vertex"), destination, "vertex")
    assert found["Vertex AI"].verdict == "ok"
    assert "Kubeflow" not in found


def test_whose_rights_were_tried_is_said(values: Values, gcs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"those of the emulator at {gcs}" in results(values())["rights"].detail
    destination = dataclasses.replace(NOWHERE, service_account="trainer")
    monkeypatch.delenv(HOST_VARIABLE)
    assert (
        "the steps run as trainer, which needs them too" in results(values(), destination=destination)["rights"].detail
    )


def test_missing_credentials_name_the_command(values: Values, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in (HOST_VARIABLE, "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    found = results(values(source="gs://b/Animals.zip", registry_uri="gs://b/models"))
    for subject in ("source", "registry"):
        assert found[subject].verdict == "fix"
        assert "gcloud auth application-default login" in found[subject].detail


# Other registries ---------------------------------------------------------------------------------------------------


def test_registries_that_shall_be_told_are_looked_at(values: Values, gcs: str) -> None:
    with served(KubeflowApi()) as address:
        targets = [f"kubeflow:{address}", "mlflow:http://127.0.0.1:9"]
        found = results(values(source="gs://none/a.zip", registry_uri="gs://none/models", other_registries=targets))
    assert found["tells kubeflow"] == Checkup("tells kubeflow", "ok", f"kubeflow:{address}, answers from here")
    assert found["tells mlflow"].verdict == "unchecked"
    assert "kubectl label namespace NAMESPACE image-classification/holds-registry=true" in found["tells mlflow"].detail


def test_what_is_no_registry_is_told_so(values: Values, gcs: str) -> None:
    api = KubeflowApi()
    api.releases = set()
    with served(api) as address:
        target = f"kubeflow:{address}"
        found = results(values(source="gs://none/a.zip", registry_uri="gs://none/models", other_registries=[target]))
    assert found["tells kubeflow"].verdict == "fix"
    assert "answers none of v1, v1alpha3: check its address" in found["tells kubeflow"].detail


# Floors of classes --------------------------------------------------------------------------------------------------


def test_floors_of_classes_are_looked_up_in_the_source(
    values: Values, new_bucket: Callable[[], str], tmp_path: Path
) -> None:
    source = f"{new_bucket()}/trees"
    for name in ("ash/1.jpg", "birch/1.jpg"):
        storage.write_if_absent(f"{source}/{name}", b"an image")
    found = results(values(source=source, registry_uri="gs://none/models", class_recall_floors={"ash": 0.5}))
    assert found["class floors"] == Checkup("class floors", "ok", "ash: classes of the source")
    found = results(values(source=source, registry_uri="gs://none/models", class_recall_floors={"oak": 0.5}))
    assert found["class floors"].verdict == "fix"
    assert "class_recall_floors names 'oak'" in found["class floors"].detail
    assert "class floors" not in results(values(source=source, registry_uri="gs://none/models"))
