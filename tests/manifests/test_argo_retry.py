"""Which failures Argo is told to retry.

Argo evaluates the expression with Go's expr-lang, of which no evaluator is among this project's dependencies. So its
patterns are tried here, on the messages that Argo's source composes, and the words around them in their shape alone.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.kustomized import MANIFESTS, build, needs_kubectl, the_only, write_kustomization

_OPTION = MANIFESTS / "options" / "argo-retry"


def retry_strategy(config_map: dict[str, Any]) -> dict[str, Any]:
    """Return the strategy that Argo merges into every template."""
    (name, defaults), *others = config_map["data"].items()
    assert name == "workflowDefaults"
    assert not others
    strategy = yaml.safe_load(defaults)["spec"]["templateDefaults"]["retryStrategy"]
    assert isinstance(strategy, dict)
    return strategy


@pytest.fixture(scope="module")
def strategy() -> dict[str, Any]:
    return retry_strategy(yaml.safe_load((_OPTION / "workflow-defaults.yaml").read_text(encoding="utf-8")))


def test_retries_end(strategy: dict[str, Any]) -> None:
    assert set(strategy) == {"limit", "retryPolicy", "expression"}
    assert 0 < int(strategy["limit"]) <= 5, "without a limit Argo retries for ever"
    assert strategy["retryPolicy"] == "Always", "the expression alone decides"


def clauses(strategy: dict[str, Any]) -> tuple[list[str], str]:
    """Return the patterns that retry a message, and the clause that does not look at a pattern."""
    *matches, last = strategy["expression"].split(" || ")
    patterns = [re.fullmatch(r'lastRetry\.message matches "(\^[^"\\]+)"', clause) for clause in matches]
    assert all(patterns), "each clause but the last is one pattern, anchored, free of escapes"
    return [pattern[1] for pattern in patterns if pattern], last


def test_errors_that_are_not_the_steps_are_retried(strategy: dict[str, Any]) -> None:
    assert clauses(strategy)[1] == (
        '(lastRetry.status == "Error" && lastRetry.message != "" && not (lastRetry.message contains "OOMKilled"))'
    )


@pytest.mark.parametrize(
    "message",
    [
        "Pod was terminated in response to imminent node shutdown.",
        "Pod was rejected as the node is shutting down.",
        "Pod was rejected: Allocate failed due to no healthy devices present; nvidia.com/gpu",
        "Preempted in order to admit critical pod",
        "pod failed: neither main nor wait container completed successfully",
        "main: Error (exit code 143)",
        "main: Error (exit code 137)",
        "main: ContainerStatusUnknown (exit code 137): The container could not be located when the pod was terminated",
        "main: Error (exit code 1): exit code 75: gs://zoo/animals.zip: the bucket did not answer; try again later",
    ],
)
def test_interruptions_and_transient_failures_match(strategy: dict[str, Any], message: str) -> None:
    assert any(re.search(pattern, message) for pattern in clauses(strategy)[0])


@pytest.mark.parametrize(
    "message",
    [
        "main: OOMKilled (exit code 137)",
        "main: OOMKilled (exit code 1)",
        "main: Error (exit code 1)",
        "main: Error (exit code 1): exit code 1: ZeroDivisionError: division by zero",
        "main: Error (exit code 1): exit code 2: class 'lynx' has 1 image; a split needs at least 3",
        "main: Error (exit code 1): exit code 2: only quoted: 'main: Error (exit code 143)', 'exit code 75: '",
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 12Mi.",
        'Usage of EmptyDir volume "shared-memory" exceeds the limit "8Gi". ',
        "Pod ephemeral local storage usage exceeds the total limit of containers 10Gi. ",
        "Pod was active on the node longer than the specified deadline",
        "",
    ],
)
def test_what_a_retry_does_not_help_matches_nothing(strategy: dict[str, Any], message: str) -> None:
    assert not any(re.search(pattern, message) for pattern in clauses(strategy)[0])


@needs_kubectl
def test_it_patches_an_installation_and_keeps_the_rest(tmp_path: Path, strategy: dict[str, Any]) -> None:
    installed = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "workflow-controller-configmap", "namespace": "kubeflow"},
        "data": {"artifactRepository": "archiveLogs: true\n", "workflowDefaults": "spec: {}\n"},
    }
    (tmp_path / "kubeflow.yaml").write_text(yaml.safe_dump(installed), encoding="utf-8")
    folder = write_kustomization(tmp_path, resources=["kubeflow.yaml"], components=[_OPTION])
    patched = the_only(build(folder), "ConfigMap")
    assert patched["data"].pop("artifactRepository") == "archiveLogs: true\n"
    assert retry_strategy(patched) == strategy
