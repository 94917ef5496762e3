"""The published run files: parameters the pipeline has, values it takes, and commands in their headings that exist."""

import re
import shlex
from pathlib import Path

import pytest

from components.launch.command_line import command_line_parser
from components.launch.parameters import pipeline_parameters, read_run_file, with_defaults
from components.launch.placement import Placement
from components.launch.preflight import check_values
from pipeline import image_classification

ROOT = Path(__file__).resolve().parents[2]
RUN_FILES = sorted((ROOT / "manifests" / "runs").glob("*.yaml"))
PLACEMENT = Placement("vertex", None, 0, False, False, {}, "", "")


def commands(path: Path) -> list[list[str]]:
    """Return the words after ``python pipeline.py`` of each command in a file's heading."""
    heading = [line.removeprefix("#") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(heading))
    return [shlex.split(command) for command in re.findall(r"python pipeline\.py (.*)", text)]


def test_there_is_one_for_each_purpose() -> None:
    assert [path.stem for path in RUN_FILES] == ["demo", "full", "smoke"]


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.stem)
def test_its_values_are_accepted(path: Path) -> None:
    parameters = pipeline_parameters(image_classification(PLACEMENT))
    values = {"source": "gs://bucket/Animals.zip", "registry_uri": "gs://bucket/models"}
    check_values(with_defaults(values | read_run_file(path, parameters), parameters))


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.stem)
def test_its_heading_says_what_to_type_and_what_it_takes(path: Path) -> None:
    found = commands(path)
    assert found
    for words in found:
        options = command_line_parser().parse_args(words)
        assert ROOT / options.config == path
        assert options.source.startswith("gs://") or (ROOT / options.source).is_file()
    _, _, measured = path.read_text(encoding="utf-8").partition("# Measured on ")
    assert re.search(r"\b\d+ s\b", measured)
