"""The component reads an archive and its findings and leaves decisions, a summary and metrics."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kfp import dsl

from components.clean.component import clean
from components.formats.decisions import read_decisions
from components.formats.image_archive import read_catalog
from tests.clean.tables import catalog_of, distinct_catalog, findings_of, write_both

CATALOG = catalog_of({"cat/1.jpg": "x", "cat/2.jpg": "x", "cat/3.jpg": "y", "dog/1.jpg": "z"})
FOUND = findings_of([("cat/1.jpg", "exact_duplicate", "g"), ("cat/2.jpg", "exact_duplicate", "g")])


def run_clean(
    directory: Path, archive: Path, findings: Path, policy: dict[str, str], previous_decisions: str = ""
) -> dict[str, Any]:
    metrics = dsl.Metrics(name="metrics", uri=str(directory / "metrics"), metadata={})
    clean.python_func(
        archive=dsl.Dataset(name="archive", uri=str(archive), metadata={}),
        findings=dsl.Dataset(name="findings", uri=str(findings), metadata={}),
        policy=policy,
        allow_list=[],
        deny_list=["cat/3.jpg"],
        previous_decisions=previous_decisions,
        earlier_findings="",
        decisions=dsl.Dataset(name="decisions", uri=str(directory / "decisions"), metadata={}),
        summary=dsl.Markdown(name="summary", uri=str(directory / "summary.md"), metadata={}),
        metrics=metrics,
    )
    return metrics.metadata


def test_it_writes_decisions_summary_and_metrics(tmp_path: Path) -> None:
    archive, findings = write_both(tmp_path, CATALOG, FOUND)
    metrics = run_clean(tmp_path, archive, findings, {"exact_duplicate": "drop"})
    assert metrics == {
        "images": 4,
        "kept_images": 2,
        "dropped_images": 2,
        "fixed_images": 0,
        "quarantined_images": 0,
        "warned_images": 0,
        "classes": 2,
        "dropped_by_deny_list": 1,
        "dropped_by_exact_duplicate": 1,
    }
    decisions = read_decisions(tmp_path / "decisions")
    assert list(decisions["keep"]) == [True, False, False, True]
    pd.testing.assert_frame_equal(decisions[CATALOG.columns], read_catalog(archive))
    assert "2 of 4 images are kept" in (tmp_path / "summary.md").read_text()


def test_a_rerun_over_leftovers_gives_the_same_bytes(tmp_path: Path) -> None:
    archive, findings = write_both(tmp_path, CATALOG, FOUND)
    run_clean(tmp_path, archive, findings, {"exact_duplicate": "drop"})
    outputs = [tmp_path / "summary.md", *sorted((tmp_path / "decisions").iterdir())]
    first = [path.read_bytes() for path in outputs]
    (tmp_path / "decisions" / "leftover").touch()
    (tmp_path / ".decisions.partial").mkdir()
    run_clean(tmp_path, archive, findings, {"exact_duplicate": "drop"})
    assert [path.read_bytes() for path in outputs] == first
    written = sorted(path.name for path in (tmp_path / "decisions").iterdir())
    assert written == ["catalog.parquet", "dropped.txt", "policy.json", "reasons.parquet"]


def test_a_bad_policy_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, findings = write_both(tmp_path, CATALOG, FOUND)
    with pytest.raises(SystemExit) as ended:
        run_clean(tmp_path, archive, findings, {"exact_duplicate": "remove"})
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("clean: error: the policy's action for 'exact_duplicate' is 'remove'")
    assert not (tmp_path / "decisions").exists()


def test_findings_of_another_archive_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, _ = write_both(tmp_path, CATALOG, FOUND)
    (tmp_path / "other").mkdir()
    _, findings = write_both(tmp_path / "other", distinct_catalog("cat/1.jpg", "dog/1.jpg"), findings_of([]))
    with pytest.raises(SystemExit):
        run_clean(tmp_path, archive, findings, {})
    assert "run the audit on this archive" in capsys.readouterr().err
