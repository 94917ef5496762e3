"""Copies in different splits are found, mirrored or turned too, and unlike images are not taken for copies."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from components.copies.fingerprints import Fingerprints, Sketch, fingerprints_of, sketch_of
from components.copies.likeness import CopyRules
from components.copies.perceptual_hashes import WHOLE, oriented_hashes
from components.formats.splits import SPLIT_NAMES
from components.split import cross_split_pairs as searched
from components.split.cross_split_pairs import CrossSplitPairs, FingerprintCollector, cross_split_pairs

COPIES = CopyRules(maximum_distance=10, minimum_correlation=0.85, maximum_difference=0.7, crops=False)
TRAIN, VALIDATION, TEST = range(3)


def sketch(picture: Image.Image) -> Sketch:
    return sketch_of(np.asarray(picture.convert("RGB")))


def collected(sketches: list[Sketch]) -> Fingerprints:
    collector = FingerprintCollector(len(sketches))
    records = [(str(number).encode(), one, 1.5) for number, one in enumerate(sketches)]
    assert list(collector.collect(records)) == [record for record, *_ in records]
    return collector.fingerprints


def searched_pairs(
    fingerprints: Fingerprints,
    splits: npt.NDArray[np.int64],
    rules: CopyRules,
    aspects: tuple[float, ...] = (),
) -> CrossSplitPairs:
    return cross_split_pairs(fingerprints, np.array(aspects or np.ones(len(fingerprints))), splits, rules)


def drawn(number: int) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 256, (6, 6), dtype=np.uint8)
    return Image.fromarray(noise).resize((96, 64), Image.Resampling.BICUBIC)


def codes(*splits: int) -> npt.NDArray[np.int64]:
    return np.array(splits, np.int64)


@pytest.fixture(scope="module")
def photos(sample_photos: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(sample_photos.glob("*/*.jpg"))]


def recompressed(photo: Image.Image) -> Image.Image:
    encoded = io.BytesIO()
    photo.resize((photo.width // 2, photo.height // 2)).save(encoded, "JPEG", quality=50)
    return Image.open(encoded)


@pytest.mark.parametrize(
    "turn",
    [None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE],
    ids=["as it is", "mirrored", "turned", "both"],
)
def test_a_copy_in_another_split_is_found(photos: list[Image.Image], turn: Image.Transpose | None) -> None:
    copy = recompressed(photos[7])
    copy = copy if turn is None else copy.transpose(turn)
    fingerprints = collected([sketch(picture) for picture in (*photos, copy)])
    splits = np.arange(len(fingerprints)) % 2  # train and validation
    splits[[7, -1]] = TRAIN, TEST
    found = searched_pairs(fingerprints, splits, COPIES)
    assert [(pair.first, pair.second) for pair in found.copies] == [(7, len(photos))]
    assert found.nearest["train", "test"] == found.copies[0]
    assert found.copies[0].distance <= 4
    assert found.copies[0].correlation > 0.95


def test_unlike_photos_are_no_copies_and_the_nearest_are_named(photos: list[Image.Image]) -> None:
    fingerprints = collected([sketch(photo) for photo in photos])
    splits = np.arange(len(photos)) % 3
    found = searched_pairs(fingerprints, splits, COPIES)
    assert found.copies == []
    hashes = oriented_hashes(fingerprints.thumbnails, WHOLE)
    for (one, other), pair in found.nearest.items():
        assert pair is not None
        rows, columns = (np.flatnonzero(splits == SPLIT_NAMES.index(name)) for name in (one, other))
        assert pair.first in rows
        assert pair.second in columns
        assert pair.distance == np.bitwise_count(hashes[rows][:, :, None] ^ hashes[columns, 0]).min()
        assert not pair.are_copies


def test_copies_within_a_split_do_not_matter() -> None:
    fingerprints = collected([sketch(drawn(number)) for number in (1, 1, 2, 3)])
    assert searched_pairs(fingerprints, codes(TRAIN, TRAIN, VALIDATION, TEST), COPIES).copies == []
    (pair,) = searched_pairs(fingerprints, codes(VALIDATION, TRAIN, TEST, TEST), COPIES).copies
    assert (pair.first, pair.second, pair.distance) == (1, 0, 0)  # the earlier split first


def test_images_of_one_colour_have_no_hash_and_are_counted() -> None:
    flat = sketch(Image.new("RGB", (50, 50), "gray"))
    found = searched_pairs(collected([flat, flat, flat, sketch(drawn(1))]), codes(0, 1, 2, 0), COPIES)
    assert found.copies == []
    assert found.images_without_hash == 3
    assert set(found.nearest.values()) == {None}


def test_too_many_images_to_compare_all_leave_only_copies_to_search(monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints = collected([sketch(drawn(number)) for number in (1, 1, 2, 3)])
    monkeypatch.setattr(searched, "_MOST_COMPARISONS", 10)
    found = searched_pairs(fingerprints, codes(TRAIN, VALIDATION, VALIDATION, TEST), COPIES)
    assert found.nearest["train", "test"] is None
    certificate = found.as_certificate(["a", "b", "c", "d"])
    assert certificate["copies_across_splits"] == 1
    assert certificate["nearest"] == [
        {"splits": ["train", "validation"], "paths": ["a", "b"], "distance": 0, "correlation": 1.0},
        {"splits": ["train", "test"], "paths": [], "distance": None, "correlation": None},
        {"splits": ["validation", "test"], "paths": [], "distance": None, "correlation": None},
    ]
    json.dumps(certificate, allow_nan=False)


def test_of_too_many_near_pairs_the_nearest_are_examined_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brighter = drawn(1).point(lambda level: 20 + 0.8 * level)
    pictures = [drawn(1), brighter, drawn(1), brighter, drawn(2)]
    fingerprints = collected([sketch(picture) for picture in pictures])
    monkeypatch.setattr(searched, "_MOST_EXAMINED_PAIRS", 3)
    found = searched_pairs(fingerprints, codes(TRAIN, TRAIN, TEST, TEST, VALIDATION), COPIES)
    assert len(found.copies) == 3
    assert found.left_out_comparisons == 1


@pytest.mark.parametrize("images", [0, 1, 63, 64, 65, 200])
def test_each_image_has_its_fingerprint(images: int) -> None:
    sketches = [sketch(drawn(number)) for number in range(images)]
    fingerprints = collected(sketches)
    assert len(fingerprints) == images
    for number in range(0, images, 31):
        assert fingerprints[number : number + 1].tobytes() == fingerprints_of([sketches[number]]).tobytes()


@pytest.mark.parametrize(("difference", "copies"), [(0.7, 0), (3.0, 1)])
def test_a_picture_with_another_object_is_a_copy_where_that_much_may_differ(
    photos: list[Image.Image], difference: float, copies: int
) -> None:
    changed = photos[10].copy()
    changed.paste("black", (changed.width // 2, changed.height // 2, changed.width * 5 // 8, changed.height * 5 // 8))
    rules = dataclasses.replace(COPIES, maximum_difference=difference)
    found = searched_pairs(collected([sketch(photos[10]), sketch(changed)]), codes(TRAIN, TEST), rules)
    assert len(found.copies) == copies


@pytest.mark.parametrize(("aspects", "copies"), [((2.0, 2.0), 1), ((2.0, 1.0), 0)])
def test_drawings_of_unlike_shapes_are_no_copies(aspects: tuple[float, ...], copies: int) -> None:
    page = Image.new("RGB", (320, 320), "white")
    for top in range(40, 280, 60):
        page.paste("black", (30, top, 160 + top // 2, top + 24))
    found = searched_pairs(collected([sketch(page), sketch(page)]), codes(TRAIN, TEST), COPIES, aspects)
    assert len(found.copies) == copies
