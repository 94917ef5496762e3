"""Compile the pipeline for a target, and each component by itself: the same input gives the same bytes."""

import copy
from collections.abc import Iterable
from pathlib import Path

from kfp import compiler
from kfp.dsl.base_component import BaseComponent

from components.launch.placement import Placement
from components.publishing import published_file


def compile_pipeline(pipeline: BaseComponent, output: Path) -> None:
    """Write the compiled pipeline as YAML: one document for Vertex AI, two for Kubeflow.

    Args:
        pipeline: What ``@dsl.pipeline`` returned.
        output: The YAML file to publish.
    """
    _compile(pipeline, output, "pipeline.py")


def compile_components(components: Iterable[BaseComponent], placement: Placement, directory: Path) -> list[Path]:
    """Write each component as a file of its own, to load in other pipelines with ``kfp.components``.

    Args:
        components: What ``@dsl.component`` returned.
        placement: Says where their images are pulled from.
        directory: Where ``<component>.yaml`` goes.

    Returns:
        The files, in the order of the components.
    """
    files = []
    for component in components:
        placed = copy.deepcopy(component)
        container = placed.component_spec.implementation.container
        container.image = placement.image_reference(container.image)
        module = component.python_func.__module__.replace(".", "/")
        files.append(directory / f"{module.split('/')[1]}.yaml")
        _compile(placed, files[-1], f"{module}.py")
    return files


def _compile(component: BaseComponent, output: Path, origin: str) -> None:
    with published_file(output) as path:
        # kfp takes the format from the suffix, so the temporary name keeps it.
        compiler.Compiler().compile(component, str(path))
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        # kfp's heading of comments prints a table parameter in an order that changes from process to process.
        first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
        heading = f"# Compiled from {origin}; change that, not this.\n"
        path.write_text("".join([heading, *lines[first:]]), encoding="utf-8")
