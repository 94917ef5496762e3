"""What a copy may differ in is taken off before two images are compared; what is left tells another picture."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from components.copies.detail_comparison import Details, alignment, same_in_detail
from components.copies.fingerprints import fingerprints_of, sketch_of
from components.copies.perceptual_hashes import WHOLE, Window

Pixels = npt.NDArray[np.uint8]

AS_IT_IS = np.array([alignment(WHOLE, of_first=True)])
MOST_DIFFERENCE = 0.7


@pytest.fixture(scope="module")
def photo(sample_photos: Path) -> Pixels:
    return np.asarray(cv2.cvtColor(cv2.imread(str(sample_photos / "bird" / "owl.jpg")), cv2.COLOR_BGR2RGB), np.uint8)


def details(*images: Pixels) -> Details:
    return fingerprints_of([sketch_of(np.ascontiguousarray(image)) for image in images]).details


def are_the_same(first: Pixels, second: Pixels) -> bool:
    return bool(same_in_detail(details(first), details(second), AS_IT_IS, MOST_DIFFERENCE)[0])


def levels(curve: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]], image: Pixels) -> Pixels:
    return np.clip(255 * curve(image / 255), 0, 255).astype(np.uint8)


def cropped(image: Pixels, top: float, bottom: float, left: float, right: float) -> Pixels:
    height, width = image.shape[:2]
    return image[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "itself": lambda image: image,
    "smaller": lambda image: np.asarray(cv2.resize(image, (90, 70), interpolation=cv2.INTER_AREA), np.uint8),
    "brighter, clipped": lambda image: levels(lambda level: 1.5 * level, image),
    "darker": lambda image: levels(lambda level: 0.5 * level, image),
    "gamma": lambda image: levels(lambda level: level**1.8, image),
    "pale": lambda image: levels(lambda level: 0.3 + 0.4 * level, image),
    "gray": lambda image: np.asarray(
        cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8
    ),
    "middle": lambda image: cropped(image, 0.06, 0.94, 0.06, 0.94),
    "corner": lambda image: cropped(image, 0.0, 0.93, 0.07, 1.0),
    "one side": lambda image: cropped(image, 0.0, 1.0, 0.09, 1.0),
    "middle, brighter": lambda image: levels(lambda level: 1.3 * level, cropped(image, 0.05, 0.95, 0.05, 0.95)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_what_copies_differ_in_is_accounted_for(kind: str, photo: Pixels) -> None:
    copy = COPIES[kind](photo)
    assert are_the_same(photo, copy)
    assert are_the_same(copy, photo)


def with_object(image: Pixels, colour: tuple[int, int, int], side: float) -> Pixels:
    changed = image.copy()
    height, width = image.shape[:2]
    half = side / 2
    cropped(changed, 0.55 - half, 0.55 + half, 0.45 - half * height / width, 0.45 + half * height / width)[:] = colour
    return changed


def luma_alike(image: Pixels) -> Pixels:
    """Return an image with an object of another colour whose luma is that of what it hides."""
    levels_of_luma = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    cropped(levels_of_luma, 0.3, 0.7, 0.3, 0.7)[..., 1:] = (200, 90)
    return np.asarray(cv2.cvtColor(levels_of_luma, cv2.COLOR_YCrCb2RGB), np.uint8)


OTHERS: dict[str, Callable[[Pixels], Pixels]] = {
    "an object in black": lambda image: with_object(image, (0, 0, 0), 0.2),
    "an object in white": lambda image: with_object(image, (255, 255, 255), 0.2),
    "an object in colour alone": luma_alike,
    "turned": lambda image: image[::-1, ::-1],
    "half of it": lambda image: cropped(image, 0.0, 1.0, 0.0, 0.5),
}


def test_the_same_mark_on_grounds_of_opposite_colours_is_another_picture() -> None:
    one, other = (np.full((200, 260, 3), colour, np.uint8) for colour in ((112, 58, 80), (140, 165, 155)))
    for ground in (one, other):
        ground[50:110, 60:120] = 245
    assert are_the_same(one, one)
    assert not are_the_same(one, other)


@pytest.mark.parametrize("kind", OTHERS)
def test_another_picture_is_not_the_same(kind: str, photo: Pixels) -> None:
    other = OTHERS[kind](photo)
    assert not are_the_same(photo, other)
    assert not are_the_same(other, photo)


def test_more_may_differ_where_it_is_allowed(photo: Pixels) -> None:
    changed = with_object(photo, (0, 0, 0), 0.2)
    assert same_in_detail(details(photo), details(changed), AS_IT_IS, 5.0).all()
    assert not same_in_detail(details(photo), details(COPIES["smaller"](photo)), AS_IT_IS, 0.0).any()


def test_pairs_do_not_depend_on_those_beside_them(photo: Pixels) -> None:
    seconds = [make(photo) for make in (*COPIES.values(), *OTHERS.values())] * 5
    first = details(*[photo] * len(seconds))
    together = same_in_detail(first, details(*seconds), np.repeat(AS_IT_IS, len(seconds), axis=0), MOST_DIFFERENCE)
    assert together.tolist() == ([True] * len(COPIES) + [False] * len(OTHERS)) * 5


def test_no_pairs_are_none() -> None:
    assert same_in_detail(details(), details(), np.empty((0, 4)), MOST_DIFFERENCE).tolist() == []


@pytest.mark.parametrize(
    ("window", "of_first", "expected"),
    [
        (WHOLE, True, (1, 0, 1, 0)),
        (WHOLE, False, (1, 0, 1, 0)),
        (Window(0.0, 0.5, 0.25, 0.75), True, (0.5, -0.25, 0.5, 0)),
        (Window(0.0, 0.5, 0.25, 0.75), False, (2, 0.5, 2, 0)),
    ],
)
def test_an_alignment_says_where_a_window_lies(
    window: Window, of_first: bool, expected: tuple[float, float, float, float]
) -> None:
    assert alignment(window, of_first=of_first) == pytest.approx(expected)


def test_a_flat_pair_is_compared_without_a_warning() -> None:
    flat = np.full((40, 40, 3), 90, np.uint8)
    assert are_the_same(flat, flat)
