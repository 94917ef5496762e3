"""Figures of a history, and the warnings that matter."""

import pandas as pd
import pytest

from components.classifier.training_figures import measured_figures, training_warnings


def history(
    input_seconds: float,
    step_seconds: float,
    gpu_percent: float | None = None,
    forward_seconds: float = 0.0,
    passed: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> pd.DataFrame:
    """Two epochs; the second trains twice as many images a second."""
    row = {
        "seconds": input_seconds + forward_seconds + step_seconds + sum(passed) + 4.0,
        "preparation_seconds": 1.0 + sum(passed),
        "pass_images": 30 if any(passed) else 0,
        "pass_input_seconds": passed[0],
        "pass_forward_seconds": passed[1],
        "pass_keeping_seconds": passed[2],
        "input_seconds": input_seconds,
        "forward_seconds": forward_seconds,
        "step_seconds": step_seconds,
        "validation_seconds": 2.0,
        "checkpoint_seconds": 0.5,
        "images_per_second": 100.0,
        "cpu_cores": 1.5,
        "gpu_percent": gpu_percent,
        "peak_memory_mb": 900.0,
        "peak_gpu_memory_mb": None if gpu_percent is None else 5000.0,
    }
    return pd.DataFrame([row, {**row, "images_per_second": 200.0, "peak_memory_mb": 950.0}])


def test_figures_of_a_machine_without_a_gpu_leave_its_columns_out() -> None:
    assert measured_figures(history(1.0, 3.0)) == {
        "images_per_second": 150.0,
        "input_share": 0.25,
        "forward_share": 0.0,
        "cpu_cores": 1.5,
        "peak_memory_mb": 950.0,
    }
    with_gpu = measured_figures(history(1.0, 3.0, 80.0))
    assert (with_gpu["gpu_percent"], with_gpu["peak_gpu_memory_mb"]) == (80.0, 5000.0)


def test_frozen_layers_are_part_of_training() -> None:
    """Waiting weighs less, and an image takes longer, where every epoch goes through them."""
    figures = measured_figures(history(1.0, 3.0, forward_seconds=4.0))

    assert (figures["input_share"], figures["forward_share"]) == (0.125, 0.5)
    assert figures["images_per_second"] == 150.0
    assert training_warnings(history(8.0, 3.0, forward_seconds=9.0)) == []


@pytest.mark.parametrize(
    ("input_seconds", "step_seconds", "expected"),
    [
        pytest.param(5.0, 15.0, [], id="all is well"),
        pytest.param(15.0, 5.0, ["75% of training was spent waiting for images"], id="input-bound"),
        pytest.param(0.3, 0.1, [], id="too short to tell"),
    ],
)
def test_warnings(input_seconds: float, step_seconds: float, expected: list[str]) -> None:
    warnings = training_warnings(history(input_seconds, step_seconds))

    assert len(warnings) == len(expected)
    assert all(warning.startswith(start) for warning, start in zip(warnings, expected, strict=True))


def test_a_pass_that_waits_for_photos_is_bound_by_them_however_fast_what_it_keeps_is_read() -> None:
    of_cache = history(0.1, 3.0, passed=(12.0, 4.0, 1.0))

    figures = measured_figures(of_cache)
    (warning,) = training_warnings(of_cache)

    assert figures["pass_images_per_second"] == pytest.approx(60 / 34, abs=1e-3)
    assert (figures["input_share"], figures["forward_share"]) == pytest.approx((12.1 / 20.1, 4.0 / 20.1), abs=1e-3)
    assert warning.startswith("60% of training was spent waiting for images")
