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


EARLY = "stopped after epoch 4 of 6: no better for 3 epochs."
FELL = "was still getting better when it ended (validation loss"


@pytest.mark.parametrize(
    ("phase", "losses", "best", "expected"),
    [
        pytest.param("frozen", [0.5, 0.6, 0.7, 0.8], 1, f" The frozen phase {EARLY}", id="early"),
        pytest.param("fine_tune", [0.5, 0.6, 0.7, 0.8], 0, f" Fine-tuning {EARLY}", id="early, and dropped"),
        pytest.param("fine_tune", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 0, "", id="dropped"),
    ],
)
def test_a_phase_that_stopped_early_is_told(phase: str, losses: list[float], best: int, expected: str) -> None:
    assert course_sentence(phase, 6, losses, best, 3, 1.0 if phase == "fine_tune" else None) == expected


@pytest.mark.parametrize(
    ("losses", "before", "fell"),
    [
        # As trained, on photographs and drawings; validation losses of whole phases.
        pytest.param([0.7811, 0.6069, 0.4671, 0.4275, 0.4248, 0.4232], None, "", id="cosine, best by a hair"),
        pytest.param([0.8908, 0.8892, 0.8876, 0.8867, 0.8865], 0.8925, "", id="cosine, hardly learned"),
        pytest.param([0.7241, 0.5085, 0.4356, 0.4115, 0.4055, 0.4046], None, "", id="cosine, nearly there"),
        pytest.param([0.5675, 0.4219, 0.3247, 0.2931, 0.2929], None, "", id="even rate, there"),
        pytest.param([1.0814, 1.0809, 1.0807, 1.0803, 1.0799, 1.0795], None, "", id="even rate, hardly learned"),
        pytest.param([10.7454, 1.1333, 1.1149, 1.1121], None, "", id="fell at once"),
        pytest.param([0.5873, 0.4268, 0.2834, 0.2101, 0.1905, 0.2236], None, "", id="best before the last"),
        pytest.param(
            [1.2595, 1.1111, 0.9494, 0.8673, 0.836, 0.8293], None, " 0.9494 to 0.8293 in the last 3 epochs)",
            id="cosine, too short",
        ),
        pytest.param(
            [0.6419, 0.6003, 0.5639, 0.53, 0.4977, 0.4691, 0.4419, 0.4131], 0.67, " 0.5300 to 0.4131 in the last 4",
            id="even rate, half way",
        ),
        pytest.param([0.7865, 0.5949, 0.4644], None, " 0.5949 to 0.4644 in the last epoch)", id="three epochs"),
        pytest.param([0.4448], 0.8, " 0.8000 to 0.4448 in the last epoch)", id="one, compared with none"),
        pytest.param([0.4448], None, "", id="one, and nothing to compare it with"),
    ],
)  # fmt: skip
def test_more_epochs_are_advised_where_the_loss_still_fell_notably(
    losses: list[float], before: float | None, fell: str
) -> None:
    best = losses.index(min(losses)) + 1
    said = course_sentence("fine_tune", len(losses), losses, best, 3, before)
    assert said.startswith(f" Fine-tuning {FELL}{fell}" if fell else "")
    assert said.endswith(": more epochs (fine_tune_epochs) may help." if fell else "")
    assert bool(said) == bool(fell)
