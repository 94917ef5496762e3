"""What is said of the model that is kept is true of it."""

import pytest

from components.classifier.verdict import chance_warning, course_sentence


@pytest.mark.parametrize(
    ("accuracy", "images_per_class", "expected"),
    [
        pytest.param(0.7, [6, 4], "", id="all is well"),
        pytest.param(0.5, [6, 4], "validation accuracy 50.0% is no better than the 60.0% of", id="worse than a guess"),
        pytest.param(0.6, [4, 6], "validation accuracy 60.0% is no better than the 60.0% of", id="the largest class"),
        pytest.param(1.0, [5, 0], "", id="one class has no majority to beat"),
    ],
)
def test_a_model_that_names_the_largest_class_always_is_warned_of(
    accuracy: float, images_per_class: list[int], expected: str
) -> None:
    warning = chance_warning(accuracy, images_per_class)

    assert warning.startswith(expected)
    assert bool(warning) == bool(expected)


MORE = "was still getting better at its last epoch: more epochs"
EARLY = "stopped after epoch 4 of 6: no better for 3 epochs."


@pytest.mark.parametrize(
    ("phase", "planned", "run", "best", "expected"),
    [
        pytest.param("frozen", 6, 6, 5, "", id="all epochs"),
        pytest.param("frozen", 6, 4, 1, f" The frozen phase {EARLY}", id="early"),
        pytest.param("frozen", 6, 6, 6, f" The frozen phase {MORE} (frozen_epochs) may help.", id="too early"),
        pytest.param("frozen", 1, 1, 1, "", id="nothing to compare one epoch with"),
        pytest.param("fine_tune", 1, 1, 1, f" Fine-tuning {MORE} (fine_tune_epochs) may help.", id="one, compared"),
        pytest.param("fine_tune", 6, 4, 0, f" Fine-tuning {EARLY}", id="early, and dropped"),
        pytest.param("fine_tune", 6, 6, 0, "", id="dropped"),
    ],
)
def test_a_phase_that_stopped_early_or_too_early_is_told(
    phase: str, planned: int, run: int, best: int, expected: str
) -> None:
    assert course_sentence(phase, planned, run, best, 3, compared=phase == "fine_tune") == expected
