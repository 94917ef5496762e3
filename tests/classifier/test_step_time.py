"""The time of a step adds up, whatever it went into."""

import pandas as pd
import pytest

from components.classifier.step_time import StepTime, duration, saving_work, works_of


def history(phase: str = "frozen", passed: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> pd.DataFrame:
    """Two epochs of 10 s and what a pass before each takes; half a second of an epoch is in none of the columns."""
    row = {
        "phase": phase,
        "seconds": 10.0 + sum(passed),
        "preparation_seconds": 1.0 + sum(passed),
        "pass_input_seconds": passed[0],
        "pass_forward_seconds": passed[1],
        "pass_keeping_seconds": passed[2],
        "input_seconds": 1.0,
        "forward_seconds": 2.0,
        "step_seconds": 3.0,
        "validation_seconds": 2.0,
        "checkpoint_seconds": 0.5,
    }
    return pd.DataFrame([row, row])


def test_the_time_of_a_step_adds_up() -> None:
    time = StepTime(ready_seconds=40.0, starting_seconds=4.0, saving_seconds=5.0, earlier=False)

    works = works_of(history(passed=(2.0, 3.0, 0.5)), time, cached=True)

    assert {work.name: work.seconds for work in works} == pytest.approx(
        {
            "starting": 4.0,
            "once: reading and augmenting photos": 4.0,
            "once: frozen layers": 6.0,
            "once: compressing and writing what they give": 1.0,
            "other preparation": 2.0,
            "waiting for batches": 2.0,
            "frozen layers, in every epoch": 4.0,
            "training steps": 6.0,
            "validation": 4.0,
            "checkpoints": 1.0,
            "rest": 6.0,
        }
    )
    assert sum(work.seconds for work in works) == pytest.approx(time.ready_seconds)
    assert saving_work(time).seconds == 5.0
    assert sum(work.share for work in works) + saving_work(time).share == pytest.approx(1.0)


def test_what_takes_next_to_nothing_is_part_of_the_rest() -> None:
    time = StepTime(ready_seconds=20.06, starting_seconds=0.04, saving_seconds=0.01, earlier=False)

    works = works_of(history(), time, cached=False)

    names = [work.name for work in works]
    assert not {"starting", "once: frozen layers"} & set(names)
    assert sum(work.seconds for work in works) == pytest.approx(20.06)


def test_what_earlier_attempts_did_outside_of_epochs_is_part_of_the_rest() -> None:
    time = StepTime(ready_seconds=25.0, starting_seconds=2.0, saving_seconds=2.0, earlier=True)

    works = works_of(history(), time, cached=False)

    assert works[-1].seconds == pytest.approx(25.0 - 2.0 - 2 * 9.5)
    assert "of earlier attempts" in works[-1].hint


@pytest.mark.parametrize(
    ("phase", "cached", "name", "hint"),
    [
        pytest.param("frozen", True, "other preparation", "opening the cache", id="cached"),
        pytest.param("fine_tune", True, "other preparation", "validation before the first step", id="fine-tuning"),
        pytest.param("frozen", False, "preparation", "graph of frozen layers", id="streaming"),
    ],
)
def test_preparation_says_what_it_is(phase: str, cached: bool, name: str, hint: str) -> None:
    works = {
        work.name: work.hint
        for work in works_of(history(phase), StepTime(30.0, 4.0, 5.0, earlier=False), cached=cached)
    }

    assert hint in works[name]
    assert ("validation before" in works[name]) == (phase == "fine_tune")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.26, "4.3 s"), (99.96, "1 min 40 s"), (117.2, "1 min 57 s"), (3599.7, "1 h 00 min"), (11_100.0, "3 h 05 min")],
)
def test_durations_do_not_break(seconds: float, text: str) -> None:
    assert duration(seconds) == text.replace(" ", "\N{NO-BREAK SPACE}")
