"""Compile the pipeline for a target: the same input gives the same bytes."""

from pathlib import Path

from kfp import compiler
from kfp.dsl.base_component import BaseComponent

from components.publishing import published_file

_HEADING = "# Compiled from pipeline.py; change that, not this.\n"


def compile_pipeline(pipeline: BaseComponent, output: Path) -> None:
    """Write the compiled pipeline as YAML: one document for Vertex AI, two for Kubeflow.

    Args:
        pipeline: What ``@dsl.pipeline`` returned.
        output: The YAML file to publish.
    """
    with published_file(output) as path:
        # kfp takes the format from the suffix, so the temporary name keeps it.
        compiler.Compiler().compile(pipeline, str(path))
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        # kfp's heading of comments prints a table parameter in an order that changes from process to process.
        first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
        path.write_text("".join([_HEADING, *lines[first:]]), encoding="utf-8")
