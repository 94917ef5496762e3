"""The blockwise search finds what a search of the whole matrix finds."""

import numpy as np
import pytest

from components.audit_embeddings import neighbours
from components.audit_embeddings.neighbours import Images, mean_distances, near_pairs
from tests.audit_embeddings.features import clusters

LABELS = np.arange(120) % 4


@pytest.fixture(params=[(2048, 8192), (32, 48)], ids=["one block", "many blocks"])
def images(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Images:
    rows, columns = request.param
    monkeypatch.setattr(neighbours, "_ROWS_AT_ONCE", rows)
    monkeypatch.setattr(neighbours, "_COLUMNS_AT_ONCE", columns)
    plain = clusters(LABELS)
    return Images(plain.features, np.where(np.arange(120) < 6, 0, plain.groups))  # the first six are copies


def distance_matrix(images: Images) -> np.ndarray:
    features = images.features.astype(np.float64)
    return np.where(images.groups[:, None] == images.groups[None, :], np.inf, 1 - features @ features.T)


def test_mean_distances_are_those_of_the_nearest(images: Images) -> None:
    expected = np.sort(distance_matrix(images), axis=1)[:, :5].mean(axis=1)
    np.testing.assert_allclose(mean_distances(images, images, 5), expected, atol=1e-5)


def test_distances_to_others_are_to_those_alone(images: Images) -> None:
    others = np.arange(60, 120)
    expected = np.sort(distance_matrix(images)[:30, 60:], axis=1)[:, :3].mean(axis=1)
    np.testing.assert_allclose(mean_distances(images.at(np.arange(30)), images.at(others), 3), expected, atol=1e-5)


def test_an_image_with_few_neighbours_has_their_mean_and_one_with_none_has_no_distance() -> None:
    images = clusters(np.zeros(3, np.int64))
    pair = images.at(np.arange(2))
    distance = 1 - float(pair.features[0].astype(float) @ pair.features[1].astype(float))
    np.testing.assert_allclose(mean_distances(pair, pair, 5), [distance, distance], atol=1e-5)
    copies = Images(images.features, np.zeros(3, np.int64))
    assert np.isnan(mean_distances(copies, copies, 5)).all()


def test_near_pairs_are_those_within_both_reaches(images: Images) -> None:
    reach = np.where(LABELS == 0, 0.1, 0.25)
    reach[7] = np.nan  # near to nobody
    matrix = distance_matrix(images)
    within = matrix <= np.minimum(reach[:, None], reach[None, :])
    expected = {(int(one), int(other)) for one, other in np.argwhere(within) if one < other}
    pairs, distances, complete = near_pairs(images, reach)
    assert complete
    assert len(expected) > 20
    assert {(int(one), int(other)) for one, other in pairs} == expected
    np.testing.assert_allclose(distances, [matrix[one, other] for one, other in pairs], atol=1e-5)


def test_pairs_beyond_what_memory_takes_are_left_out_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_PAIRS", 10)
    pairs, distances, complete = near_pairs(clusters(LABELS), np.ones(120))
    assert not complete
    assert len(pairs) == len(distances) > 10
