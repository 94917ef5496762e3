"""Outputs that cannot be written are found by every step before it reads, or computes, anything."""

import inspect
from pathlib import Path
from typing import Any, get_args

import pytest
from kfp import dsl

import pipeline
from components.failures import RETRY_WAITS_VARIABLE

VALUES: dict[type, Any] = {str: "", int: 1, float: 0.0, bool: False, list: [], dict: {}}


@pytest.mark.parametrize("step", [component.python_func for component in pipeline.COMPONENTS], ids=lambda s: s.__name__)
def test_outputs_that_cannot_be_written_are_found_first(
    step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So its inputs need not be there, and its settings may be out of range."""
    monkeypatch.setenv(RETRY_WAITS_VARIABLE, "")
    (tmp_path / "file").touch()
    parameters = inspect.signature(step).parameters.values()
    outputs = [parameter.name for parameter in parameters if "Output" in str(get_args(parameter.annotation))]
    published = [name for name in outputs if name not in ("metrics", "classification")]  # kfp writes those
    for unwritable in published:
        given = {
            parameter.name: VALUES.get(parameter.annotation)
            if parameter.annotation in VALUES
            else dsl.Artifact(
                name=parameter.name,
                uri=str(tmp_path / ("file" if parameter.name == unwritable else "outputs") / parameter.name),
                metadata={},
            )
            for parameter in parameters
        }

        with pytest.raises(SystemExit, match="2"):
            step(**given)

        said = capsys.readouterr()
        assert said.err.splitlines()[-1].startswith(f"{step.__name__}: error: cannot write {tmp_path / 'file'}")
        assert "is a file; give a folder" in said.err
        assert said.out == ""
    assert published
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
