"""Which failures Argo retries in a cluster: what a preempted step depends on, read with kubectl."""

import json
from typing import Any, Literal

import yaml

from components.launch.cluster_apis import kubectl

Retried = Literal["interruptions", "deleted pods", "any failure", "by an expression", "unknown"]

DEFAULTS_FILE = "manifests/options/argo-retry/workflow-defaults.yaml"
"""What makes Argo retry interruptions, and only those."""
PATCH = f"kubectl patch configmap workflow-controller-configmap --namespace kubeflow --patch-file {DEFAULTS_FILE}"
WRITTEN_FOR = (2, 17)
"""Release of Kubeflow Pipelines whose Argo the file was written for."""

# What the file's expression looks for: a node that shuts down, and a step that asks to be tried again.
_MARKS = ("imminent node shutdown", "exit code 75")


def retried_in_cluster(timeout_seconds: float) -> Retried:
    """Return which failures of steps with ``set_retry`` Argo retries.

    Returns:
        ``interruptions``: those of DEFAULTS_FILE; ``deleted pods``: policy OnError, which Kubeflow Pipelines 2.17
        installs; ``any failure``: policy OnFailure or Always, Argo's own default and so that of releases before;
        ``by an expression``: of somebody else; ``unknown``: kubectl cannot tell.
    """
    place = ("configmap", "workflow-controller-configmap", "--namespace", "kubeflow")
    printed = kubectl("get", *place, "--output", "json", timeout_seconds=timeout_seconds)
    try:
        strategy = _strategy(json.loads(printed)) if printed else None
    except (ValueError, yaml.YAMLError, AttributeError):
        strategy = None  # not the object that was asked for, or one that Argo could not read either
    if strategy is None:
        return "unknown"
    expression, policy = str(strategy.get("expression") or ""), strategy.get("retryPolicy") or "OnFailure"
    if expression:
        return "interruptions" if all(mark in expression for mark in _MARKS) else "by an expression"
    return "any failure" if policy in ("OnFailure", "Always") else "deleted pods"


def _strategy(config_map: Any) -> dict[str, Any]:
    """Return the retry strategy that Argo gives every template, empty for none."""
    defaults = yaml.safe_load((config_map.get("data") or {}).get("workflowDefaults") or "") or {}
    templates = (defaults.get("spec") or {}).get("templateDefaults") or {}
    strategy = templates.get("retryStrategy") or {}
    return dict(strategy)


def is_older(version: str) -> bool:
    """Return whether a version of Kubeflow Pipelines is known and is before WRITTEN_FOR."""
    parts = version.removeprefix("v").split(".")[:2]
    return len(parts) == 2 and all(part.isdigit() for part in parts) and tuple(map(int, parts)) < WRITTEN_FOR
