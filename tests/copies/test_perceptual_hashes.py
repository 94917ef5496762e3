"""One transform gives the hashes of all orientations, and the same thumbnail always gives the same ones."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.copies.perceptual_hashes import (
    MINIMUM_SIGNS,
    ORIENTATIONS,
    SQUARE_SIDE_PX,
    WHOLE,
    Window,
    has_fingerprint,
    inverse,
    luma_square,
    oriented,
    oriented_hashes,
    thumbnails_of,
)
from tests.copies.test_copy_groups import picture


def squares(seed: int, count: int) -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(count, 9, 9))
    return (
        np.stack([cv2.resize(255 / (1 + np.exp(-one)), (64, 64), interpolation=cv2.INTER_CUBIC) for one in coarse])
        .clip(0, 255)
        .astype(np.uint8)
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5), orientation=st.integers(0, ORIENTATIONS - 1))
def test_the_hash_of_a_reoriented_image_is_that_orientations_hash(seed: int, count: int, orientation: int) -> None:
    upright = squares(seed, count)
    turned = np.ascontiguousarray(oriented(upright, orientation))
    assert np.array_equal(thumbnails_of(turned), oriented(thumbnails_of(upright), orientation))
    expected = oriented_hashes(thumbnails_of(upright), WHOLE)[:, orientation]
    assert oriented_hashes(thumbnails_of(turned), WHOLE)[:, 0].tolist() == expected.tolist()


@given(seed=st.integers(0, 2**32 - 1), orientation=st.integers(0, ORIENTATIONS - 1))
@settings(max_examples=30, deadline=None)
def test_an_orientation_is_undone_by_its_inverse(seed: int, orientation: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (3, 5, 5))
    assert np.array_equal(oriented(oriented(image, orientation), inverse(orientation)), image)


def test_the_eight_orientations_differ() -> None:
    image = np.arange(9).reshape(3, 3)
    assert len({oriented(image, orientation).tobytes() for orientation in range(ORIENTATIONS)}) == ORIENTATIONS
    assert oriented(image, 1).tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert oriented(image, 2).tolist() == [[6, 7, 8], [3, 4, 5], [0, 1, 2]]
    assert oriented(image, 4).tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


@pytest.mark.parametrize("window", [WHOLE, Window(0.0, 0.95, 0.05, 1.0)])
def test_a_thumbnail_has_the_same_hash_in_any_batch(window: Window) -> None:
    thumbnails = thumbnails_of(squares(7, 200))
    together = oriented_hashes(thumbnails, window)
    alone = np.concatenate([oriented_hashes(thumbnails[row : row + 1], window) for row in range(200)])
    assert np.array_equal(together, alone)


def test_hashes_use_their_bits_evenly_and_differ() -> None:
    hashes = oriented_hashes(thumbnails_of(squares(8, 500)), WHOLE)
    bits = np.unpackbits(hashes[:, 0].copy().view(np.uint8)).reshape(500, 64)
    assert 0.3 < bits.mean() < 0.6
    assert bits.mean(axis=0).min() > 0.2
    assert len(np.unique(hashes)) == hashes.size


def test_brightness_and_contrast_leave_the_fingerprint_as_it_is() -> None:
    image = picture(3).astype(float)
    darker = luma_square((image * 0.5 + 20).astype(np.uint8))
    first, second = thumbnails_of(np.stack([luma_square(image.astype(np.uint8)), darker])).astype(int)
    assert np.abs(first - second).max() <= 2


def test_flat_and_nearly_plain_images_have_no_hash() -> None:
    flat = np.full((64, 64), 200, np.uint8)
    noise = np.random.default_rng(0).integers(198, 203, (64, 64)).astype(np.uint8)
    ramp = np.tile(np.linspace(20, 220, 64).astype(np.uint8), (64, 1))
    thumbnails = thumbnails_of(np.stack([flat, noise, ramp, squares(1, 1)[0]]))
    assert has_fingerprint(thumbnails).tolist() == [False, False, True, True]
    hashes = oriented_hashes(thumbnails, WHOLE)
    assert (hashes == 0).all(axis=1).tolist() == [True, True, True, False]
    assert MINIMUM_SIGNS <= 64


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (16, 16), (63, 65), (128, 127), (192, 3000), (1000, 7)])
def test_an_image_of_any_size_becomes_a_square(shape: tuple[int, int]) -> None:
    square = luma_square(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    assert square.shape == (SQUARE_SIDE_PX, SQUARE_SIDE_PX)
    assert square.dtype == np.uint8


def test_the_size_of_an_image_hardly_changes_its_hash() -> None:
    image = picture(4, 900, 1200)
    sizes = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for size in ((1200, 900), (333, 250), (200, 150))]
    hashes = oriented_hashes(thumbnails_of(np.stack([luma_square(one) for one in sizes])), WHOLE)[:, 0]
    assert np.bitwise_count(hashes ^ hashes[0]).max() <= 2


def test_no_images_have_no_fingerprints() -> None:
    none = thumbnails_of(np.empty((0, 64, 64), np.uint8))
    assert none.shape == (0, 16, 16)
    assert oriented_hashes(none, WHOLE).shape == (0, ORIENTATIONS)
