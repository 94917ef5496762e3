"""The command line of a submission, as tests give it."""

import pytest

from components.launch.command_line import main
from pipeline import image_classification


def submit(target: str, source: str, *options: str) -> None:
    """Submit to a target with a source, a registry and more options."""
    main(image_classification, ["--submit", target, "--source", source, "--registry", "gs://models/registry", *options])


def refused(capsys: pytest.CaptureFixture[str], target: str, source: str, *options: str) -> tuple[int, str]:
    """Submit what must fail, and return the exit code and what was said on stderr."""
    with pytest.raises(SystemExit) as stopped:
        submit(target, source, *options)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, capsys.readouterr().err
