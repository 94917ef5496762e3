"""Test images that go along as they were: of every class, and only what a client would send as it is."""

import io
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from components.formats import original_images
from components.formats.original_images import MOST_ORIGINAL_BYTES, MOST_ORIGINALS, read_originals
from components.formats.splits import ASSIGNMENTS_FILE
from components.split import original_choice
from components.split.dataset_split import split_archive
from components.split.original_choice import choose_originals, needs_nothing_but_resizing
from tests.split.archives import drawn_files, drawn_photo, encoded_image, write_archive
from tests.split.test_dataset_split import settings


def table(classes: dict[str, int], size_bytes: int = 1000) -> pd.DataFrame:
    rows = [(f"{label}/{number:02d}.jpg", label, number) for label, count in classes.items() for number in range(count)]
    paths, labels, numbers = zip(*rows, strict=True)
    return pd.DataFrame({"path": paths, "label": labels, "part": "p", "offset": numbers, "size_bytes": size_bytes})


def drawn(part: str, offset: int, size_bytes: int) -> bytes:
    return drawn_photo(offset)


def test_every_class_has_its_turn() -> None:
    chosen = choose_originals(table({"a": 100, "b": 3, "c": 50}), drawn)
    labels = [original.path[0] for original in chosen]
    assert len(chosen) == MOST_ORIGINALS
    assert (labels.count("a"), labels.count("b"), labels.count("c")) == (7, 3, 6)
    assert chosen[0].image == drawn_photo(0)


def test_large_files_and_what_is_not_sent_as_it_is_are_passed_over() -> None:
    images = table({"a": 6})
    images.loc[1, "size_bytes"] = MOST_ORIGINAL_BYTES + 1

    def read(part: str, offset: int, size_bytes: int) -> bytes:
        return encoded_image(Image.open(io.BytesIO(drawn_photo(offset))), "BMP") if offset == 3 else drawn_photo(offset)

    assert [original.path for original in choose_originals(images, read)] == [f"a/0{n}.jpg" for n in (0, 2, 4, 5)]


def test_it_does_not_read_on_for_ever() -> None:
    read = []

    def of_another_kind(part: str, offset: int, size_bytes: int) -> bytes:
        read.append(offset)
        return encoded_image(Image.new("RGB", (8, 8)), "BMP")

    assert choose_originals(table({"a": 1000}), of_another_kind) == []
    assert len(read) == 4 * MOST_ORIGINALS


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded_image(Image.new("RGB", (30, 20)), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (drawn_photo(1), True),
        (encoded_image(Image.new("L", (30, 20)), "JPEG"), True),
        (encoded_image(Image.new("RGB", (30, 20)), "PNG"), True),
        (turned(1), True),
        (turned(6), False),
        (encoded_image(Image.new("CMYK", (30, 20)), "JPEG"), False),
        (encoded_image(Image.new("L", (30, 20)), "PNG"), False),
        (encoded_image(Image.new("P", (30, 20)), "PNG"), False),
        (encoded_image(Image.new("RGBA", (30, 20)), "PNG"), False),
        (encoded_image(Image.new("RGB", (30, 20)), "PNG", transparency=(0, 0, 0)), False),
        (encoded_image(Image.new("RGB", (30, 20)), "WEBP"), False),
        (encoded_image(Image.new("RGB", (30, 20)), "GIF"), False),
    ],
    ids=["jpeg", "gray", "png", "upright", "turned", "cmyk", "gray png", "palette", "alpha", "keyed", "webp", "gif"],
)
def test_what_a_client_sends_as_it_is(data: bytes, sent: bool) -> None:
    assert needs_nothing_but_resizing(data) == sent


def test_an_image_of_too_many_pixels_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(original_choice, "MOST_ORIGINAL_PIXELS", 60 * 40 - 1)
    assert not needs_nothing_but_resizing(drawn_photo(1))


def test_they_lie_beside_the_shards_byte_by_byte(tmp_path: Path) -> None:
    files = drawn_files({"cat": 20, "dog": 30})
    archive, decisions = write_archive(tmp_path, files)
    split_archive(archive, decisions, tmp_path / "splits", tmp_path / "report.html", settings())
    originals = read_originals(tmp_path / "splits")
    assignments = pd.read_parquet(tmp_path / "splits" / ASSIGNMENTS_FILE)
    assert {original.path for original in originals} == set(assignments.loc[assignments["split"] == "test", "path"])
    assert all(original.image == files[original.path] for original in originals)
    (tmp_path / "splits" / original_images.ORIGINALS_FILE).unlink()
    assert read_originals(tmp_path / "splits") == []
