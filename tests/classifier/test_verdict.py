"""What is said of the model that is kept is true of it."""

import pytest

from components.classifier.verdict import chance_warning


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
