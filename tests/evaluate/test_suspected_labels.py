"""Planted wrong labels among training images are found, shown, and handed to cleaning."""

from pathlib import Path

import pandas as pd
import pytest

from components.audit_embeddings.embedding_findings import SEVERITY
from components.clean.archive_cleaning import clean_archive
from components.clean.cleaning_policy import cleaning_policy, with_listed_files
from components.clean.keep_decisions import decide
from components.evaluate.predictions import load_classifier
from components.evaluate.suspected_labels import suspect_labels, write_suspected_findings
from components.failures import UserError
from components.formats.check_names import EMBEDDING_CHECKS
from components.formats.decisions import read_decisions
from components.formats.findings import read_facts, read_findings, read_measurements, write_findings
from components.formats.splits import ASSIGNMENTS_FILE, read_splits
from components.formats.suspected_labels import LABEL_ERROR, SUSPECTED_LIST_FILE, read_suspected_labels
from tests.clean.tables import catalog_of, findings_of, write_both
from tests.evaluate.tiny_project import CLASS_NAMES, TinyProject, evaluate_project, write_project

LABELS = [0] * 30 + [1] * 30 + [2] * 30
WRONG = {3: 1, 35: 0, 64: 1}
LOOKS_LIKE = [WRONG.get(number, label) for number, label in enumerate(LABELS)]
PLANTED_CLASSES = [CLASS_NAMES[label] for label in LABELS]
WRONG_PATHS = ["ash/train-003.jpg", "birch/train-035.jpg", "cedar/train-064.jpg"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """A project of 90 training images, three of them filed under a wrong class; never write to it."""
    return write_project(tmp_path_factory.mktemp("planted"), training_labels=LABELS, training_looks_like=LOOKS_LIKE)


def suspect(project: TinyProject, most_images: int = 1000, batch_size: int = 32) -> pd.DataFrame:
    splits = read_splits(project.splits)
    model = load_classifier(project.model, splits)
    found = suspect_labels(model, splits, project.splits, most_images=most_images, batch_size=batch_size, seed=7)
    assert found.not_judged == ""
    assert found.judged_images == min(most_images, len(LABELS))
    return found.table


def test_planted_errors_are_found_with_the_right_suggestion_whatever_the_batch(planted: TinyProject) -> None:
    table = suspect(planted)
    assert sorted(table["path"]) == WRONG_PATHS
    assert table["confidence"].is_monotonic_increasing
    suggested = dict(zip(table["path"], table["suggested"], strict=True))
    assert [suggested[path] for path in WRONG_PATHS] == ["birch", "ash", "birch"]
    assert table["position"].isin(WRONG).all()
    pd.testing.assert_frame_equal(suspect(planted, batch_size=7), table)


def test_of_many_images_a_sample_is_judged(planted: TinyProject) -> None:
    assert set(suspect(planted, most_images=60)["path"]) <= set(WRONG_PATHS)


def test_the_page_shows_them_and_cleaning_goes_by_them(planted: TinyProject, outputs: tuple[Path, Path]) -> None:
    evaluate_project(planted, *outputs)
    page = " ".join(outputs[1].read_text(encoding="utf-8").split())
    assert "3 of the labels of 90 training images are probably wrong." in page
    for path in WRONG_PATHS:
        assert path in page
    suspected = outputs[0].with_name("suspected")
    findings, measurements = read_findings(suspected), read_measurements(suspected)
    assert findings["check"].tolist() == [LABEL_ERROR] * 3
    assert findings["severity"].tolist() == [SEVERITY] * 3
    assert findings["message"].str.contains("models that have not seen it say 'birch'").sum() == 2
    catalog = measurements[["path", "label"]].assign(md5="", size_bytes=1)
    policy = cleaning_policy({LABEL_ERROR: "drop"}, [], [])
    decided = decide(catalog, findings, measurements, policy)
    assert sorted(decided.images.loc[~decided.images["keep"], "path"]) == WRONG_PATHS
    listed = cleaning_policy({}, [], [f"@{suspected / SUSPECTED_LIST_FILE}"])
    decided = decide(catalog, findings[:0], measurements, with_listed_files(listed))
    assert sorted(decided.images.loc[~decided.images["keep"], "path"]) == WRONG_PATHS


def test_the_next_run_cleans_by_them(planted: TinyProject, outputs: tuple[Path, Path], tmp_path: Path) -> None:
    evaluate_project(planted, *outputs)
    suspected = outputs[0].with_name("suspected")
    table = read_suspected_labels(suspected)
    assert (table["measured"] < table["threshold"]).all()
    paths = [f"{name}/train-{number:03d}.jpg" for number, name in zip(range(90), PLANTED_CLASSES, strict=True)]
    digests = dict(zip(table["path"], table["md5"], strict=True))
    # The second of the three is replaced by another image meanwhile.
    catalog = catalog_of({path: digests.get(path, path) for path in paths} | {WRONG_PATHS[1]: "other bytes"})
    archive, findings = write_both(tmp_path, catalog, findings_of([]))
    policy = cleaning_policy({LABEL_ERROR: "drop"}, [], [])
    counts = clean_archive(
        archive, findings, policy, "", tmp_path / "out", tmp_path / "summary", earlier_findings=str(suspected)
    )
    assert (counts["earlier_findings_applies"], counts["earlier_findings_changed"]) == (2, 1)
    decisions = read_decisions(tmp_path / "out").set_index("path")
    dropped = decisions[~decisions["keep"]]
    assert sorted(dropped.index) == [WRONG_PATHS[0], WRONG_PATHS[2]]
    for path, row in dropped.iterrows():
        found = table.set_index("path").loc[str(path)]
        assert row[["check", "measured", "threshold"]].tolist() == [
            LABEL_ERROR, found["measured"], found["threshold"],
        ]  # fmt: skip


def test_earlier_findings_stay_and_none_is_there_twice(planted: TinyProject, tmp_path: Path) -> None:
    measurements = read_measurements(planted.findings)
    table = suspect(planted)
    write_suspected_findings(table, planted.findings, measurements, tmp_path / "once")
    known = read_findings(tmp_path / "once")
    dark = known.iloc[[0]].assign(check="dark", path="ash/000.jpg")
    again = tmp_path / "again"
    again.mkdir()
    write_findings(pd.concat([known, dark]), measurements, again)
    (again / "summary.json").write_text('{"images": 107}')
    write_suspected_findings(table, again, measurements, tmp_path / "twice")
    assert read_findings(tmp_path / "twice")["check"].tolist() == ["dark", *[LABEL_ERROR] * 3]
    assert read_facts(tmp_path / "twice") == {"images": 107}


@pytest.mark.parametrize(
    ("most_images", "labels", "reason"), [(0, 30, "label_check_images is 0"), (9, 0, "no training")]
)
def test_nothing_to_judge_says_why(tmp_path: Path, most_images: int, labels: int, reason: str) -> None:
    project = write_project(tmp_path, training_labels=LABELS[:labels], training_looks_like=LABELS[:labels])
    splits = read_splits(project.splits)
    found = suspect_labels(
        load_classifier(project.model, splits), splits, project.splits, most_images=most_images, batch_size=8, seed=0
    )
    assert reason in found.not_judged
    assert found.table.empty


def test_a_single_class_cannot_be_judged(tmp_path: Path) -> None:
    project = write_project(tmp_path, training_labels=[1] * 9, training_looks_like=[1] * 9)
    splits = read_splits(project.splits)
    model = load_classifier(project.model, splits)
    found = suspect_labels(model, splits, project.splits, most_images=99, batch_size=8, seed=0)
    assert "no two classes have enough training images" in found.not_judged


def test_splits_without_assignments_are_refused(planted: TinyProject, tmp_path: Path) -> None:
    project = write_project(tmp_path, training_labels=LABELS, training_looks_like=LABELS)
    (project.splits / ASSIGNMENTS_FILE).unlink()
    with pytest.raises(UserError, match=r"hold no assignments\.parquet"):
        suspect(project)


def test_the_check_has_an_action_in_cleaning() -> None:
    assert LABEL_ERROR in EMBEDDING_CHECKS
