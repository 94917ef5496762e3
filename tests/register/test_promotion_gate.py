"""What the gate rejects, and why."""

import dataclasses

import pytest

from components.failures import UserError
from components.register.promotion_gate import (
    Difference,
    Gate,
    NotCompared,
    Scores,
    check_floors,
    rejections,
    stands_above,
)

SCORES = Scores(0.8, 0.72, 0.86, {"ash": 0.9, "birch": 0.6, "cedar": None})


def beside(difference: float, low: float, high: float, p: float, images: int = 100) -> Scores:
    """Return scores of a model that is so much more accurate than champion A."""
    return dataclasses.replace(SCORES, beside=Difference("A", images, 100, difference, low, high, p))


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
    scores = dataclasses.replace(beside(-0.2, -0.3, -0.1, 0.001), broken_exports=("broken",))
    assert len(rejections(Gate(0.9, {"*": 1.0}, 0.1), scores, "A")) == 7


def test_a_floor_for_an_unknown_class_is_a_mistake() -> None:
    with pytest.raises(UserError, match="class_recall_floors names 'oak', which is no class of this model"):
        check_floors({"*": 0.5, "oak": 0.5}, SCORES.recalls, "this model")


@pytest.mark.parametrize(
    "settings", [(1.1, {}, 1.0), (0.5, {"*": -0.1}, 1.0), (0.5, {"*": "0.5"}, 1.0), (0.5, {}, 2.0), (0.5, [0.5], 1.0)]
)
def test_settings_that_no_model_could_be_held_to(settings: tuple[float, dict[str, float], float]) -> None:
    with pytest.raises(UserError, match=r"give a number from 0 to 1|is no object"):
        Gate(*settings)


def test_worse_than_the_champion_beyond_chance_is_rejected() -> None:
    assert rejections(Gate(0.0), beside(-0.15, -0.21, -0.09, 0.001), "A") == [
        "on the same 100 images it is worse than champion A by 0.1500 (95 % interval 0.0900 to 0.2100)"
    ]
    (reason,) = rejections(Gate(0.0), beside(-0.15, -0.21, -0.09, 0.001, images=60), "A")
    assert reason.startswith("on the 60 of its 100 test images that the champion was tested on too it is worse than")


def test_worse_than_the_champion_by_chance_stays_a_candidate() -> None:
    scores = beside(-0.04, -0.1, 0.02, 0.2)
    assert rejections(Gate(0.0), scores, "A") == []
    above, reason = stands_above(Gate(0.0), scores, "A")
    assert not above
    assert "stays a candidate: on the same 100 images it is below champion A by 0.0400" in reason


@pytest.mark.parametrize("difference", [0.0, 0.1])
def test_as_good_as_the_champion_replaces_it(difference: float) -> None:
    scores = beside(difference, difference - 0.1, difference + 0.1, 1.0)
    assert rejections(Gate(0.0), scores, "A") == []
    above, reason = stands_above(Gate(0.0), scores, "A")
    assert above
    assert reason.endswith("is not below champion A on the same 100 images")


def test_a_champion_that_nobody_could_compare_with_keeps_its_place() -> None:
    scores = dataclasses.replace(SCORES, beside=NotCompared("A", "3 of the 50 test images are shared"))
    assert rejections(Gate(0.0), scores, "A") == []
    above, reason = stands_above(Gate(0.0), scores, "A")
    assert not above
    assert reason.endswith("stays a candidate, not compared with champion A: 3 of the 50 test images are shared")


def test_what_was_seen_of_another_champion_says_nothing() -> None:
    scores = beside(-0.2, -0.3, -0.1, 0.001)
    assert rejections(Gate(0.0), scores, "B") == []
    assert not stands_above(Gate(0.0), scores, "B")[0]
    assert stands_above(Gate(0.0), scores, None)[0], "there is no champion any more"


def test_a_difference_that_chance_explains_rejects_nothing_however_narrow_the_interval() -> None:
    """Four of 100 images that only the champion gets right: the bootstrap's interval ends below 0, p is 0.125."""
    chance = beside(-0.04, -0.08, -0.01, 0.125)
    assert rejections(Gate(0.0), chance, "A") == []
    assert not stands_above(Gate(0.0), chance, "A")[0]
    assert len(rejections(Gate(0.0), beside(-0.06, -0.11, -0.02, 0.03125), "A")) == 1
