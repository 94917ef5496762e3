"""Labels of a run: whose it is and what it belongs to, so that costs and runs can be told apart.

Vertex AI labels the run. A run of Kubeflow Pipelines has no labels, so there every pod of it carries them, which is
also where a cluster's cost reports and ``kubectl get pods --selector`` look.
"""

import re
from collections.abc import Sequence

from components import __version__
from components.failures import UserError
from components.launch.placement import PROJECT_POD_LABELS, Target

# https://cloud.google.com/vertex-ai/docs/general/labels, with the stricter 63 of Google Cloud's resource manager.
_VERTEX_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VERTEX_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_VERTEX_MAXIMUM = 64
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_KUBERNETES_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KUBERNETES_NAME = re.compile(rf"(?:(?=[^/]{{1,253}}/)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?/)?{_KUBERNETES_WORD}")
_KUBERNETES_VALUE = re.compile(rf"(?:{_KUBERNETES_WORD})?")


def read_labels(assignments: Sequence[str], target: Target) -> dict[str, str]:
    """Read ``NAME=VALUE`` pairs by the target's rules.

    Args:
        assignments: What ``--label`` was given.
        target: Where the labels go.

    Returns:
        Value by name; on Vertex AI with the labels every run of this project carries: what it is part of, and its
        version.

    Raises:
        UserError: When a label has no name, is given twice, or is not what the target accepts.
    """
    labels: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not (name and equals):
            raise UserError(f"--label takes NAME=VALUE, for example --label team=vision, not '{assignment}'")
        if name in labels:
            raise UserError(f"--label {name} is given twice; a label has one value")
        _require_valid(name, value, target)
        labels[name] = value
    if target == "kubeflow":
        return labels
    labels = {"part-of": "image-classification", "version": re.sub(r"[^a-z0-9_-]", "-", __version__.lower()), **labels}
    if len(labels) > _VERTEX_MAXIMUM:
        raise UserError(f"a run on Vertex AI has at most {_VERTEX_MAXIMUM} labels, two of them set for you")
    return labels


def read_node_selector(assignments: Sequence[str]) -> dict[str, str]:
    """Read the ``LABEL=VALUE`` pairs that ``--node-selector`` was given.

    Returns:
        Value by label; a value may be empty, as that of ``node-role.kubernetes.io/gpu`` is.

    Raises:
        UserError: When one is no label of Kubernetes, or is given twice.
    """
    labels: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not (name and equals):
            raise UserError(
                "--node-selector takes LABEL=VALUE, for example --node-selector nvidia.com/gpu.product=NVIDIA-L4, not "
                f"'{assignment}'"
            )
        if name in labels:
            raise UserError(f"--node-selector {name} is given twice; a node has one value of a label")
        _require_kubernetes("--node-selector", name, value)
        labels[name] = value
    return labels


def _require_valid(name: str, value: str, target: Target) -> None:
    if target == "vertex":
        if not (_VERTEX_NAME.fullmatch(name) and _VERTEX_VALUE.fullmatch(value)):
            raise UserError(
                f"--label {name}={value}: on Vertex AI a name and a value hold lowercase letters, digits, _ and -, at "
                "most 63 of them, and a name begins with a letter"
            )
        return
    if name in PROJECT_POD_LABELS:
        raise UserError(f"--label {name}: the pipeline sets this label itself; choose another name")
    _require_kubernetes("--label", name, value)


def _require_kubernetes(option: str, name: str, value: str) -> None:
    if not (_KUBERNETES_NAME.fullmatch(name) and _KUBERNETES_VALUE.fullmatch(value)):
        raise UserError(
            f"{option} {name}={value}: on Kubernetes a name and a value hold letters, digits, '-', '_' and '.', at "
            "most 63 of them, begin and end with a letter or digit, and a name may have a domain and '/' before it"
        )
