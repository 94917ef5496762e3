"""What is far for its class is an outlier; what a class is like decides what is far."""

import numpy as np
import pytest

from components.audit_embeddings.neighbours import Images
from components.audit_embeddings.outliers import class_distances, class_limits, distances_to, usual_distances
from tests.audit_embeddings.features import clusters, unit

LABELS = np.repeat([0, 1], 40)


def with_strangers() -> Images:
    """Return two classes whose first images, 0 and 40, look like nothing else."""
    images = clusters(LABELS)
    features = images.features.copy()
    features[[0, 40]] = unit(np.random.default_rng(9).normal(size=(2, features.shape[1])))
    return Images(features, images.groups)


def test_a_stranger_is_beyond_the_limit_of_its_class() -> None:
    distances = class_distances(with_strangers(), LABELS)
    limits = class_limits(distances, LABELS, 3.5)
    assert np.flatnonzero(distances > limits.reindex(LABELS).to_numpy()).tolist() == [0, 40]


def test_a_copy_does_not_hide_a_stranger() -> None:
    images = with_strangers()
    doubled = Images(
        np.concatenate([images.features, np.repeat(images.features[:1], 6, axis=0)]),
        np.concatenate([images.groups, np.zeros(6, np.int64)]),
    )
    labels = np.concatenate([LABELS, np.zeros(6, np.int64)])
    distances = class_distances(doubled, labels)
    assert distances[0] == pytest.approx(class_distances(images, LABELS)[0], abs=1e-5)


def test_an_image_of_another_class_is_near_that_class() -> None:
    images = clusters(LABELS)
    labels = LABELS.copy()
    labels[3] = 1
    asked = np.full(len(labels), -1)
    asked[3] = 0
    own, other = class_distances(images, labels), distances_to(images, labels, asked)
    assert other[3] < 0.5 * own[3]
    assert np.isnan(np.delete(other, 3)).all()


@pytest.mark.parametrize(
    ("distances", "deviation", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5] * 2, 1.0, 0.3 + 1.4826 * 0.1),
        ([0.1, 0.2, 0.3, 0.4, 0.5] * 2, 2.5, 0.3 + 2.5 * 1.4826 * 0.1),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 2.5, np.nan),  # too few
        ([0.3] * 12, 2.5, np.nan),  # no spread
        ([0.3] * 5 + [np.nan] * 7, 2.5, np.nan),  # too few with neighbours
    ],
)
def test_the_limit_is_the_median_and_so_many_robust_deviations(
    distances: list[float], deviation: float, expected: float
) -> None:
    limits = class_limits(np.array(distances), np.zeros(len(distances), np.int64), deviation)
    np.testing.assert_allclose(limits.loc[0], expected)


def test_what_is_usual_in_a_small_class_is_what_is_usual_at_all() -> None:
    labels = np.array([0] * 11 + [1] * 2)
    distances = np.array([0.2] * 11 + [0.9] * 2)
    assert usual_distances(distances, labels).tolist() == [0.2] * 13
    assert np.isnan(usual_distances(np.full(2, np.nan), np.zeros(2, np.int64))).all()
