"""The ground truth of the quality benchmark: what is said to be planted is there, and the same seed plants it."""

import csv
import io
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.audit_quality import FAMILIES
from benchmarks.planted_defects import (
    CLASSES,
    LABELS_FILE,
    NEAR_EMPTY_CLASS,
    PHOTOS,
    SMALL_CLASS,
    PlantedDataset,
    PlantedDefect,
    build_dataset,
    write_dataset,
)
from benchmarks.rendering import AVIF
from components.formats.check_names import CHECK_MEANINGS
from components.formats.image_formats import EXTENSIONS

FILES = 60  # each defect is planted once at least, so there are some more


@pytest.fixture(scope="module")
def dataset() -> PlantedDataset:
    return build_dataset(7, FILES, PHOTOS)


def planted(dataset: PlantedDataset, check: str) -> list[PlantedDefect]:
    return [row for row in dataset.truth if row.check == check]


def clusters(dataset: PlantedDataset, check: str) -> list[list[str]]:
    members = defaultdict(list)
    for row in planted(dataset, check):
        members[row.cluster].append(row.path)
    return list(members.values())


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def pixels(data: bytes) -> np.ndarray:
    with opened(data) as image:
        return np.asarray(image.convert("RGB"))


def test_a_seed_gives_the_same_bytes(dataset: PlantedDataset) -> None:
    again = build_dataset(7, FILES, PHOTOS)
    assert [path for path, data in dataset.files.items() if again.files.get(path) != data] == []
    assert again.truth == dataset.truth


def test_every_check_is_planted_and_every_path_is_a_file_or_a_class(dataset: PlantedDataset) -> None:
    checks = {row.check for row in dataset.truth}
    assert checks <= set(CHECK_MEANINGS)
    assert checks >= {check for family in FAMILIES.values() for check in family} - {"class_imbalance"}
    classes = {path.partition("/")[0] for path in dataset.files if "/" in path}
    assert {row.path for row in dataset.truth} <= set(dataset.files) | classes
    assert set(CLASSES) <= classes


def test_what_is_cut_cannot_be_decoded_whole(dataset: PlantedDataset) -> None:
    kinds = {Path(row.path).suffix for row in planted(dataset, "truncated")}
    assert kinds >= {".jpg", ".png", ".gif", ".bmp", ".webp", ".tif"} | ({".avif"} if AVIF else set())
    for row in planted(dataset, "truncated"):
        with pytest.raises(Exception), opened(dataset.files[row.path]) as image:  # noqa: B017,PT011 - whatever Pillow has
            image.load()


def test_files_that_are_no_images(dataset: PlantedDataset) -> None:
    assert {dataset.files[row.path] for row in planted(dataset, "empty_file")} == {b""}
    for row in planted(dataset, "not_an_image"):
        with pytest.raises(OSError, match="cannot identify"):
            opened(dataset.files[row.path])


def test_a_wrong_extension_is_one(dataset: PlantedDataset) -> None:
    wrong = {row.path for row in planted(dataset, "wrong_extension")}
    damaged = {row.path for check in FAMILIES["integrity"] for row in planted(dataset, check)}
    for path, data in dataset.files.items():
        if path == LABELS_FILE or path in damaged:
            continue
        with opened(data) as image:
            assert (image.format != EXTENSIONS[Path(path).suffix.lower()]) == (path in wrong), path


def test_how_images_are_stored_is_what_the_truth_says(dataset: PlantedDataset) -> None:
    for row in planted(dataset, "exif_rotated"):
        with opened(dataset.files[row.path]) as image:
            assert image.getexif()[274] in range(2, 9)
    for row in planted(dataset, "animated"):
        with opened(dataset.files[row.path]) as image:
            assert image.n_frames > 1  # type: ignore[attr-defined]
    for check, modes in (("cmyk", {"CMYK"}), ("palette", {"P"}), ("alpha", {"RGBA", "LA", "P"})):
        found = set()
        for row in planted(dataset, check):
            with opened(dataset.files[row.path]) as image:
                found.add(image.mode)
        assert found <= modes, check
    for row in planted(dataset, "grayscale"):
        if row.path.endswith(".png") and "16-bit" not in row.how:
            levels = pixels(dataset.files[row.path])
            assert (levels[..., 0] == levels[..., 2]).all()


def test_light_and_size_are_what_the_truth_says(dataset: PlantedDataset) -> None:
    for row in planted(dataset, "dark"):
        assert np.percentile(pixels(dataset.files[row.path]), 95) < 60
    for row in planted(dataset, "bright"):
        assert np.percentile(pixels(dataset.files[row.path]), 5) > 200
    for row in planted(dataset, "tiny"):
        assert min(pixels(dataset.files[row.path]).shape[:2]) < 32
    for row in planted(dataset, "aspect_outlier"):
        height, width = pixels(dataset.files[row.path]).shape[:2]
        assert max(height / width, width / height) > 3


def test_copies_are_copies(dataset: PlantedDataset) -> None:
    for members in [*clusters(dataset, "exact_duplicate"), *clusters(dataset, "conflicting_label")]:
        assert len(members) > 1
        assert len({dataset.files[path] for path in members}) == 1
    assert any(path.endswith(".jpg") for members in clusters(dataset, "identical_pixels") for path in members)
    for members in clusters(dataset, "identical_pixels"):
        assert len({dataset.files[path] for path in members}) == len(members)
        first, *others = (pixels(dataset.files[path]) for path in members)
        assert all(np.array_equal(first, other) for other in others), members


def test_conflicts_are_in_different_classes_and_other_copies_in_one(dataset: PlantedDataset) -> None:
    for check, several in (
        ("exact_duplicate", False),
        ("identical_pixels", False),
        ("near_duplicate", False),
        ("conflicting_label", True),
        ("near_conflicting_label", True),
    ):
        for members in clusters(dataset, check):
            assert (len({path.partition("/")[0] for path in members}) > 1) == several, members


def test_files_without_a_defect_are_no_copies_of_anything(dataset: PlantedDataset) -> None:
    copies = {row.path for row in dataset.truth if row.cluster}
    others = [data for path, data in dataset.files.items() if path not in copies and data]
    bombs = {dataset.files[row.path] for row in planted(dataset, "decompression_bomb")}
    others = [data for data in others if data not in bombs]
    assert len(set(others)) == len(others)


def test_the_labels_file_disagrees_where_the_truth_says(dataset: PlantedDataset) -> None:
    rows = list(csv.DictReader(io.StringIO(dataset.files[LABELS_FILE].decode())))
    wrong = {row["path"] for row in rows if row["path"].partition("/")[0] != row["label"]}
    assert wrong == {row.path for row in planted(dataset, "label_mismatch")}


def test_classes_have_the_sizes_that_the_truth_says(dataset: PlantedDataset) -> None:
    sizes: dict[str, int] = defaultdict(int)
    for path in dataset.files:
        if "/" in path:
            sizes[path.partition("/")[0]] += 1
    assert sizes[NEAR_EMPTY_CLASS] == min(sizes.values()) == 4
    assert sizes[SMALL_CLASS] == 12
    assert [row.path for row in planted(dataset, "near_empty_class")] == [NEAR_EMPTY_CLASS]


def test_a_written_dataset_is_a_folder_a_zip_file_and_its_truth(dataset: PlantedDataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path)
    written = {
        path.relative_to(tmp_path / "dataset").as_posix(): path.read_bytes()
        for path in (tmp_path / "dataset").rglob("*")
        if path.is_file()
    }
    assert written == dataset.files
    assert (tmp_path / "dataset.zip").is_file()
    with (tmp_path / "planted.csv").open(encoding="utf-8", newline="") as file:
        truth = [PlantedDefect(**row) for row in csv.DictReader(file)]
    assert truth == dataset.truth
