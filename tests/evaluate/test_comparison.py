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
from components.formats.evaluation import (
    PREDICTIONS_FILE,
    Comparison,
    digest_of_tested,
    read_evaluation,
    read_predictions,
    write_predictions,
)
from components.formats.model_bundle import Manifest, describe_files, write_bundle
from tests.evaluate.tiny_project import (
    CLASS_NAMES,
    LOOKS_LIKE,
    TEST_LABELS,
    TinyProject,
    class_colours,
    draw_images,
    evaluate_project,
)

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
    assert judge_comparison(found, 200).sentence.startswith(
        "Better than the champion: accuracy 0.98, the champion's is 0.94"
    )
    swapped = compare(LABELS, answers([2, *range(10, 22)]), answers([0, 1, 2]), classes=4, champion="c", seed=0)
    assert judge_comparison(swapped, 200).tone == "bad"


def test_a_small_difference_is_not_called_one() -> None:
    found = compare(LABELS, answers([0]), answers([5, 6, 7]), classes=4, champion="c", seed=0)
    assert found.accuracy_difference_low < 0 < found.accuracy_difference_high
    assert judge_comparison(found, 200).tone == "warn"


def test_the_same_answers() -> None:
    found = compare(LABELS, answers([0]), answers([0]), classes=4, champion="c", seed=0)
    assert (found.accuracy_difference, found.accuracy_difference_low, found.mcnemar_p) == (0.0, 0.0, 1.0)
    assert "the very same images" in judge_comparison(found, 200).sentence


PutChampion = Callable[..., str]
TESTED = draw_images("", CLASS_NAMES, TEST_LABELS, LOOKS_LIKE, class_colours(3))
PATHS, DIGESTS = [image.path for image in TESTED], [image.md5 for image in TESTED]


@pytest.fixture
def put_champion(tmp_path: Path, project: TinyProject) -> PutChampion:
    """Put a champion, right on all but the first six ashes, into a registry as register does; return the registry."""

    def put(
        dataset_digest: str = "d" * 64,
        with_predictions: bool = True,
        paths: list[str] = PATHS,
        digests: list[str] | None = DIGESTS,
        class_names: tuple[str, ...] = CLASS_NAMES,
        first_answer: int = 1,
    ) -> str:
        answers = [first_answer] * 6 + list(TEST_LABELS[6:])
        given = np.eye(len(class_names), dtype=np.float32)[answers]
        order = np.random.default_rng(0).permutation(len(paths))  # a champion's images need not be in our order
        table = write_predictions(
            [paths[row] for row in order],
            [(digests or DIGESTS)[row] for row in order],
            np.array(TEST_LABELS)[order],
            given[order],
            list(class_names),
            tmp_path,
        )
        if digests is None:
            table.drop(columns="md5").to_parquet(tmp_path / PREDICTIONS_FILE)
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
        ({"with_predictions": False}, "does not hold its predictions"),
        (
            {"paths": [f"{number}.jpg" for number in range(17)]},
            "0 of the 17 test images are among the 17 that the champion abc was tested on, and at least 17 must be",
        ),
        ({"paths": [*PATHS[:15], "a", "b"]}, "15 of the 17 test images are among the 17 that the champion abc was"),
        ({"digests": ["other bytes", *DIGESTS[1:]]}, "16 of the 17 test images are among the 17 that the champion"),
        ({"digests": None, "dataset_digest": "e" * 64}, "abc was tested on other splits, and does not tell on which"),
    ],
)
def test_no_comparison_says_why(put_champion: PutChampion, changes: dict[str, object], reason: str) -> None:
    assert reason in why_not(put_champion(**changes))


def test_the_same_test_images_are_enough_whatever_was_trained_on(
    project: TinyProject, put_champion: PutChampion, outputs: tuple[Path, Path]
) -> None:
    evaluate_project(project, *outputs, registry_uri=put_champion(dataset_digest="e" * 64))
    evaluation = read_evaluation(outputs[0])
    assert evaluation.comparison is not None
    assert evaluation.comparison.only_model_right == 6
    assert evaluation.test_digest == digest_of_tested(read_predictions(outputs[0]))
    assert evaluation.test_digest in outputs[1].read_text(encoding="utf-8")


def test_a_champion_of_the_first_version_is_compared_on_the_same_splits(put_champion: PutChampion) -> None:
    assert compared(put_champion(digests=None))[0] is not None


def test_a_champion_may_answer_with_a_class_that_the_model_does_not_know(put_champion: PutChampion) -> None:
    found, _ = compared(put_champion(class_names=(*CLASS_NAMES, "elm"), first_answer=3))
    assert found is not None
    assert found.only_model_right == 6
    assert found.champion_accuracy == pytest.approx(11 / 17)


def test_no_champion_says_so(tmp_path: Path) -> None:
    assert why_not(str(tmp_path / "nothing")) == "the registry has no champion yet"
    assert why_not("") == "no registry was named"


def test_damage_is_not_taken_for_absence(put_champion: PutChampion, tmp_path: Path) -> None:
    registry = put_champion()
    (tmp_path / "registry/trees/versions/abc/def" / PREDICTIONS_FILE).write_bytes(b"other")
    assert "predictions of the champion abc cannot be read: " in why_not(registry)
    assert "predictions.parquet differs" in why_not(registry)
    (tmp_path / "registry/trees/index.json").write_text("{")
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        why_not(registry)


def why_not(registry_uri: str) -> str:
    """Return why a table of predictions is not compared."""
    found, reason = compared(registry_uri)
    assert found is None
    return reason


def compared(registry_uri: str) -> tuple[Comparison | None, str]:
    """Compare right answers to all test images with the champion of a registry."""
    names = [CLASS_NAMES[label] for label in TEST_LABELS]
    table = pd.DataFrame({"path": PATHS, "md5": DIGESTS, "true_class": names, "predicted_class": names})
    return compare_with_champion(
        table, list(CLASS_NAMES), "d" * 64, registry_uri=registry_uri, model_name="trees", seed=0
    )


def test_the_page_says_on_how_many_of_how_many_images() -> None:
    found = compare(LABELS, answers([0, 1, 2]), answers([2, *range(10, 22)]), classes=4, champion="c", seed=0)
    assert judge_comparison(found, 201).sentence == (
        "Better than the champion: accuracy 0.98, the champion's is 0.94, on the 200 of 201 test images that it was "
        "tested on too."
    )
