"""The compiled pipelines: same bytes each time, equal to the published ones, valid by the official schema."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.components import load_component_from_file
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from components import images
from components.audit_embeddings.embedding_settings import OWN_PARAMETERS as EMBEDDING_PARAMETERS
from components.launch.command_line import main
from pipeline import COMPONENTS, image_classification

PUBLISHED = Path(__file__).resolve().parents[2] / "manifests" / "pipelines"
ARGUMENTS = {
    "kubeflow.yaml": ["--target", "kubeflow"],
    "kubeflow-spot.yaml": ["--target", "kubeflow", "--spot"],
    "kubeflow-cpu.yaml": ["--target", "kubeflow", "--gpu", "none"],
    "vertex.yaml": ["--target", "vertex"],
}
TRAINING = {"exec-train-frozen", "exec-fine-tune"}


def compiled(tmp_path: Path, *arguments: str) -> Path:
    output = tmp_path / "compiled.yaml"
    main(image_classification, ["--compile", "--output", str(output), *arguments])
    return output


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def executors(path: Path) -> dict[str, Any]:
    return documents(path)[0]["deploymentSpec"]["executors"]


def kubernetes_settings(path: Path) -> dict[str, Any]:
    return documents(path)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_published_pipelines_are_what_compiles_now(tmp_path: Path, name: str) -> None:
    again = compiled(tmp_path, *ARGUMENTS[name])
    assert again.read_bytes() == (PUBLISHED / name).read_bytes(), "run `make manifests` and look at the difference"


def test_published_components_are_what_compiles_now(tmp_path: Path) -> None:
    main(image_classification, ["--components", "--output", str(tmp_path)], components=COMPONENTS)
    published = PUBLISHED.parent / "components"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in published.iterdir()}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (published / path.name).read_bytes(), "run `make manifests` and look"


def test_a_published_component_is_one_anybody_can_load(tmp_path: Path) -> None:
    digest = f"sha256:{'b' * 64}"
    where = ["--image-registry", "example.org/team", "--image-digest", f"training={digest}"]
    main(image_classification, ["--components", "--output", str(tmp_path), *where], components=COMPONENTS)
    loaded = {path.stem: load_component_from_file(str(path)) for path in tmp_path.iterdir()}
    assert set(loaded) == {component.python_func.__name__ for component in COMPONENTS}
    pulled = {name: one.component_spec.implementation.container.image for name, one in loaded.items()}
    assert pulled["clean"] == f"example.org/team/{images.DATA}"
    assert pulled["evaluate"] == f"example.org/team/image-classification-training@{digest}"
    # kfp 2.17 cannot compile a loaded component that sets a variable: such a container says what its image says.
    assert not any(one.component_spec.implementation.container.env for one in loaded.values())
    assert executors(PUBLISHED / "vertex.yaml")["exec-clean"]["container"]["image"] == images.DATA, "left as it was"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "frozen_epochs=3"], "--set does nothing with --compile --target kubeflow; leave it out"),
        (["--output", "file/a.yaml"], "cannot write file/a.yaml: .*; give --output another path"),
        (["--output", "a.json"], "must end in .yaml"),
    ],
)
def test_compiling_what_cannot_be_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SystemExit) as ended:
        main(image_classification, ["--compile", *arguments])
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_compiling_in_other_processes_gives_the_same_bytes(tmp_path: Path) -> None:
    outputs = [tmp_path / f"{seed}.yaml" for seed in (1, 2)]
    for seed, output in enumerate(outputs):  # hash seeds change the order of sets, as two machines would
        command = [sys.executable, "pipeline.py", "--compile", "--spot", "--output", str(output)]
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        subprocess.run(command, cwd=PUBLISHED.parents[1], env=environment, check=True)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_published_pipelines_parse_strictly(name: str) -> None:
    spec, *platforms = documents(PUBLISHED / name)
    json_format.Parse(json.dumps(spec), pipeline_spec_pb2.PipelineSpec(), ignore_unknown_fields=False)
    for platform in platforms:
        json_format.Parse(json.dumps(platform), pipeline_spec_pb2.PlatformSpec(), ignore_unknown_fields=False)
        for settings in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            message = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
            json_format.Parse(json.dumps(settings), message, ignore_unknown_fields=False)


def test_vertex_gets_one_document_and_kubeflow_two() -> None:
    assert len(documents(PUBLISHED / "vertex.yaml")) == 1
    assert len(documents(PUBLISHED / "kubeflow.yaml")) == 2


@pytest.mark.parametrize(("name", "gpu"), [("kubeflow.yaml", "nvidia.com/gpu"), ("vertex.yaml", "NVIDIA_L4")])
def test_only_training_steps_ask_for_a_gpu(name: str, gpu: str) -> None:
    asking = {
        executor: value["container"]["resources"]["accelerator"]
        for executor, value in executors(PUBLISHED / name).items()
        if "accelerator" in value["container"]["resources"]
    }
    assert set(asking) == TRAINING
    for accelerator in asking.values():
        assert accelerator["resourceType"] == gpu
        assert accelerator["resourceCount"] == "1"


def test_evaluation_gets_a_gpu_when_asked_for(tmp_path: Path) -> None:
    path = compiled(tmp_path, "--evaluate-on-gpu", "--gpu", "nvidia-tesla-a100", "--gpu-count", "2")
    asking = {name for name, value in executors(path).items() if "accelerator" in value["container"]["resources"]}
    assert asking == TRAINING | {"exec-evaluate"}


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
@pytest.mark.parametrize(("machine", "asking"), [([], TRAINING), (["gpu"], TRAINING | {"exec-audit-embeddings"})])
def test_the_embedding_audit_stands_between_audit_and_clean(
    tmp_path: Path, target: str, machine: list[str], asking: set[str]
) -> None:
    path = compiled(tmp_path, "--target", target, "--embedding-audit", *machine)
    spec = documents(path)[0]
    tasks = spec["root"]["dag"]["tasks"]
    step = tasks["audit-embeddings"]["inputs"]
    assert step["artifacts"]["audited"]["taskOutputArtifact"]["producerTask"] == "audit"
    assert tasks["clean"]["inputs"]["artifacts"]["findings"]["taskOutputArtifact"]["producerTask"] == "audit-embeddings"
    assert step["parameters"]["require_gpu"]["runtimeValue"]["constant"] == bool(machine)
    assert step["parameters"]["outlier_deviation"]["componentInputParameter"] == "outlier_deviation"
    assert spec["root"]["inputDefinitions"]["parameters"]["outlier_deviation"]["defaultValue"] == 2.5
    assert executors(path)["exec-audit-embeddings"]["container"]["image"] == images.TRAINING
    assert {
        name for name, value in executors(path).items() if "accelerator" in value["container"]["resources"]
    } == asking


def test_the_embedding_audit_takes_one_gpu_whatever_training_takes(tmp_path: Path) -> None:
    path = compiled(tmp_path, "--embedding-audit", "gpu", "--gpu", "nvidia-tesla-a100", "--gpu-count", "4")
    counts = {
        name: value["container"]["resources"]["accelerator"]["resourceCount"]
        for name, value in executors(path).items()
        if "accelerator" in value["container"]["resources"]
    }
    assert counts == {"exec-train-frozen": "4", "exec-fine-tune": "4", "exec-audit-embeddings": "1"}


def test_without_the_embedding_audit_nothing_speaks_of_it() -> None:
    spec = documents(PUBLISHED / "kubeflow.yaml")[0]
    assert "audit-embeddings" not in spec["root"]["dag"]["tasks"]
    assert not set(EMBEDDING_PARAMETERS) & set(spec["root"]["inputDefinitions"]["parameters"])


def test_the_embedding_audit_sees_the_volume_of_weights(tmp_path: Path) -> None:
    settings = kubernetes_settings(compiled(tmp_path, "--embedding-audit", "--weights-claim", "backbones"))
    assert settings["exec-audit-embeddings"]["pvcMount"][0]["mountPath"] == "/weights"


def test_training_pods_are_placed_tolerated_labelled_and_given_shared_memory() -> None:
    settings = kubernetes_settings(PUBLISHED / "kubeflow-spot.yaml")
    for executor in TRAINING:
        labels = settings[executor]["nodeSelector"]["labels"]
        assert labels == {"cloud.google.com/gke-accelerator": "nvidia-l4", "cloud.google.com/gke-spot": "true"}
        assert {toleration["key"] for toleration in settings[executor]["tolerations"]} == {
            "nvidia.com/gpu",
            "cloud.google.com/gke-spot",
        }
        (mount,) = settings[executor]["emptyDirMounts"]
        assert (mount["mountPath"], mount["medium"]) == ("/dev/shm", "Memory")
    for value in settings.values():
        assert value["podMetadata"]["labels"]["app.kubernetes.io/part-of"] == "image-classification"
        assert value["securityContext"] == {"runAsUser": "65532", "runAsGroup": "65532", "runAsNonRoot": True}


def test_only_steps_on_spot_nodes_are_started_again_by_the_platform() -> None:
    tasks = documents(PUBLISHED / "kubeflow-spot.yaml")[0]["root"]["dag"]["tasks"]
    policies = {name: task["retryPolicy"] for name, task in tasks.items() if "retryPolicy" in task}
    assert set(policies) == {"train-frozen", "fine-tune"}
    for policy in policies.values():
        assert policy["maxRetryCount"] == 5
        # Argo counts it from the first attempt's start, and a step may train for days before it is preempted.
        assert int(policy["backoffMaxDuration"].removesuffix("s")) >= 7 * 24 * 3600
    for name in ("kubeflow.yaml", "kubeflow-cpu.yaml", "vertex.yaml"):
        assert "retryPolicy" not in (PUBLISHED / name).read_text(encoding="utf-8")


def test_training_steps_see_a_volume_of_weights(tmp_path: Path) -> None:
    settings = kubernetes_settings(compiled(tmp_path, "--weights-claim", "image-classification-weights"))
    mounted = {name: value["pvcMount"] for name, value in settings.items() if "pvcMount" in value}
    assert set(mounted) == TRAINING
    for (mount,) in mounted.values():
        assert mount["mountPath"] == "/weights"
        assert mount["pvcNameParameter"]["runtimeValue"]["constant"] == "image-classification-weights"


def test_another_cluster_gives_its_own_node_labels(tmp_path: Path) -> None:
    labels = ["--node-selector", "nvidia.com/gpu.product=NVIDIA-L4", "--node-selector", "example.org/gpu="]
    own = {"nvidia.com/gpu.product": "NVIDIA-L4", "example.org/gpu": ""}
    for spot in ([], ["--spot"]):
        path = compiled(tmp_path, *labels, *spot)
        for executor in TRAINING:
            assert kubernetes_settings(path)[executor]["nodeSelector"]["labels"] == own, "none of GKE's beside them"
        tasks = documents(path)[0]["root"]["dag"]["tasks"]
        assert ("retryPolicy" in tasks["fine-tune"]) == bool(spot)


def test_what_a_run_must_be_given_is_said_when_compiling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(tmp_path, "--spot", "--weights-claim", "backbones")
    _, *said = capsys.readouterr().out.splitlines()
    assert said == [
        "preempted steps go on where they were if the run is given checkpoint_uri=gs://bucket/checkpoints",
        "training reads the volume backbones if the run is given weights=/weights/FILE",
    ]
    compiled(tmp_path)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_without_a_gpu_nothing_asks_for_one(tmp_path: Path) -> None:
    text = compiled(tmp_path, "--gpu", "none").read_text(encoding="utf-8")
    assert "accelerator" not in text
    assert "nvidia" not in text


def test_training_steps_are_told_how_many_gpus_to_expect(tmp_path: Path) -> None:
    tasks = documents(compiled(tmp_path, "--gpu-count", "4"))[0]["root"]["dag"]["tasks"]
    for task in ("train-frozen", "fine-tune"):
        assert tasks[task]["inputs"]["parameters"]["gpu_count"]["runtimeValue"]["constant"] == 4.0


def test_vertex_machines_stay_within_its_limits(tmp_path: Path) -> None:
    path = compiled(tmp_path, "--target", "vertex", "--gpu", "nvidia-h100-80gb", "--gpu-count", "8")
    resources = executors(path)["exec-fine-tune"]["container"]["resources"]
    assert float(resources["cpuLimit"]) == 96
    assert float(resources["memoryLimit"]) == 624


def test_steps_run_in_the_images_of_this_version() -> None:
    used = {name: value["container"]["image"] for name, value in executors(PUBLISHED / "vertex.yaml").items()}
    data = {f"exec-{step}" for step in ("ingest", "audit", "clean", "split")}
    assert {name for name, image in used.items() if image == images.DATA} == data
    assert {name for name, image in used.items() if image == images.TRAINING} == used.keys() - data


def test_images_are_pulled_from_the_registry_that_was_given(tmp_path: Path) -> None:
    path = compiled(tmp_path, "--image-registry", "registry.example/team/", "--image-tag", "v7")
    assert {value["container"]["image"] for value in executors(path).values()} == {
        "registry.example/team/image-classification-data:v7",
        "registry.example/team/image-classification-training:v7",
    }


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_each_step_is_told_which_image_it_runs_in(tmp_path: Path, target: str) -> None:
    digest = f"sha256:{'b' * 64}"
    where = ["--image-registry", "registry.example/team", "--image-tag", "v7", "--image-digest", f"training={digest}"]
    given = {
        name: (value["container"]["image"], {one["name"]: one["value"] for one in value["container"]["env"]})
        for name, value in executors(compiled(tmp_path, "--target", target, "--embedding-audit", *where)).items()
    }
    assert len(given) == len(COMPONENTS)
    for image, variables in given.values():
        assert variables["IMAGE_REFERENCE"] == image
    assert (
        given["exec-register"][1]["IMAGE_REFERENCE"] == f"registry.example/team/image-classification-training@{digest}"
    )


def test_an_image_can_be_pinned_to_its_bytes_and_the_other_to_a_tag(tmp_path: Path) -> None:
    digest = f"sha256:{'a' * 64}"
    where = ["--image-registry", "registry.example/team", "--image-tag", "v7", "--image-digest", f"data={digest}"]
    assert {value["container"]["image"] for value in executors(compiled(tmp_path, *where)).values()} == {
        f"registry.example/team/image-classification-data@{digest}",
        "registry.example/team/image-classification-training:v7",
    }


@pytest.mark.parametrize("digest", ["data", "data=v7", "serving=sha256:" + "a" * 64, "data=sha256:" + "A" * 64])
def test_a_digest_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], digest: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        compiled(tmp_path, "--image-digest", digest)
    assert stopped.value.code == 2
    assert f"--image-digest {digest}: give data or training, =, and sha256:" in capsys.readouterr().err


def test_nothing_is_installed_at_run_time() -> None:
    for name in ARGUMENTS:
        assert "pip install" not in (PUBLISHED / name).read_text(encoding="utf-8")


def test_every_input_is_described() -> None:
    spec = documents(PUBLISHED / "vertex.yaml")[0]
    silent = [
        f"{component}.{name}"
        for component, definition in spec["components"].items()
        for kind in definition["inputDefinitions"].values()
        for name, value in kind.items()
        if not value.get("description")
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "nvidia-b200"], "Blackwell"),
        (["--gpu", "nvidia-l9"], "unknown GPU"),
        (["--gpu-count", "3"], "no machine type offers 3"),
        (["--target", "vertex", "--spot"], "leave out --spot"),
        (["--target", "vertex", "--weights-claim", "weights"], "leave out --weights-claim"),
        (["--target", "vertex", "--node-selector", "a=b"], "leave out --node-selector"),
        (["--gpu", "none", "--spot"], "give a --gpu too"),
        (["--gpu", "none", "--embedding-audit", "gpu"], "--embedding-audit gpu needs a --gpu"),
        (["--gpu", "none", "--gpu-count", "1"], "--gpu none trains on CPU: leave out --gpu-count"),
        (["--gpu-count", "0"], "no machine type offers 0"),
        (["--node-selector", "broken"], "takes LABEL=VALUE"),
        (["--node-selector", "a b=c"], "--node-selector a b=c: on Kubernetes"),
        (["--node-selector", "a=b", "--node-selector", "a=c"], "--node-selector a is given twice"),
        (["--weights-claim", "My_Claim"], "--weights-claim My_Claim is no name of a PersistentVolumeClaim"),
        (["--weights-claim", "a..b"], "--weights-claim a..b is no name"),
        (["--image-tag", "v 7"], "--image-tag v 7 is no tag"),
        (["--image-tag=-v7"], "is no tag"),
        (["--image-registry", "https://example.org/team"], "leave out https://: --image-registry example.org/team"),
        (["--image-registry", "Example.org/Team"], "--image-registry Example.org/Team is no place of images"),
        (["--image-registry", "exa mple.org/team"], "is no place of images"),
        (["--image-registry", "example.org/team:v7"], "is no place of images"),
    ],
)
def test_a_wrong_placement_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    output = tmp_path / "compiled.yaml"
    with pytest.raises(SystemExit) as stopped:
        main(image_classification, ["--compile", "--output", str(output), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
