"""The audit as a whole: its outputs, its determinism, and the settings it refuses."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kfp import dsl

from components.audit.component import audit
from components.audit.image_audit import audit_archive
from components.audit.measuring_pass import measure_archive
from components.failures import UserError
from components.formats.findings import FINDING_COLUMNS, MEASUREMENT_COLUMNS, read_findings, read_measurements
from components.formats.image_archive import read_catalog
from tests.audit.conftest import RECOMMENDED, MakeArchive
from tests.audit.images import photo


def run(archive: Path, directory: Path, **differs: Any) -> dict[str, int | float]:
    directory.mkdir(exist_ok=True)
    settings: dict[str, Any] = {"sample_images": 6, "workers": 2, "seed": 1} | differs
    thresholds = settings.pop("thresholds", RECOMMENDED)
    return audit_archive(archive, directory / "findings", directory / "report.html", thresholds, **settings)


def test_outputs_have_the_documented_columns(animals_archive: Path, tmp_path: Path) -> None:
    metrics = run(animals_archive, tmp_path)
    findings = read_findings(tmp_path / "findings")
    measurements = read_measurements(tmp_path / "findings")
    catalog = read_catalog(animals_archive)
    assert list(findings.columns) == list(FINDING_COLUMNS)
    assert list(measurements.columns)[: len(MEASUREMENT_COLUMNS)] == list(MEASUREMENT_COLUMNS)
    pd.testing.assert_series_equal(measurements["path"], catalog["path"])
    pd.testing.assert_series_equal(measurements["label"], catalog["label"])
    for column, dtype in {**FINDING_COLUMNS}.items():
        assert str(findings[column].dtype) == dtype
    for column, dtype in MEASUREMENT_COLUMNS.items():
        assert str(measurements[column].dtype) == dtype
    assert metrics["images"] == len(catalog) == 97
    assert metrics["findings"] == len(findings)
    assert sum(metrics[f"severity_{name}"] for name in ("error", "warning", "info")) == len(findings)
    assert metrics["usable_images"] == 86
    assert all(math.isfinite(value) for value in metrics.values())
    json.dumps(metrics, allow_nan=False)


def test_a_rerun_over_leftovers_gives_the_same_bytes(animals_archive: Path, tmp_path: Path) -> None:
    run(animals_archive, tmp_path / "one", workers=1)
    leftovers = tmp_path / "two" / "findings"
    leftovers.mkdir(parents=True)
    (leftovers / "leftover.parquet").write_bytes(b"half a file")
    run(animals_archive, tmp_path / "two", workers=5)
    names = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert names == {path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*") if path.is_file()}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_more_images_than_a_chunk_stay_in_catalog_order(make_archive: MakeArchive) -> None:
    small, large = photo(0, 40, 30), photo(0, 60, 50)
    archive = make_archive({f"bird/{number}.jpg": small if number % 3 else large for number in range(200)})
    catalog = read_catalog(archive)
    measured = measure_archive(archive, catalog, 3, None).table(catalog, 0.6)
    assert measured["width_px"].tolist() == [40 if number % 3 else 60 for number in range(200)]


def test_one_bad_file_alone_is_audited(make_archive: MakeArchive, tmp_path: Path) -> None:
    metrics = run(make_archive({"bird/owl.jpg": b""}), tmp_path)
    assert (metrics["check_empty_file"], metrics["usable_images"], metrics["usable_share"]) == (1, 0, 0.0)
    assert "1 image of 1 must not be trained on" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_empty_archive_is_refused(make_archive: MakeArchive, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images"):
        run(make_archive({}), tmp_path)


@pytest.mark.parametrize(
    ("differs", "complaint"),
    [
        ({"dark_brightness": 230.0}, "dark_brightness"),
        ({"dark_brightness": -1.0}, "dark_brightness"),
        ({"bright_brightness": 256.0}, "bright_brightness"),
        ({"low_contrast": 200.0}, "low_contrast"),
        ({"low_contrast": float("nan")}, "low_contrast"),
        ({"size_outlier_iqr": 0.0}, "size_outlier_iqr"),
        ({"aspect_outlier": 0.5}, "aspect_outlier"),
        ({"tiny_side_px": -1}, "tiny_side_px"),
        ({"sample_images": 201}, "sample_images"),
        ({"workers": -1}, "workers"),
    ],
)
def test_settings_without_sense_are_refused(
    make_archive: MakeArchive, tmp_path: Path, differs: dict[str, Any], complaint: str
) -> None:
    limits = {field.name for field in dataclasses.fields(RECOMMENDED)}
    thresholds = dataclasses.replace(RECOMMENDED, **{name: value for name, value in differs.items() if name in limits})
    others = {name: value for name, value in differs.items() if name not in limits}
    with pytest.raises(UserError, match=complaint):
        run(make_archive({"bird/owl.jpg": photo()}), tmp_path, thresholds=thresholds, **others)


def test_progress_is_printed(make_archive: MakeArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(make_archive({"bird/owl.jpg": photo(), "bird/hen.jpg": b""}), tmp_path)
    printed = capsys.readouterr().out
    assert "audit: 2 of 2 images" in printed
    assert "1 error" in printed


def call_component(archive: Path, directory: Path, **differs: Any) -> dsl.Metrics:
    metrics = dsl.Metrics(name="metrics", uri=str(directory / "metrics"), metadata={})
    settings = dataclasses.asdict(RECOMMENDED) | {"sample_images": 4, "workers": 0, "seed": 3} | differs
    audit.python_func(
        archive=dsl.Dataset(name="archive", uri=str(archive), metadata={}),
        findings=dsl.Dataset(name="findings", uri=str(directory / "findings"), metadata={}),
        report=dsl.HTML(name="report", uri=str(directory / "report"), metadata={}),
        metrics=metrics,
        **settings,
    )
    return metrics


def test_the_component_writes_its_outputs_and_logs_metrics(animals_archive: Path, tmp_path: Path) -> None:
    metrics = call_component(animals_archive, tmp_path)
    assert (tmp_path / "findings" / "findings.parquet").exists()
    assert (tmp_path / "report").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert metrics.metadata["severity_error"] == 13
    json.dumps(metrics.metadata, allow_nan=False)


def test_the_component_ends_with_2_when_the_settings_are_wrong(animals_archive: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        call_component(animals_archive, tmp_path, aspect_outlier=0.1)
    assert ended.value.code == 2
    assert not (tmp_path / "findings").exists()
