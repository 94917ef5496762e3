"""Copies are found whatever was done to them, and nothing else is."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from components.copies.copy_groups import CopyGroups, CopyRules, find_copies
from components.copies.perceptual_hashes import ORIENTATIONS, luma_square, oriented, thumbnails_of

RULES = CopyRules(maximum_distance=8, minimum_correlation=0.9, maximum_local_difference=0.8, crops=True)


def picture(seed: int, height: int = 240, width: int = 320) -> npt.NDArray[np.uint8]:
    """Draw a landscape of random hills at several scales."""
    random = np.random.default_rng(seed)
    layers = [
        cv2.resize(random.normal(0, 0.6**k, (2**k + 1, 2**k + 1)), (width, height), interpolation=cv2.INTER_CUBIC)
        for k in range(1, 7)
    ]
    total = np.sum(layers, axis=0)
    return np.asarray(255 * (total - total.min()) / np.ptp(total), np.uint8)


def groups_of(images: list[npt.NDArray[np.uint8]], names: list[str], engine: str = "numpy") -> CopyGroups:
    return find_copies(names, thumbnails_of(np.stack([luma_square(image) for image in images])), RULES, engine)


def partition(groups: CopyGroups, names: list[str]) -> set[frozenset[str]]:
    members: dict[int, set[str]] = {}
    for name, group in zip(names, groups.group.tolist(), strict=True):
        if group >= 0:
            members.setdefault(group, set()).add(name)
    return {frozenset(names) for names in members.values()}


@pytest.mark.parametrize("orientation", range(ORIENTATIONS))
def test_a_reoriented_copy_is_found(orientation: int) -> None:
    images = [picture(1), picture(2), oriented(picture(1), orientation).copy()]
    groups = groups_of(images, ["a", "b", "c"])
    assert groups.group.tolist() == [0, -1, 0]
    assert groups.representative.tolist() == [0, -1, 0]
    assert groups.distance.tolist() == [0, -1, groups.distance[2]]
    assert groups.distance[2] <= 2
    assert groups.correlation[2] > 0.99
    assert (groups.left_out_pairs, groups.left_out_comparisons) == (0, 0)
