"""The limits of a namespace and the shares of its queue have room for every step the launcher can compile."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.utils.quantity import parse_quantity  # type: ignore[import-untyped]

from components.launch.accelerators import ACCELERATORS
from tests.manifests.kustomized import MANIFESTS, OVERLAYS, Resource, build_overlay, needs_kubectl, the_only

pytestmark = needs_kubectl

_GPU = "nvidia.com/gpu"
_PIPELINES = sorted((MANIFESTS / "pipelines").glob("kubeflow*.yaml"))


def steps(pipeline: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield name, resources asked for and Kubernetes settings of each step of a compiled pipeline."""
    specification, platform = yaml.safe_load_all(pipeline.read_text(encoding="utf-8"))
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in specification["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        asked = {"cpu": resources["resourceCpuLimit"], "memory": resources["resourceMemoryLimit"]}
        if "accelerator" in resources:
            asked[resources["accelerator"]["resourceType"]] = resources["accelerator"]["resourceCount"]
        yield name, {key: parse_quantity(value) for key, value in asked.items()}, settings[name]


def fits(asked: dict[str, Any], room: dict[str, Any]) -> bool:
    """Say whether there is room for all that is asked for."""
    return all(amount <= parse_quantity(room.get(name, 0)) for name, amount in asked.items())


def flavors_for(asked: dict[str, Any], settings: dict[str, Any], resources: list[Resource]) -> list[str]:
    """Return the flavors that Kueue may give a step: labels and taints agree, and the share is large enough."""
    flavors = {one["metadata"]["name"]: one.get("spec", {}) for one in resources if one["kind"] == "ResourceFlavor"}
    (group,) = the_only(resources, "ClusterQueue")["spec"]["resourceGroups"]
    selector = settings.get("nodeSelector", {}).get("labels", {})
    tolerated = {toleration["key"] for toleration in settings.get("tolerations", [])}
    allowed = []
    for share in group["flavors"]:
        flavor = flavors[share["name"]]
        labels = flavor.get("nodeLabels", {})
        agrees = all(labels[key] == value for key, value in selector.items() if key in labels)
        kept_out = {taint["key"] for taint in flavor.get("nodeTaints", [])} - tolerated
        room = {resource["name"]: resource["nominalQuota"] for resource in share["resources"]}
        if agrees and not kept_out and fits(asked, room):
            allowed.append(share["name"])
    return allowed


def test_the_published_pipelines_are_looked_at() -> None:
    assert {path.name for path in _PIPELINES} >= {"kubeflow.yaml", "kubeflow-cpu.yaml", "kubeflow-spot.yaml"}
    assert all(len(list(steps(path))) == 8 for path in _PIPELINES)


@pytest.mark.parametrize("pipeline", _PIPELINES, ids=lambda path: path.stem)
def test_every_step_fits_the_quota_with_argos_own_containers(pipeline: Path) -> None:
    resources = build_overlay("gke")
    hard = the_only(resources, "ResourceQuota")["spec"]["hard"]
    (defaults,) = the_only(resources, "LimitRange")["spec"]["limits"]
    for name, asked, _ in steps(pipeline):
        for kind, beside in (("limits", defaults["default"]), ("requests", defaults["defaultRequest"])):
            # Only limits are compiled, so a step's requests are the same; Argo's wait container takes the defaults.
            needed = {key: asked[key] + parse_quantity(beside[key]) for key in ("cpu", "memory")}
            assert fits(needed, {key: hard[f"{kind}.{key}"] for key in needed}), name
        assert asked.get(_GPU, 0) <= parse_quantity(hard[f"requests.{_GPU}"])


@pytest.mark.parametrize("pipeline", _PIPELINES, ids=lambda path: path.stem)
def test_shared_memory_fits_the_memory_of_its_container(pipeline: Path) -> None:
    for name, asked, settings in steps(pipeline):
        for volume in settings.get("emptyDirMounts", []):
            assert volume["medium"] != "Memory" or parse_quantity(volume["sizeLimit"]) < asked["memory"], name


def test_the_largest_machines_fit_quota_and_shares() -> None:
    resources = build_overlay("gke")
    hard = the_only(resources, "ResourceQuota")["spec"]["hard"]
    (group,) = the_only(resources, "ClusterQueue")["spec"]["resourceGroups"]
    shares = {
        one["name"]: {quota["name"]: quota["nominalQuota"] for quota in one["resources"]} for one in group["flavors"]
    }
    for accelerator in ACCELERATORS.values():
        for count, machine in accelerator.machines.items():
            # A step asks for less than the machine has.
            asked = {"cpu": machine.vcpus, "memory": parse_quantity(f"{machine.memory_gb}G"), _GPU: count}
            assert fits(asked, shares[accelerator.name])
            assert fits(asked, {key: hard[f"requests.{key}"] for key in asked})


@pytest.mark.parametrize(
    ("pipeline", "overlay", "gpu"),
    [
        ("kubeflow", "gke", "nvidia-l4"),
        ("kubeflow", "gke-flex", "nvidia-l4"),
        ("kubeflow-spot", "gke-spot", "nvidia-l4"),
        ("kubeflow", "gke-spot", None),  # not compiled for spot, so kept off it
    ],
)
def test_kueue_sends_each_step_to_its_nodes(pipeline: str, overlay: str, gpu: str | None) -> None:
    resources = build_overlay(overlay)
    for name, asked, settings in steps(MANIFESTS / "pipelines" / f"{pipeline}.yaml"):
        expected = ([gpu] if gpu else []) if _GPU in asked else ["image-classification-cpu"]
        assert flavors_for(asked, settings, resources) == expected, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_cpu_pipeline_has_a_place_everywhere(overlay: str) -> None:
    resources = build_overlay(overlay)
    for name, asked, settings in steps(MANIFESTS / "pipelines" / "kubeflow-cpu.yaml"):
        assert flavors_for(asked, settings, resources) == ["image-classification-cpu"], name
