"""The learning rate rises, then falls as the schedule has it."""

import pytest

from components.classifier.learning_rates import LearningRates


def test_a_warm_up_rises_evenly_to_the_full_rate() -> None:
    rates = LearningRates.planned("plateau", 0.5, epochs=3, steps_per_epoch=8)

    assert [rates.factor(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates.factor(23) == 1.0


def test_a_cosine_falls_from_the_full_rate_to_nearly_nothing() -> None:
    rates = LearningRates.planned("cosine", 1.0, epochs=5, steps_per_epoch=10)
    factors = [rates.factor(step) for step in range(50)]

    assert factors[10] == max(factors) == 1.0
    assert factors[30] == pytest.approx(0.5)
    assert 0.0 < factors[-1] < 0.01
    assert sorted(factors[10:], reverse=True) == factors[10:]


def test_without_a_warm_up_the_first_step_has_the_full_rate() -> None:
    assert LearningRates.planned("cosine", 0.0, epochs=1, steps_per_epoch=1).factor(0) == 1.0
