"""Augmentation changes images lightly, and the same way for the same seed, image and view."""

import numpy as np
import pytest
import tensorflow as tf

from components.classifier.augmentation import augment


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """An image that is dark on the left, bright on the right and red at the top, so that each change shows."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 16:] = 160
    pixels[:8, :, 0] = 90
    return pixels


def view(image: np.ndarray, strength: float, seed: int, index: int, number: int) -> np.ndarray:
    return np.asarray(augment(image, strength, seed, tf.constant(index, tf.int64), number))


def test_strength_zero_changes_nothing(image: np.ndarray) -> None:
    assert np.array_equal(view(image, 0.0, 1, 2, 3), image)


def test_a_view_is_a_function_of_seed_image_and_number(image: np.ndarray) -> None:
    first = view(image, 1.0, seed=5, index=3, number=0)

    assert np.array_equal(view(image, 1.0, seed=5, index=3, number=0), first)
    others = [view(image, 1.0, 6, 3, 0), view(image, 1.0, 5, 4, 0), view(image, 1.0, 5, 3, 1)]
    assert sum(np.array_equal(other, first) for other in others) == 0


def test_a_view_is_the_same_inside_a_pipeline_of_threads(image: np.ndarray) -> None:
    indices = tf.data.Dataset.range(24)
    views = indices.map(lambda index: augment(image, 0.7, 9, index, 2), num_parallel_calls=4)

    for index, made in enumerate(views.as_numpy_iterator()):
        np.testing.assert_allclose(made, view(image, 0.7, 9, index, 2), atol=1e-3)


def test_views_stay_images(image: np.ndarray) -> None:
    views = np.stack([view(image, 1.0, 1, index, 0) for index in range(60)])

    assert views.shape == (60, 32, 32, 3)
    assert views.dtype == np.float32
    assert views.min() >= 0.0
    assert views.max() <= 255.0
    mirrored = (views[:, :, :8].mean(axis=(1, 2, 3)) > views[:, :, -8:].mean(axis=(1, 2, 3))).sum()
    assert 15 <= mirrored <= 45  # half of them, give or take


def test_a_stronger_setting_changes_more(image: np.ndarray) -> None:
    def change(strength: float) -> float:
        views = [view(image, strength, 1, index, 0) for index in range(40)]
        return float(np.mean([min(np.abs(v - image).mean(), np.abs(v - image[:, ::-1]).mean()) for v in views]))

    assert 0.0 < change(0.2) < change(0.6) < change(1.0)
