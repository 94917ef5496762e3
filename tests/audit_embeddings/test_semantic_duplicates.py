"""Images nearer than is usual in their class form groups around heads; known copies are left out."""

import numpy as np
import pytest

from components.audit_embeddings.neighbours import Images
from components.audit_embeddings.semantic_duplicates import find_semantic_duplicates


def on_a_circle(*degrees: float) -> Images:
    """Return images whose distance grows with the angle between them: 10 degrees are 0.0152 apart, 20 are 0.0603."""
    angles = np.deg2rad(degrees)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    return Images(features, np.arange(len(degrees)))


@pytest.mark.parametrize(
    ("degrees", "share", "heads"),
    [
        ((0, 10, 90, 180), 0.2, [0, 0, -1, -1]),
        ((0, 10, 90, 180), 0.1, [-1, -1, -1, -1]),
        ((0, 90, 100, 180, 190), 0.2, [-1, 1, 1, 3, 3]),
        # A chain: the one in the middle is near both, the ends are not near each other.
        ((0, 10, 20), 0.2, [1, 1, 1]),
        # A longer chain is cut: every member is near the head of its group.
        ((0, 10, 20, 30, 40), 0.2, [1, 1, 1, 3, 3]),
    ],
)
def test_groups_of_images_nearer_than_usual(degrees: tuple[float, ...], share: float, heads: list[int]) -> None:
    found = find_semantic_duplicates(on_a_circle(*degrees), np.full(len(degrees), 0.1), share)
    assert found.head.tolist() == heads
    for image, head in enumerate(heads):
        related = found.related[image]
        if head < 0:
            assert related == -1
        else:
            assert heads[related] == head
            assert related != image
            assert found.similarity[image] >= found.least[image] == pytest.approx(1 - share * 0.1)


def test_the_head_refers_to_the_nearest_of_its_group() -> None:
    found = find_semantic_duplicates(on_a_circle(0, 8, 13), np.full(3, 0.1), 0.2)
    assert found.related.tolist() == [1, 2, 1]
    assert found.similarity[1] == found.similarity[2]


def test_what_is_near_in_a_diverse_class_is_not_in_a_class_where_all_are_alike() -> None:
    images = on_a_circle(0, 10, 90, 100)
    found = find_semantic_duplicates(images, np.array([0.1, 0.1, 0.02, 0.1]), 0.2)
    assert found.head.tolist() == [0, 0, -1, -1]


def test_known_copies_are_left_out() -> None:
    images = on_a_circle(0, 1, 90)
    found = find_semantic_duplicates(Images(images.features, np.array([0, 0, 2])), np.full(3, 0.1), 0.2)
    assert (found.head == -1).all()


def test_where_nothing_is_usual_nothing_is_found() -> None:
    found = find_semantic_duplicates(on_a_circle(0, 1), np.full(2, np.nan), 0.5)
    assert (found.head == -1).all()
    assert found.complete
