"""What the gate rejects, and why."""

import dataclasses

import pytest

from components.failures import UserError
from components.register.promotion_gate import (
    Difference,
    Gate,
    Scores,
    accuracy_difference,
    check_floors,
    rejections,
    stands_above,
)
from components.register.version_index import VersionRecord

SCORES = Scores(0.8, 0.72, 0.86, "d1", {"ash": 0.9, "birch": 0.6, "cedar": None})


def champion(accuracy: float, low: float, high: float, dataset: str = "d1") -> VersionRecord:
    return VersionRecord("A", "versions/A/x", "2026-01-01", accuracy, dataset, "run", low, high)


@pytest.mark.parametrize(
    ("gate", "changes", "reasons"),
    [
        (Gate(0.8), {}, []),
        (Gate(0.81), {}, ["test accuracy 0.8000 is below the required 0.8100"]),
        (Gate(0.0, {"birch": 0.6}), {}, []),
        (Gate(0.0, {"birch": 0.61}), {}, ["class birch has a recall of 0.6000, below the required 0.6100"]),
        (Gate(0.0, {"*": 0.7, "birch": 0.5, "cedar": 0.0}), {}, []),
        (
            Gate(0.0, {"*": 0.7}),
            {},
            [
                "class birch has a recall of 0.6000, below the required 0.7000",
                "class cedar has no test image to show the required recall of 0.7000",
            ],
        ),
        (Gate(0.0, {}, 0.1), {"calibration_error": 0.1}, []),
        (
            Gate(0.0, {}, 0.1),
            {"calibration_error": 0.11},
            ["calibration error 0.1100 is above the allowed 0.1000"],
        ),
        (
            Gate(0.0, {}, 0.1),
            {},
            ["the evaluation does not tell the calibration error that maximum_calibration_error limits"],
        ),
        (Gate(0.0), {"broken_exports": ("saved_model/1 differs",)}, ["saved_model/1 differs"]),
    ],
    ids=[
        "passes", "accuracy", "floor reached", "floor missed", "own floors", "every class", "calibrated",
        "uncalibrated", "calibration unknown", "export broken",
    ],
)  # fmt: skip
def test_reasons(gate: Gate, changes: dict[str, object], reasons: list[str]) -> None:
    assert rejections(gate, dataclasses.replace(SCORES, **changes), None) == reasons  # type: ignore[arg-type]


def test_all_reasons_are_told_at_once() -> None:
    scores = dataclasses.replace(SCORES, broken_exports=("broken",))
    assert len(rejections(Gate(0.9, {"*": 1.0}, 0.1), scores, champion(0.99, 0.98, 1.0))) == 7


def test_a_floor_for_an_unknown_class_is_a_mistake() -> None:
    with pytest.raises(UserError, match="class_recall_floors names 'oak', which is no class of this model"):
        check_floors({"*": 0.5, "oak": 0.5}, SCORES.recalls, "this model")


@pytest.mark.parametrize(
    "settings", [(1.1, {}, 1.0), (0.5, {"*": -0.1}, 1.0), (0.5, {"*": "0.5"}, 1.0), (0.5, {}, 2.0), (0.5, [0.5], 1.0)]
)
def test_settings_that_no_model_could_be_held_to(settings: tuple[float, dict[str, float], float]) -> None:
    with pytest.raises(UserError, match=r"give a number from 0 to 1|is no object"):
        Gate(*settings)


def test_the_interval_of_a_difference() -> None:
    """The first example of Newcombe 1998, table II: 56 of 70 against 48 of 80 gives 0.0524 to 0.3339."""
    scores = dataclasses.replace(SCORES, accuracy=56 / 70, accuracy_low=0.69177, accuracy_high=0.87695)
    difference = accuracy_difference(scores, champion(48 / 80, 0.49051, 0.70010))
    assert difference.difference == pytest.approx(0.2)
    assert difference.low == pytest.approx(0.0524, abs=2e-4)
    assert difference.high == pytest.approx(0.3339, abs=2e-4)


def test_worse_than_the_champion_beyond_chance_is_rejected() -> None:
    (reason,) = rejections(Gate(0.0), SCORES, champion(0.95, 0.91, 0.98))
    assert reason.startswith("on the same images it is worse than champion A by 0.1500 (95 % interval ")


def test_worse_than_the_champion_by_chance_stays_a_candidate() -> None:
    assert rejections(Gate(0.0), SCORES, champion(0.84, 0.77, 0.9)) == []
    above, reason = stands_above(Gate(0.0), SCORES, champion(0.84, 0.77, 0.9))
    assert not above
    assert "stays a candidate: on the same images it is below champion A by 0.0400" in reason


@pytest.mark.parametrize(("accuracy", "low", "high"), [(0.8, 0.7, 0.9), (0.7, 0.6, 0.8)])
def test_as_good_as_the_champion_replaces_it(accuracy: float, low: float, high: float) -> None:
    assert rejections(Gate(0.0), SCORES, champion(accuracy, low, high)) == []
    assert stands_above(Gate(0.0), SCORES, champion(accuracy, low, high))[0]


def test_a_champion_tested_on_other_images_is_not_compared() -> None:
    assert rejections(Gate(0.0), SCORES, champion(0.99, 0.98, 1.0, "d2")) == []
    above, reason = stands_above(Gate(0.0), SCORES, champion(0.99, 0.98, 1.0, "d2"))
    assert above
    assert "tested on other images" in reason


def test_what_the_evaluation_saw_of_both_counts_more_than_two_intervals() -> None:
    worse = dataclasses.replace(SCORES, difference=Difference("A", -0.05, -0.08, -0.02))
    assert len(rejections(Gate(0.0), worse, champion(0.84, 0.77, 0.9, "d2"))) == 1
    other = dataclasses.replace(SCORES, difference=Difference("B", -0.05, -0.08, -0.02))
    assert rejections(Gate(0.0), other, champion(0.84, 0.77, 0.9, "d2")) == [], "of another champion"


def test_a_difference_that_chance_explains_rejects_nothing_however_narrow_the_interval() -> None:
    """Four of 100 images that only the champion gets right: the bootstrap's interval ends below 0, p is 0.125."""
    chance = dataclasses.replace(SCORES, difference=Difference("A", -0.04, -0.08, -0.01, p=0.125))
    assert rejections(Gate(0.0), chance, champion(0.84, 0.77, 0.9)) == []
    assert not stands_above(Gate(0.0), chance, champion(0.84, 0.77, 0.9))[0]
    proven = dataclasses.replace(SCORES, difference=Difference("A", -0.06, -0.11, -0.02, p=0.03125))
    assert len(rejections(Gate(0.0), proven, champion(0.84, 0.77, 0.9))) == 1
