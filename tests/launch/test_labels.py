"""Labels, by the rules of the place they go to."""

import re

import pytest

from components import __version__
from components.failures import UserError
from components.launch.labels import read_labels
from components.launch.placement import Target

OWN = {"part-of": "image-classification", "version": __version__.replace(".", "-")}


@pytest.mark.parametrize(
    ("target", "given", "expected"),
    [
        ("vertex", [], OWN),
        ("vertex", ["team=vision", "cost_center=a-1"], OWN | {"team": "vision", "cost_center": "a-1"}),
        ("vertex", ["part-of=zoo", "empty="], OWN | {"part-of": "zoo", "empty": ""}),
        ("vertex", [f"{'n' * 63}={'v' * 63}"], OWN | {"n" * 63: "v" * 63}),
        ("kubeflow", [], {}),
        ("kubeflow", ["team=Vision.1", "kueue.x-k8s.io/queue-name=gpus", "empty="],
         {"team": "Vision.1", "kueue.x-k8s.io/queue-name": "gpus", "empty": ""}),
        ("kubeflow", [f"{'n' * 63}={'v' * 63}"], {"n" * 63: "v" * 63}),
    ],
)  # fmt: skip
def test_valid_labels_are_read(target: Target, given: list[str], expected: dict[str, str]) -> None:
    assert read_labels(given, target) == expected


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        ("vertex", ["team"], "--label takes NAME=VALUE"),
        ("kubeflow", ["=vision"], "--label takes NAME=VALUE"),
        ("vertex", ["team=a", "team=b"], "--label team is given twice"),
        ("vertex", ["Team=vision"], "--label Team=vision: on Vertex AI"),
        ("vertex", ["1team=vision"], "a name begins with a letter"),
        ("vertex", ["team=computer vision"], "lowercase letters, digits, _ and -"),
        ("vertex", ["team=Vision"], "lowercase letters"),
        ("vertex", [f"{'n' * 64}=v"], "at most 63"),
        ("vertex", [f"n={'v' * 64}"], "at most 63"),
        ("vertex", [f"n{number}=v" for number in range(63)], "at most 64 labels"),
        ("kubeflow", ["team=vision-"], "begin and end with a letter or digit"),
        ("kubeflow", ["a/b/c=v"], "--label a/b/c=v: on Kubernetes"),
        ("kubeflow", ["team=a=b"], "--label team=a=b: on Kubernetes"),
        ("kubeflow", [f"n={'v' * 64}"], "at most 63"),
        ("kubeflow", ["app.kubernetes.io/version=2"], "the pipeline sets this label itself"),
    ],
)
def test_a_label_the_target_would_refuse_is_refused_first(target: Target, given: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read_labels(given, target)
