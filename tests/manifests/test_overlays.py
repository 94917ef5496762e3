"""What the overlays promise beyond their schema: rights, network, names that agree, a place for every pod."""

import re
import shutil
from pathlib import Path

import pytest

from components.launch.accelerators import ACCELERATORS
from tests.manifests.kustomized import (
    MANIFESTS,
    OVERLAYS,
    Resource,
    build,
    build_overlay,
    needs_kubectl,
    of_kind,
    the_only,
    write_kustomization,
)

pytestmark = needs_kubectl

_GKE = ("gke", "gke-spot", "gke-flex")
_OURS = {"app.kubernetes.io/part-of": "image-classification"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_runner_may_do_what_a_run_does_and_no_more(overlay: str) -> None:
    resources = build_overlay(overlay)
    allowed = {
        (group, resource, verb): tuple(rule.get("resourceNames", ()))
        for rule in the_only(resources, "Role")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert allowed == {
        ("argoproj.io", "workflowtaskresults", "create"): (),
        ("argoproj.io", "workflowtaskresults", "patch"): (),
        ("argoproj.io", "workflows", "get"): (),
        ("", "pods", "get"): (),
        ("", "configmaps", "get"): ("kfp-launcher",),
        ("", "secrets", "get"): ("mlpipeline-minio-artifact",),
    }
    binding = the_only(resources, "RoleBinding")
    assert binding["roleRef"]["name"] == the_only(resources, "Role")["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert subject["name"] == "pipeline-runner"
    assert subject["namespace"] == of_kind(resources, "ServiceAccount")["pipeline-runner"]["metadata"]["namespace"]
    assert not {"ClusterRole", "ClusterRoleBinding"} & {resource["kind"] for resource in resources}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_network_is_closed_by_default(overlay: str) -> None:
    policies = of_kind(build_overlay(overlay), "NetworkPolicy")
    closed = policies.pop("deny-by-default")["spec"]
    assert set(closed["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in closed
    assert "egress" not in closed
    assert closed["podSelector"] == ({"matchLabels": _OURS} if overlay == "kind" else {})
    for policy in policies.values():
        for rule in policy["spec"].get("egress", []):
            assert rule["ports"], "a rule without ports opens all of them"
            if "to" not in rule:
                assert {port["port"] for port in rule["ports"]} == {443, 6443}
        for rule in policy["spec"].get("ingress", []):
            assert rule["ports"]
            assert rule["from"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_steps_reach_what_they_need(overlay: str) -> None:
    policies = of_kind(build_overlay(overlay), "NetworkPolicy")
    reachable = {
        port["port"]
        for policy in policies.values()
        for rule in policy["spec"].get("egress", [])
        for port in rule["ports"]
    }
    assert {53, 443, 8080, 8333, 8887, 8888} <= reachable
    assert ("allow-metadata-server" in policies) == (overlay in _GKE)
    if overlay in _GKE:
        rules = policies["allow-metadata-server"]["spec"]["egress"]
        pairs = {(to["ipBlock"]["cidr"], port["port"]) for rule in rules for to in rule["to"] for port in rule["ports"]}
        assert {("169.254.169.254/32", 80), ("169.254.169.252/32", 988)} <= pairs


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_steps_reach_other_registries_where_an_administrator_lets_them(overlay: str) -> None:
    policy = of_kind(build_overlay(overlay), "NetworkPolicy")["allow-other-registries"]["spec"]
    (rule,) = policy["egress"]
    (place,) = rule["to"]
    assert place == {"namespaceSelector": {"matchLabels": {"image-classification/holds-registry": "true"}}}
    assert [port["port"] for port in rule["ports"]] == [5000, 8080]
    assert "Ingress" not in policy["policyTypes"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_queue_cluster_queue_and_flavors_name_each_other(overlay: str) -> None:
    resources = build_overlay(overlay)
    flavors = of_kind(resources, "ResourceFlavor")
    queue, cluster_queue = the_only(resources, "LocalQueue"), the_only(resources, "ClusterQueue")
    assert queue["spec"]["clusterQueue"] == cluster_queue["metadata"]["name"]
    (group,) = cluster_queue["spec"]["resourceGroups"]
    assert {share["name"] for share in group["flavors"]} == set(flavors)
    for share in group["flavors"]:
        assert [resource["name"] for resource in share["resources"]] == group["coveredResources"]
    assert group["flavors"][0]["name"] == "image-classification-cpu", "steps without a GPU get the first that fits"


@pytest.mark.parametrize("overlay", _GKE)
def test_every_gpu_the_launcher_knows_has_a_flavor_on_gke(overlay: str) -> None:
    flavors = of_kind(build_overlay(overlay), "ResourceFlavor")
    flavors.pop("image-classification-cpu")
    assert set(flavors) == set(ACCELERATORS)
    extra = {"gke-spot": {"cloud.google.com/gke-spot": "true"}, "gke-flex": {"cloud.google.com/gke-flex-start": "true"}}
    for name, flavor in flavors.items():
        expected = {"cloud.google.com/gke-accelerator": name} | extra.get(overlay, {})
        assert flavor["spec"]["nodeLabels"] == expected
        taints = {taint["key"] for taint in flavor["spec"]["nodeTaints"]}
        assert taints == {"nvidia.com/gpu"} | ({"cloud.google.com/gke-spot"} if overlay == "gke-spot" else set())


def test_other_clusters_know_gpus_by_their_product() -> None:
    flavors = of_kind(build_overlay("generic-nvidia"), "ResourceFlavor")
    flavors.pop("image-classification-cpu")
    # GPU feature discovery gives an A3 Mega's GPU no name of its own.
    assert set(flavors) == set(ACCELERATORS) - {"nvidia-h100-mega-80gb"}
    products = [flavor["spec"]["nodeLabels"]["nvidia.com/gpu.product"] for flavor in flavors.values()]
    assert len(set(products)) == len(products)


def test_kind_has_no_gpus_and_no_rules_for_neighbours() -> None:
    resources = build_overlay("kind")
    assert set(of_kind(resources, "ResourceFlavor")) == {"image-classification-cpu"}
    _assert_spares_neighbours(resources, "kubeflow")


def test_a_shared_namespace_is_spared(tmp_path: Path) -> None:
    shared, overlay = MANIFESTS / "options" / "shared-namespace", MANIFESTS / "overlays" / "gke"
    folder = write_kustomization(tmp_path, namespace="team-a", resources=[overlay], components=[shared])
    _assert_spares_neighbours(build(folder), "team-a")


def _assert_spares_neighbours(resources: list[Resource], namespace: str) -> None:
    assert not {"Namespace", "ResourceQuota", "LimitRange"} & {resource["kind"] for resource in resources}
    for policy in of_kind(resources, "NetworkPolicy").values():
        selector = policy["spec"]["podSelector"]
        assert selector in (
            {"matchLabels": _OURS},
            {"matchExpressions": [{"key": "serving.kserve.io/inferenceservice", "operator": "Exists"}]},
        )
    assert {one["metadata"]["namespace"] for one in resources if one["kind"] in {"Role", "NetworkPolicy"}} == {
        namespace
    }


def test_the_project_is_set_in_one_place(tmp_path: Path) -> None:
    copy = tmp_path / "manifests"
    shutil.copytree(MANIFESTS, copy)
    (copy / "overlays" / "gke" / "project.env").write_text("PROJECT_ID=zoo-4711\n")
    for overlay in _GKE:
        resources = build(copy / "overlays" / overlay)
        emails = {
            name: account["metadata"]["annotations"]["iam.gke.io/gcp-service-account"]
            for name, account in of_kind(resources, "ServiceAccount").items()
        }
        assert emails == {
            "pipeline-runner": "image-classification-runner@zoo-4711.iam.gserviceaccount.com",
            "model-server": "image-classification-server@zoo-4711.iam.gserviceaccount.com",
        }
        assert not re.search(r"my-project|PROJECT|@project|ConfigMap", str(resources))


@pytest.mark.parametrize("overlay", ["generic-nvidia", "kind"])
def test_nothing_of_google_cloud_elsewhere(overlay: str) -> None:
    assert not re.search(r"google|gserviceaccount|gke", str(build_overlay(overlay)))


def test_namespace_holds_pods_to_a_standard() -> None:
    labels = the_only(build_overlay("gke"), "Namespace")["metadata"]["labels"]
    levels = {mode: labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")}
    assert levels == {"enforce": "baseline", "audit": "restricted", "warn": "restricted"}


def test_serving_goes_before_training_and_neither_preempts() -> None:
    classes = of_kind(build_overlay("gke"), "PriorityClass")
    serving, training = classes["image-classification-serving"], classes["image-classification-training"]
    assert serving["value"] > 0 > training["value"]
    assert serving["preemptionPolicy"] == training["preemptionPolicy"] == "Never"
    assert not serving.get("globalDefault")


def test_the_model_server_uses_what_the_overlays_provide(tmp_path: Path) -> None:
    (service,) = build(MANIFESTS / "serving")
    provided = build_overlay("gke")
    predictor = service["spec"]["predictor"]
    assert predictor["serviceAccountName"] in of_kind(provided, "ServiceAccount")
    assert predictor["priorityClassName"] in of_kind(provided, "PriorityClass")
    assert service["metadata"]["namespace"] == the_only(provided, "Namespace")["metadata"]["name"]
    assert predictor["securityContext"]["runAsNonRoot"] is True
    container = predictor["model"]["securityContext"]
    assert container["allowPrivilegeEscalation"] is False
    assert container["readOnlyRootFilesystem"] is True
    assert container["capabilities"] == {"drop": ["ALL"]}

    copy = tmp_path / "serving"
    shutil.copytree(MANIFESTS / "serving", copy)
    (copy / "model.env").write_text("NAME=pets\nBUNDLE=gs://zoo/registry/pets/versions/1a/2b\n")
    (service,) = build(copy)
    assert service["metadata"]["name"] == "pets"
    # The bundle keeps the model in saved_model/1; the server looks for version folders.
    assert service["spec"]["predictor"]["model"]["storageUri"] == "gs://zoo/registry/pets/versions/1a/2b/saved_model"
    assert not re.search(r"my-|bundle|animals", str(service))
