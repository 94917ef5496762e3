"""Every object of every build is one the API server takes: no unknown field, no wrong type."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.manifests.kustomized import (
    MANIFESTS,
    OVERLAYS,
    Resource,
    build,
    build_overlay,
    needs_kubectl,
    write_kustomization,
)

pytestmark = needs_kubectl

_KUBERNETES = "1.34"
_OPTIONS = ("shared-namespace", "weights-volume")


@cache
def _custom_resource_schemas() -> dict[str, Any]:
    return dict(yaml.safe_load((Path(__file__).parent / "custom_resources.yaml").read_text(encoding="utf-8")))


def check(resource: Resource) -> None:
    """Raise when the API server would refuse or ignore a part of ``resource``."""
    group = resource["apiVersion"].partition("/")[0]
    if group not in {"kueue.x-k8s.io", "serving.kserve.io"}:
        kubernetes_validate.validate(resource, _KUBERNETES, strict=True)
        return
    schemas = _custom_resource_schemas()
    schema = schemas[f"{resource['apiVersion']} {resource['kind']}"] | {"$defs": schemas["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(resource)
    if resource["kind"] == "InferenceService":
        kubernetes_validate.validate(predictor_pod(resource), _KUBERNETES, strict=True)


def predictor_pod(service: Resource) -> Resource:
    """Return the pod that an InferenceService spells out, without what only KServe understands."""
    predictor = copy.deepcopy(service["spec"]["predictor"])
    container = predictor.pop("model")
    for field in ("modelFormat", "protocolVersion", "runtimeVersion", "storageUri"):
        container.pop(field, None)
    for field in ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"):
        predictor.pop(field, None)
    pod = predictor | {"containers": [container | {"name": "kserve-container", "image": "tensorflow/serving"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": pod}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_are_valid(overlay: str) -> None:
    resources = build_overlay(overlay)
    assert len(resources) > 10
    for resource in resources:
        check(resource)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_take_every_option_and_stay_valid(overlay: str, tmp_path: Path) -> None:
    options = [MANIFESTS / "options" / name for name in _OPTIONS]
    if overlay == "kind":
        options.remove(MANIFESTS / "options" / "shared-namespace")  # it has it already
    folder = write_kustomization(tmp_path, resources=[MANIFESTS / "overlays" / overlay], components=options)
    resources = build(folder)
    assert "PersistentVolumeClaim" in {resource["kind"] for resource in resources}
    for resource in resources:
        check(resource)


def test_what_is_made_of_overlays_is_valid() -> None:
    for resource in build_overlay("standalone-gke"):
        check(resource)
    patch = MANIFESTS / "options" / "argo-retry" / "workflow-defaults.yaml"
    check(yaml.safe_load(patch.read_text(encoding="utf-8")))


def test_serving_is_valid() -> None:
    (service,) = build(MANIFESTS / "serving")
    check(service)


def test_a_misspelt_field_is_found() -> None:
    by_kind = {resource["kind"]: resource for resource in [*build_overlay("gke"), *build(MANIFESTS / "serving")]}
    assert len(by_kind) == 12
    for resource in by_kind.values():
        misspelt = copy.deepcopy(resource)
        part = misspelt.get("spec", misspelt)
        part["misspelt"] = "x"
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            check(misspelt)
    service = copy.deepcopy(by_kind["InferenceService"])
    service["spec"]["predictor"]["model"]["securityContext"]["runAsNonroot"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        check(service)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_namespaced_objects_name_a_namespace(overlay: str) -> None:
    cluster_scoped = {"Namespace", "PriorityClass", "ClusterQueue", "ResourceFlavor"}
    resources = build_overlay(overlay)
    assert all(("namespace" in one["metadata"]) == (one["kind"] not in cluster_scoped) for one in resources)
    assert len({one["metadata"]["namespace"] for one in resources if one["kind"] not in cluster_scoped}) == 1
