"""The embedding audit alone, and its defaults, which are the pipeline's."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks.embedding_quality import WEIGHTS
from components.audit.command_line import main as audit
from components.audit_embeddings.command_line import main
from components.audit_embeddings.recommended import RECOMMENDED
from components.formats.findings import read_findings
from components.launch.parameters import pipeline_parameters
from components.launch.placement import Placement
from pipeline import image_classification


def test_an_audited_archive_is_looked_at(
    sample_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = ["--archive", str(tmp_path / "archive"), "--findings", str(tmp_path / "findings")]
    assert audit([str(sample_photos), "--report", str(tmp_path / "audit.html"), *kept]) == 0
    weights = ["--backbone", "efficientnet_lite0", "--weights", str(WEIGHTS)]
    report = tmp_path / "out" / "embeddings.html"
    arguments = [str(tmp_path / "archive"), str(tmp_path / "findings"), "--report", str(report), *weights]
    assert main(arguments) == 0
    assert report.is_file()
    assert "check" in read_findings(tmp_path / "out" / "embeddings-findings")
    output = capsys.readouterr().out
    assert "77 of 77 images" in output
    assert "embeddings.html" in output


@pytest.mark.parametrize("missing", ["archive", "findings"])
def test_a_folder_that_is_none_is_said(missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, file in (("archive", "catalog.parquet"), ("findings", "findings.parquet")):
        if folder != missing:
            (tmp_path / folder).mkdir()
            (tmp_path / folder / file).touch()
    arguments = [str(tmp_path / "archive"), str(tmp_path / "findings"), "--report", str(tmp_path / "page.html")]
    assert main(arguments) == 2
    assert f"{tmp_path / missing} has no " in capsys.readouterr().err


def test_the_defaults_are_the_pipelines() -> None:
    here = Placement(
        "vertex", None, 0, spot=False, evaluate_on_gpu=False, node_selector={}, image_registry="", image_tag="",
        embedding_audit="cpu",
    )  # fmt: skip
    parameters = pipeline_parameters(image_classification(here))
    for name, value in dataclasses.asdict(RECOMMENDED).items():
        if name != "require_gpu":  # of the placement
            assert parameters[name].default == value, name
