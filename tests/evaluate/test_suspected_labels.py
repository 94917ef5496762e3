"""Planted wrong labels among training images are found, shown, and handed to cleaning."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from components.audit_embeddings.embedding_findings import SEVERITY
from components.clean.archive_cleaning import clean_archive
from components.clean.cleaning_policy import cleaning_policy, with_listed_files
from components.clean.keep_decisions import decide
from components.evaluate.evaluation import evaluate_model
from components.evaluate.suspected_labels import SuspectedLabels, suspect_labels, write_suspected_findings
from components.failures import UserError
from components.formats.check_names import EMBEDDING_CHECKS
from components.formats.decisions import read_decisions
from components.formats.findings import read_facts, read_findings, read_measurements, write_findings
from components.formats.splits import ASSIGNMENTS_FILE, read_splits
from components.formats.suspected_labels import LABEL_ERROR, SUSPECTED_LIST_FILE, read_suspected_labels
from components.formats.trained_model import KERAS_FILE, read_training_record, write_training_record
from components.formats.training_features import (
    TRAINING_FEATURES_FILE,
    TrainingFeatures,
    of_length_1,
    shuffled_positions,
    training_shards_digest,
    write_training_features,
)
from tests.clean.tables import catalog_of, findings_of, write_both
from tests.evaluate.tiny_project import CLASS_NAMES, IMAGE_SIZE_PX, TinyProject, evaluate_project, write_project

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
    found = judged(project, most_images, batch_size)
    assert found.not_judged == ""
    assert found.judged_images == min(most_images, len(LABELS))
    return found.table


def judged(project: TinyProject, most_images: int, batch_size: int = 32) -> SuspectedLabels:
    splits = read_splits(project.splits)
    return suspect_labels(
        project.frozen, splits, project.splits, most_images=most_images, batch_size=batch_size, seed=7
    )


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
    found = judged(project, most_images)
    assert reason in found.not_judged
    assert found.table.empty


def test_a_single_class_cannot_be_judged(tmp_path: Path) -> None:
    project = write_project(tmp_path, training_labels=[1] * 9, training_looks_like=[1] * 9)
    found = judged(project, most_images=99)
    assert "no two classes have enough training images" in found.not_judged


def test_splits_without_assignments_are_refused(planted: TinyProject, tmp_path: Path) -> None:
    project = write_project(tmp_path, training_labels=LABELS, training_looks_like=LABELS)
    (project.splits / ASSIGNMENTS_FILE).unlink()
    with pytest.raises(UserError, match=r"hold no assignments\.parquet"):
        suspect(project)


def test_the_check_has_an_action_in_cleaning() -> None:
    assert LABEL_ERROR in EMBEDDING_CHECKS


def changed(planted: TinyProject, directory: Path, blind: str = "") -> TinyProject:
    """Return a copy of the planted project to change, its model or its frozen model made blind to all images."""
    project = dataclasses.replace(
        planted,
        model=shutil.copytree(planted.model, directory / "model"),
        frozen=shutil.copytree(planted.frozen, directory / "frozen"),
    )
    if blind:
        layers = [
            keras.Input((IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3)),
            keras.layers.Rescaling(0.0, 0.5),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
        keras.Sequential(layers).save(directory / blind / KERAS_FILE)
    return project


def keep_features(project: TinyProject, **changes: Any) -> TrainingFeatures:
    """Leave features in the frozen model's folder that tell classes from each other as labels should have it."""
    splits = read_splits(project.splits)
    positions = np.arange(len(LABELS))
    seen = np.random.default_rng(0).normal(0, 0.1, (len(LABELS), 8)).astype(np.float32)
    seen[positions, LOOKS_LIKE] += 1
    kept = TrainingFeatures(of_length_1(seen), positions, 5, splits.dataset_digest, training_shards_digest(splits))
    kept = dataclasses.replace(kept, **changes)
    write_training_features(kept, project.frozen)
    return kept


def test_labels_are_judged_by_the_frozen_backbone_whatever_the_model_sees(
    planted: TinyProject, outputs: tuple[Path, Path], tmp_path: Path
) -> None:
    project = changed(planted, tmp_path, blind="model")
    evaluate_project(project, *outputs)
    assert sorted(read_suspected_labels(outputs[0].with_name("suspected"))["path"]) == WRONG_PATHS
    page = " ".join(outputs[1].read_text(encoding="utf-8").split())
    said = "They see what the frozen backbone, tiny with weights “random”, saw before anything had learned these labels"
    assert f"{said}, in each image as the split holds it. Look before" in page
    blind = changed(planted, tmp_path / "blind", blind="frozen")
    assert not set(judged(blind, 1000).table["path"]) & set(WRONG_PATHS)


def test_features_that_train_frozen_kept_are_used_without_another_look(
    planted: TinyProject, outputs: tuple[Path, Path], tmp_path: Path
) -> None:
    project = changed(planted, tmp_path)
    (project.frozen / KERAS_FILE).unlink()
    keep_features(project)
    evaluate_project(project, *outputs)
    table = suspect(project)
    assert sorted(table["path"]) == WRONG_PATHS
    assert sorted(table["position"]) == sorted(WRONG)
    assert sorted(read_suspected_labels(outputs[0].with_name("suspected"))["path"]) == WRONG_PATHS
    page = " ".join(outputs[1].read_text(encoding="utf-8").split())
    assert "had learned these labels, in the mean over 5 augmented views of each image. Look before" in page


def test_of_a_sample_that_was_kept_the_images_are_judged_that_a_sample_of_all_would_have(
    planted: TinyProject, tmp_path: Path
) -> None:
    project = changed(planted, tmp_path)
    whole = keep_features(project)
    expected = judged(project, most_images=60)
    positions = np.sort(shuffled_positions(len(LABELS), seed=7)[:70])
    keep_features(project, features=whole.features[positions], positions=positions)
    assert judged(project, most_images=1000).judged_images == 70
    pd.testing.assert_frame_equal(judged(project, most_images=60).table, expected.table)


@pytest.mark.parametrize("digest", ["dataset_digest", "shards_digest"])
def test_features_of_other_images_are_refused(planted: TinyProject, tmp_path: Path, digest: str) -> None:
    project = changed(planted, tmp_path)
    keep_features(project, **{digest: "0" * 64})
    with pytest.raises(UserError, match="features are of other training images, or of the same ones in other shards"):
        judged(project, 1000)


def test_damaged_features_are_refused(planted: TinyProject, tmp_path: Path) -> None:
    project = changed(planted, tmp_path)
    keep_features(project)
    file = project.frozen / TRAINING_FEATURES_FILE
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"features are damaged \(.*\): run train_frozen again"):
        judged(project, 1000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset_digest": "e" * 64}, "trained on other splits .digest eeeeeeeeeeee, these have dddddddddddd"),
        ({"best_phase": "fine_tune"}, "is one of phase 'fine_tune', whose backbone has learned the labels"),
    ],
)
def test_a_frozen_model_that_is_none_of_these_splits_is_refused(
    planted: TinyProject, outputs: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    project = changed(planted, tmp_path)
    write_training_record(dataclasses.replace(read_training_record(project.frozen), **change), project.frozen)
    with pytest.raises(UserError, match=message):
        evaluate_project(project, *outputs)
    assert not any(path.exists() for path in outputs)


def test_a_model_that_was_not_fine_tuned_is_its_own_frozen_model(
    planted: TinyProject, outputs: tuple[Path, Path]
) -> None:
    evaluate_project(dataclasses.replace(planted, model=planted.frozen), *outputs)
    assert sorted(read_suspected_labels(outputs[0].with_name("suspected"))["path"]) == WRONG_PATHS


@pytest.mark.parametrize("tuned", [True, False])
def test_a_pipeline_that_was_compiled_earlier_hands_over_no_frozen_model(
    planted: TinyProject, outputs: tuple[Path, Path], tuned: bool
) -> None:
    """Its shell calls as it always did."""
    evaluate_model(
        planted.splits,
        planted.model if tuned else planted.frozen,
        planted.findings,
        *outputs,
        outputs[0].with_name("suspected"),
        label_check_images=1000,
        registry_uri="",
        model_name="trees",
        batch_size=4,
        seed=20260,
    )
    found = read_suspected_labels(outputs[0].with_name("suspected"))
    assert sorted(found["path"]) == ([] if tuned else WRONG_PATHS)
    page = " ".join(outputs[1].read_text(encoding="utf-8").split())
    assert ("Not looked for: this pipeline was compiled when" in page) is tuned
