"""The sample data set: rebuilt to the byte, and audited to exactly what is planted in it."""

import csv
import io
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from components.audit.checks import run_checks
from components.audit.image_audit import measured_table
from components.audit.measuring_pass import measure_archive
from components.audit.near_copies import near_copies
from components.formats.image_archive import read_catalog, read_skipped
from samples.build_animals import build
from tests.audit.conftest import RECOMMENDED, SAMPLES


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    return pd.read_csv(SAMPLES / "planted.csv", dtype="str", keep_default_na=False)


@pytest.fixture(scope="module")
def findings(animals_archive: Path) -> pd.DataFrame:
    catalog = read_catalog(animals_archive)
    measured = measure_archive(animals_archive, catalog, 2, None)
    measurements = measured.table(catalog, 0.6)
    near = near_copies(catalog, measurements, measured.fingerprints, RECOMMENDED)
    table = measured_table(catalog, measurements, near)
    return run_checks(table, read_skipped(animals_archive), RECOMMENDED)


def test_the_sample_is_what_its_script_builds(tmp_path: Path) -> None:
    build(tmp_path)
    assert (tmp_path / "planted.csv").read_bytes() == (SAMPLES / "planted.csv").read_bytes()
    with zipfile.ZipFile(tmp_path / "animals.zip") as built, zipfile.ZipFile(SAMPLES / "animals.zip") as kept:
        assert built.namelist() == kept.namelist()
        for name in kept.namelist():
            assert built.read(name) == kept.read(name), name
    assert (tmp_path / "animals.zip").read_bytes() == (SAMPLES / "animals.zip").read_bytes()


def test_the_audit_finds_what_is_planted_and_nothing_else(findings: pd.DataFrame, planted: pd.DataFrame) -> None:
    found = set(zip(findings["path"], findings["check"], strict=True))
    expected = set(zip(planted["path"], planted["check"], strict=True))
    assert found - expected == set(), "false alarms"
    assert expected - found == set(), "missed"
    assert len(findings) == len(planted), "each defect once"


def test_related_images_are_the_planted_ones(findings: pd.DataFrame, planted: pd.DataFrame) -> None:
    both = findings.merge(planted, on=["path", "check"], suffixes=("_found", "_planted"))
    assert both["related_path_found"].fillna("").tolist() == both["related_path_planted"].tolist()


def test_hardly_an_original_is_lost_to_what_must_not_be_trained_on(planted: pd.DataFrame) -> None:
    dropped = planted[
        planted["check"].isin(["truncated", "corrupt", "conflicting_label", "label_mismatch", "dark", "bright"])
    ]
    originals = {path.relative_to(SAMPLES / "photos").as_posix() for path in (SAMPLES / "photos").glob("*/*.jpg")}
    assert len(originals) == 77
    assert originals.isdisjoint(dropped["path"])
    in_two_classes = planted.loc[planted["check"] == "near_conflicting_label", "path"]
    assert originals & set(in_two_classes) == {"mammal/dolphin.jpg"}


def test_every_image_keeps_its_author_and_licence() -> None:
    with zipfile.ZipFile(SAMPLES / "animals.zip") as members:
        attribution = list(csv.DictReader(io.StringIO(members.read("animals/ATTRIBUTION.csv").decode())))
        labels = list(csv.DictReader(io.StringIO(members.read("animals/labels.csv").decode())))
        images = {
            name.removeprefix("animals/")
            for name in members.namelist()
            if name.startswith("animals/") and name.lower().endswith((".jpg", ".jpeg", ".png"))
        }
    assert {row["path"] for row in labels} == images
    assert all(row["author"] and row["licence"] and row["changes"] for row in attribution)
    drawn = {"bird/eagle.jpg", "bird/notes.jpg", "mammal/elephant.png", "mammal/mole.jpg", "fish/fish32.jpg"}
    assert {row["file"] for row in attribution} == images - drawn
