"""Copies are found whatever was done to them, and nothing else is."""

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from components.copies.copy_groups import CopyGroups, find_copies
from components.copies.fingerprints import Fingerprints, fingerprints_of, sketch_of
from components.copies.likeness import CopyRules
from components.copies.pair_search import fastest_engine
from components.copies.perceptual_hashes import ORIENTATIONS, oriented

RULES = CopyRules(maximum_distance=8, minimum_correlation=0.85, maximum_difference=0.7, crops=True)


def picture(seed: int, height: int = 240, width: int = 320) -> npt.NDArray[np.uint8]:
    """Draw a landscape of random hills at several scales."""
    random = np.random.default_rng(seed)
    layers = [
        cv2.resize(random.normal(0, 0.6**k, (2**k + 1, 2**k + 1)), (width, height), interpolation=cv2.INTER_CUBIC)
        for k in range(1, 7)
    ]
    total = np.sum(layers, axis=0)
    return np.asarray(255 * (total - total.min()) / np.ptp(total), np.uint8)


def fingerprints(images: list[npt.NDArray[np.uint8]]) -> Fingerprints:
    return fingerprints_of([sketch_of(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)) for image in images])


def groups_of(images: list[npt.NDArray[np.uint8]], names: list[str], engine: str = "numpy") -> CopyGroups:
    aspects = np.array([image.shape[1] / image.shape[0] for image in images])
    return find_copies(names, fingerprints(images), aspects, RULES, engine)


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


def test_copies_are_found_whatever_was_done_to_them() -> None:
    images, names = [], []
    for seed in range(8):
        original = picture(seed)
        blurred = cv2.resize(cv2.resize(original, (140, 105)), (500, 400))
        brighter = np.clip(original * 1.2, 0, 255).astype(np.uint8)
        images += [original, blurred, brighter, original[:, ::-1], original[12:-12, 16:-16], original[12:, :-16]]
        names += [f"{seed} {kind}" for kind in ("original", "small", "bright", "mirrored", "cropped", "corner")]
    groups = groups_of(images, names)
    assert partition(groups, names) == {frozenset(names[start : start + 6]) for start in range(0, 48, 6)}


def drawing() -> npt.NDArray[np.uint8]:
    """Return lines on white, as on a page."""
    page = np.full((320, 320), 255, np.uint8)
    for row in range(40, 280, 60):
        page[row : row + 24, 30 : 160 + row // 2] = 0
    return page


@pytest.mark.parametrize(("image", "groups"), [(picture(5), [0, 0]), (drawing(), [-1, -1])], ids=["photo", "page"])
def test_plain_images_of_unlike_shapes_are_no_copies(image: npt.NDArray[np.uint8], groups: list[int]) -> None:
    both = fingerprints([image, image])
    assert find_copies(["a", "b"], both, np.array([1.5, 1.5]), RULES, "numpy").group.tolist() == [0, 0]
    assert find_copies(["a", "b"], both, np.array([1.5, 0.7]), RULES, "numpy").group.tolist() == groups


def test_a_quarter_turn_swaps_width_and_height() -> None:
    turned = fingerprints([drawing(), np.rot90(drawing()).copy()])
    assert find_copies(["a", "b"], turned, np.array([1.25, 0.8]), RULES, "numpy").group.tolist() == [0, 0]
    assert find_copies(["a", "b"], turned, np.array([1.25, 1.25]), RULES, "numpy").group.tolist() == [-1, -1]


def test_cropped_copies_are_found_only_if_looked_for() -> None:
    images = [picture(5), picture(5)[24:, :-32]]
    both = fingerprints(images)
    without = dataclasses.replace(RULES, crops=False)
    assert find_copies(["a", "b"], both, np.ones(2), RULES, "numpy").group.tolist() == [0, 0]
    assert find_copies(["a", "b"], both, np.ones(2), without, "numpy").group.tolist() == [-1, -1]


def test_groups_do_not_depend_on_the_order_of_the_images() -> None:
    images = [picture(seed)[shift:, shift:] for seed in range(6) for shift in (0, 4, 9, 14)]
    names = [f"{number % 7}/{number}" for number in range(len(images))]
    before = groups_of(images, names)
    order = np.random.default_rng(1).permutation(len(images)).tolist()
    after = groups_of([images[row] for row in order], [names[row] for row in order])
    assert after.group.tolist() == before.group[order].tolist()
    assert after.distance.tolist() == before.distance[order].tolist()
    np.testing.assert_array_equal(after.correlation, before.correlation[order])
    assert [order[row] if row >= 0 else -1 for row in after.representative] == before.representative[order].tolist()


def test_a_chain_of_images_each_like_the_next_is_cut() -> None:
    """One picture fades into another: neighbours are alike, the ends are not."""
    one, other = picture(4).astype(float), picture(5).astype(float)
    images = [((1 - share) * one + share * other).astype(np.uint8) for share in np.linspace(0, 1, 15)]
    names = [f"{number:02}" for number in range(15)]
    groups = groups_of(images, names)
    grouped = groups.group >= 0
    assert groups.group[0] != groups.group[-1]
    assert grouped.sum() >= 10
    assert groups.correlation[grouped].min() >= RULES.minimum_correlation


def test_members_name_a_representative_that_belongs_to_their_group() -> None:
    images = [picture(seed) for seed in (1, 2, 2, 3, 3, 3)]
    groups = groups_of(images, ["z", "b", "a", "c", "e", "d"])
    assert groups.group.tolist() == [-1, 0, 0, 1, 1, 1]
    assert groups.representative.tolist() == [-1, 2, 2, 3, 3, 3]
    assert groups.distance.tolist() == [-1, 0, 0, 0, 0, 0]
    assert np.isnan(groups.correlation[0])
    assert groups.correlation[1:].tolist() == [1.0] * 5


def test_different_pictures_and_flat_images_stay_alone() -> None:
    flat = [np.full((50, 50), level, np.uint8) for level in (0, 0, 255)]
    groups = groups_of([*(picture(seed) for seed in range(60)), *flat], [f"{row:03}" for row in range(63)])
    assert groups.group.tolist() == [-1] * 63


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_images(count: int) -> None:
    few = fingerprints([picture(1)][:count])
    assert find_copies(["a"][:count], few, np.ones(count), RULES, "numpy").group.tolist() == [-1] * count


def test_a_great_many_copies_of_one_image_do_not_grow_quadratic() -> None:
    """Five thousand copies are twelve million pairs: identical hashes are searched for once."""
    copies = fingerprints([picture(1)])[np.zeros(5000, np.int64)]
    groups = find_copies([f"{row:05}" for row in range(5000)], copies, np.ones(5000), RULES, "numpy")
    assert (groups.group == 0).all()
    assert (groups.representative == 0).all()
    assert (groups.left_out_pairs, groups.left_out_comparisons) == (0, 0)


@pytest.mark.skipif(fastest_engine(10**6) != "numba", reason="an extra")
def test_both_engines_find_the_same_groups() -> None:
    images = [picture(seed)[shift:, shift:] for seed in range(30) for shift in (0, 7, 14)]
    names = [f"{row:03}" for row in range(len(images))]
    one, other = (groups_of(images, names, engine) for engine in ("numpy", "numba"))
    assert one.group.tolist() == other.group.tolist()
    np.testing.assert_array_equal(one.correlation, other.correlation)
