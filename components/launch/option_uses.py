"""Which options of the command line do something with which action: one that does nothing is a mistake."""

import argparse
from collections.abc import Iterable, Mapping

from components.failures import UserError

ACTIONS = ("compile", "components", "run", "submit", "doctor", "parameters")
"""Destinations of the options that say what to do."""

# One set for both ways to run: the same command runs in processes and in containers.
_RUN = frozenset({"--run local", "--run docker"})
_COMPILE = frozenset({"--compile --target kubeflow", "--compile --target vertex"})
_KUBEFLOW = frozenset({"--submit kubeflow", "--doctor --target kubeflow"})
_VERTEX = frozenset({"--submit vertex", "--doctor --target vertex"})
_SUBMIT = _KUBEFLOW | _VERTEX
_VALUES = _RUN | _SUBMIT
_PLACEMENT = _COMPILE | _SUBMIT
_IMAGES = _PLACEMENT | {"--components"}

OPTION_USES: Mapping[str, frozenset[str]] = {
    "source": _VALUES,
    "registry": _VALUES,
    "config": _VALUES,
    "set": _VALUES,
    "embedding_audit": _VALUES | _COMPILE,
    "target": _PLACEMENT,  # --submit names its own, and another one is refused
    "gpu": _PLACEMENT,
    "gpu_count": _PLACEMENT,
    # What Vertex AI lacks is refused with the reason, where the steps are placed.
    "spot": _PLACEMENT,
    "evaluate_on_gpu": _PLACEMENT,
    "node_selector": _PLACEMENT,
    "weights_claim": _PLACEMENT,
    "image_registry": _IMAGES,
    "image_tag": _IMAGES,
    "image_digest": _IMAGES,
    "label": (_COMPILE | _SUBMIT) - {"--compile --target vertex"},  # there runs have labels, not pipelines
    "output": _COMPILE | _RUN | {"--components"},
    "host": _KUBEFLOW,
    "namespace": _KUBEFLOW,
    "project": _VERTEX,
    "region": _VERTEX,
    "api_endpoint": _VERTEX,
    "pipeline_root": _SUBMIT,
    "service_account": _SUBMIT,
    "experiment": _SUBMIT,
    "run_name": _SUBMIT,
    "caching": _SUBMIT,
    "retries": _SUBMIT,
    "docker_network": _RUN,
}
"""For each option, by its destination in argparse, the actions that use it."""


def require_used(given: Iterable[str], options: argparse.Namespace) -> None:
    """Refuse options that the chosen action does not use.

    Args:
        given: Destinations of the options that were given, whatever their values.
        options: The parsed command line.

    Raises:
        UserError: Naming them.
    """
    action = action_in_words(options)
    names = [name for name in given if name not in ACTIONS]
    unused = [name for name in names if action not in OPTION_USES[name]]
    if "target" in names and options.submit not in (None, options.target):
        unused.insert(0, "target")
    if unused:
        listed = [f"--{name.replace('_', '-')}" for name in unused]
        several = len(listed) > 1
        subject = f"{', '.join(listed[:-1])} and {listed[-1]}" if several else listed[0]
        raise UserError(
            f"{subject} {'do' if several else 'does'} nothing with {action}; leave {'them' if several else 'it'} out, "
            "or see --help for what takes " + ("them" if several else "it")
        )


def action_in_words(options: argparse.Namespace) -> str:
    """Return what was asked for as the command line says it, with the target where that matters."""
    if options.run:
        return f"--run {options.run}"
    if options.submit:
        return f"--submit {options.submit}"
    if options.components or options.parameters:
        return "--components" if options.components else "--parameters"
    return f"--{'compile' if options.compile else 'doctor'} --target {options.target}"
