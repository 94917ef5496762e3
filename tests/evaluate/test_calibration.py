"""The temperature that was planted is found, and it mends what was planted."""

import numpy as np
import numpy.typing as npt
import pytest

from components.evaluate.calibration import BINS, LEAST_VALIDATION_IMAGES, calibrate, fit_temperature, scaled_loss
from components.formats.evaluation import with_temperature


def drawn(images: int, temperature: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return labels drawn from honest probabilities, and these made surer by a temperature."""
    random = np.random.default_rng(seed)
    honest = random.dirichlet([0.5, 0.5, 0.5, 0.5], images)
    labels = (honest.cumsum(axis=1) < random.random((images, 1))).sum(axis=1)
    return labels.clip(0, 3), with_temperature(honest, 1 / temperature).astype(np.float32)


@pytest.mark.parametrize("planted", [0.5, 1.0, 2.5])
def test_the_planted_temperature_is_found_and_mends_other_images(planted: float) -> None:
    found = calibrate(drawn(6000, planted, seed=1), *drawn(6000, planted, seed=2))
    assert found.fitted
    assert found.temperature == pytest.approx(planted, rel=0.06)
    assert found.ece_before is not None
    assert found.ece_after is not None
    assert found.ece_after < 0.02
    if planted != 1.0:
        assert found.ece_before > 3 * found.ece_after
    assert sum(one.images_before for one in found.bins) == sum(one.images_after for one in found.bins) == 6000
    assert len(found.bins) == BINS


@pytest.mark.parametrize("margin", [2.0, 8.0, 16.0, 20.0, 34.0, 60.0])
@pytest.mark.parametrize("wrong", [1, 5])
def test_what_a_model_is_badly_wrong_about_counts_in_full(margin: float, wrong: int) -> None:
    # All logits of two classes apart by as much, so the best temperature makes each sure by the share that is right.
    images = 60
    probabilities = np.tile(np.array([1.0, np.exp(-margin)]) / (1 + np.exp(-margin)), (images, 1)).astype(np.float32)
    labels = (np.arange(images) < wrong).astype(np.int64)
    best = margin / np.log((images - wrong) / wrong)
    temperature, reason = fit_temperature(labels, probabilities)
    assert temperature == pytest.approx(best, rel=1e-3)
    assert not reason


def test_the_fit_is_the_least_of_a_grid_for_hard_images() -> None:
    random = np.random.default_rng(11)
    grid = np.exp(np.linspace(np.log(0.06), np.log(19.0), 400))
    fitted = 0
    for _ in range(12):
        labels = random.integers(0, 3, 60)
        logits = random.normal(size=(60, 3)) + random.uniform(10, 40) * np.eye(3)[labels]
        labels[: random.integers(1, 5)] += 1
        labels %= 3
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)
        temperature, _ = fit_temperature(labels, probabilities)
        if temperature is None:
            continue
        fitted += 1
        losses = [scaled_loss(labels, probabilities, one) for one in grid]
        assert temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)
        assert scaled_loss(labels, probabilities, temperature) < scaled_loss(labels, probabilities, 1.0)
    assert fitted >= 10


def test_a_temperature_that_lowers_no_loss_is_refused() -> None:
    # Sure to three quarters and right as often: nothing is to be mended, and 1.0000001 would only say that it was.
    probabilities = np.array([[0.75, 0.25]] * 40, np.float32)
    temperature, reason = fit_temperature(np.array([0, 0, 0, 1] * 10), probabilities)
    assert (temperature, reason) == (None, "no temperature makes the validation images' labels more likely")


def test_the_error_of_known_answers() -> None:
    # Sure to 0.9 and right half the time, sure to 0.6 and always right: gaps of 0.4 for both halves.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]] * 4, np.float32)
    found = calibrate(None, np.array([0, 0, 1, 1, 0, 0, 0, 0]), probabilities)
    assert (found.temperature, found.fitted, found.reason) == (1.0, False, "there are no validation images")
    assert found.ece_before == pytest.approx(0.4)
    assert found.ece_after == found.ece_before


def test_certainty_is_in_the_last_bin() -> None:
    found = calibrate(None, np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]], np.float32))
    assert found.bins[-1].images_before == 2
    assert found.bins[-1].accuracy_before == 0.5


@pytest.mark.parametrize(
    ("labels", "probabilities", "reason"),
    [
        ([0] * (LEAST_VALIDATION_IMAGES - 1), [0.9, 0.1], "29 validation images are too few, it takes 30"),
        ([0] * 40, [0.9, 0.1], "the model gets every validation image right"),
        ([1] * 40, [0.9, 0.1], "no better than guessing"),
    ],
)
def test_no_temperature_where_none_can_be_told(labels: list[int], probabilities: list[float], reason: str) -> None:
    temperature, why = fit_temperature(np.array(labels), np.array([probabilities] * len(labels), np.float32))
    assert temperature is None
    assert reason in why


def test_a_temperature_changes_no_answer_and_survives_zeros() -> None:
    probabilities = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]], np.float32)
    scaled = with_temperature(probabilities, 3.0)
    assert scaled.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert scaled.argmax(axis=1).tolist() == [0, 1]
    assert np.isfinite(scaled).all()
    assert with_temperature(probabilities, 1.0) == pytest.approx(probabilities, abs=1e-6)
