"""The model beside the champion: paired, on the same images, or not at all and why."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from components.evaluate.comparison import compare, compare_with_champion
from components.evaluate.report import judge_comparison
from components.failures import UserError
from components.formats.evaluation import PREDICTIONS_FILE, read_evaluation, write_predictions
from components.formats.model_bundle import Manifest, describe_files, write_bundle
from tests.evaluate.tiny_project import CLASS_NAMES, TEST_LABELS, TinyProject, evaluate_project

LABELS = np.arange(200) % 4


def answers(wrong: list[int]) -> np.ndarray:
    given = LABELS.copy()
    given[wrong] = (given[wrong] + 1) % 4
    return given


def test_the_pairs_are_counted_and_tested() -> None:
    found = compare(LABELS, answers([0, 1, 2]), answers([2, *range(10, 22)]), classes=4, champion="c", seed=0)
    counts = (found.both_right, found.only_model_right, found.only_champion_right, found.both_wrong)
    assert counts == (185, 12, 2, 1)
    assert found.accuracy_difference == pytest.approx(10 / 200)
    assert found.accuracy_difference_low < 0.05 < found.accuracy_difference_high
    assert found.accuracy_difference_low > 0
    assert found.macro_f1_difference == pytest.approx(0.05, abs=0.01)
    assert found.mcnemar_p == pytest.approx(2 * binom.cdf(2, 14, 0.5))
    assert judge_comparison(found).sentence.startswith(
        "Better than the champion: accuracy 0.98, the champion's is 0.94"
    )
    swapped = compare(LABELS, answers([2, *range(10, 22)]), answers([0, 1, 2]), classes=4, champion="c", seed=0)
    assert judge_comparison(swapped).tone == "bad"


def test_a_small_difference_is_not_called_one() -> None:
    found = compare(LABELS, answers([0]), answers([5, 6, 7]), classes=4, champion="c", seed=0)
    assert found.accuracy_difference_low < 0 < found.accuracy_difference_high
    assert judge_comparison(found).tone == "warn"


def test_the_same_answers() -> None:
    found = compare(LABELS, answers([0]), answers([0]), classes=4, champion="c", seed=0)
    assert (found.accuracy_difference, found.accuracy_difference_low, found.mcnemar_p) == (0.0, 0.0, 1.0)
    assert "the very same images" in judge_comparison(found).sentence


PutChampion = Callable[..., str]


@pytest.fixture
def put_champion(tmp_path: Path, project: TinyProject) -> PutChampion:
    """Put a champion, right on all but the first six ashes, into a registry as register does; return the registry."""

    def put(dataset_digest: str = "d" * 64, with_predictions: bool = True, paths: list[str] | None = None) -> str:
        paths = paths or [f"{CLASS_NAMES[label]}/{number:03d}.jpg" for number, label in enumerate(TEST_LABELS)]
        given = np.eye(3, dtype=np.float32)[[1] * 6 + list(TEST_LABELS[6:])]
        order = np.random.default_rng(0).permutation(len(paths))  # a champion's images need not be in our order
        write_predictions(
            [paths[row] for row in order], np.array(TEST_LABELS)[order], given[order], list(CLASS_NAMES), tmp_path
        )
        files = {"labels.txt": b"ash"} | ({PREDICTIONS_FILE: tmp_path / PREDICTIONS_FILE} if with_predictions else {})
        bundle = tmp_path / "registry/trees/versions/abc/def"
        write_bundle(str(bundle), Manifest("trees", "abc", describe_files(files)), files)
        record = {"version": "abc", "path": "versions/abc/def", "dataset_digest": dataset_digest}
        index = {"model_name": "trees", "versions": [record], "aliases": {"champion": "abc"}}
        (tmp_path / "registry/trees/index.json").write_text(json.dumps(index))
        return str(tmp_path / "registry")

    return put


def test_the_report_compares_with_the_champion(
    project: TinyProject, put_champion: PutChampion, outputs: tuple[Path, Path]
) -> None:
    evaluate_project(project, *outputs, registry_uri=put_champion())
    found = read_evaluation(outputs[0]).comparison
    assert found is not None
    assert dataclasses.asdict(found) | {"both_right": 9, "only_model_right": 6, "only_champion_right": 2} == (
        dataclasses.asdict(found)
    )
    page = outputs[1].read_text(encoding="utf-8")
    assert (
        "No difference from the champion that could not be chance: accuracy 0.88, the champion&#39;s is 0.65." in page
    )
    assert "On the same 17 images both are right on 9, this model alone on" in page


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataset_digest": "e" * 64}, "was trained and tested on other images"),
        ({"with_predictions": False}, "does not hold its predictions"),
        ({"paths": [f"{number}.jpg" for number in range(len(TEST_LABELS))]}, "answered other images"),
    ],
)
def test_no_comparison_says_why(put_champion: PutChampion, changes: dict[str, object], reason: str) -> None:
    assert reason in why_not(put_champion(**changes))


def test_no_champion_says_so(tmp_path: Path) -> None:
    assert why_not(str(tmp_path / "nothing")) == "the registry has no champion yet"
    assert why_not("") == "no registry was named"


def test_damage_is_not_taken_for_absence(put_champion: PutChampion, tmp_path: Path) -> None:
    registry = put_champion()
    (tmp_path / "registry/trees/versions/abc/def" / PREDICTIONS_FILE).write_bytes(b"other")
    with pytest.raises(UserError, match=r"is damaged: predictions\.parquet differs"):
        why_not(registry)
    (tmp_path / "registry/trees/index.json").write_text("{")
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        why_not(registry)


def why_not(registry_uri: str) -> str:
    """Return why a table of predictions is not compared."""
    names = [CLASS_NAMES[label] for label in TEST_LABELS]
    paths = [f"{name}/{number:03d}.jpg" for number, name in enumerate(names)]
    table = pd.DataFrame({"path": paths, "true_class": names, "predicted_class": names})
    found, reason = compare_with_champion(
        table, list(CLASS_NAMES), "d" * 64, registry_uri=registry_uri, model_name="trees", seed=0
    )
    assert found is None
    return reason
