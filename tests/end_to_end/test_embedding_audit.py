"""The whole pipeline with the optional audit of embeddings, from a ZIP file to a registered model."""

import json
from pathlib import Path

import pandas as pd
import pytest

from components.formats.check_names import EMBEDDING_CHECKS
from components.formats.findings import read_findings
from components.launch.command_line import main
from pipeline import image_classification

ROOT = Path(__file__).resolve().parents[2]


def test_clean_goes_by_the_findings_of_both_audits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    source = ["--source", "samples/animals.zip", "--config", "manifests/runs/demo.yaml"]
    # One epoch is enough to see that the steps after it work.
    short = ["frozen_epochs=1", "fine_tune_epochs=1", "minimum_accuracy=0", "semantic_duplicate_distance=0.6"]
    settings = [word for value in short for word in ("--set", value)]
    main(
        image_classification,
        ["--run", "local", *source, *settings, "--embedding-audit", "--output", str(tmp_path / "run")],
    )
    (root,) = (tmp_path / "run" / "steps").iterdir()
    own = read_findings(root / "audit-embeddings" / "findings")
    own = own[own["check"].isin(EMBEDDING_CHECKS)]
    assert len(own) > 0
    reasons = pd.read_parquet(root / "clean" / "decisions" / "reasons.parquet")
    warned = reasons[reasons["check"].isin(EMBEDDING_CHECKS)]
    assert set(zip(warned["path"], warned["check"], strict=True)) == set(zip(own["path"], own["check"], strict=True))
    outcome = json.loads((tmp_path / "run" / "outcomes" / "audit_embeddings.json").read_text(encoding="utf-8"))
    assert outcome["exit_code"] == 0
    assert (
        (tmp_path / "run" / "reports" / "1-embeddings.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    )
