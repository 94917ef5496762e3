"""The largest images that are read take less than 1 GB. ``benchmarks.large_images`` measures every format and mode."""

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import AvifImagePlugin, ExifTags, Image

from benchmarks.large_images import SIDE_PX, STORINGS, Storing, measured, peak_of, prepared, shown, store
from benchmarks.peak_memory import MOST_BYTES
from components.audit import decoding
from components.audit.decoding import PIXEL_LIMIT, decode
from components.audit.decoding_memory import decoding_bytes
from components.audit.measurements import analyze
from components.formats.stored_pixels import is_held_whole


def test_a_large_image_just_passes_the_limit_on_pixels() -> None:
    assert SIDE_PX**2 <= PIXEL_LIMIT < (SIDE_PX + 1) ** 2


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_a_small_file_with_many_transparent_pixels_does_not_fill_the_memory(image_format: str, tmp_path: Path) -> None:
    file = tmp_path / "large"
    image = Image.new("RGBA", (SIDE_PX, SIDE_PX), (90, 120, 30, 100))
    options: dict[str, Any] = {"lossless": True, "method": 0, "quality": 0} if image_format == "WEBP" else {}
    image.save(file, image_format, **options)
    for work in (measured, prepared):
        said, peak = peak_of(work, file)
        assert said == "read"
        assert peak < MOST_BYTES


@pytest.mark.parametrize("size", [(11_656, 8_742), (16_320, 12_240)], ids=["102 megapixels", "200 megapixels"])
def test_photos_of_the_largest_cameras_are_read_and_prepared_upright(size: tuple[int, int], tmp_path: Path) -> None:
    file = tmp_path / "large"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.radial_gradient("L").resize(size).convert("RGB").save(file, "JPEG", exif=exif)
    for work in (measured, prepared, shown):
        said, peak = peak_of(work, file)
        assert said == "read"
        assert peak < MOST_BYTES / 2
    image = decode(file.read_bytes(), 160)
    assert (image.width_px, image.height_px, image.exif_rotated) == (*size, True)


def interleaved(data: bytes, components: int) -> bytes:
    """Return a JPEG whose header says that its first scan has so many components."""
    scan = data.index(b"\xff\xda")
    return data[: scan + 4] + bytes((components,)) + data[scan + 5 :]


def test_of_large_jpegs_only_those_that_can_be_reduced_while_they_are_read_are() -> None:
    buffers = [io.BytesIO(), io.BytesIO()]
    for buffer, progressive in zip(buffers, (False, True), strict=True):
        Image.new("RGB", (64, 48)).save(buffer, "JPEG", progressive=progressive, comment=b"\xff\xc2")
    plain, progressive_file = (buffer.getvalue() for buffer in buffers)
    assert not is_held_whole(plain, 3)
    assert is_held_whole(progressive_file, 3)
    assert is_held_whole(interleaved(plain, 1), 3)


def test_a_large_progressive_jpeg_is_refused_unread() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG", progressive=True)
    data = bytearray(buffer.getvalue())
    struct.pack_into(">HH", data, data.index(b"\xff\xc2") + 5, 8742, 11_656)
    row = analyze(bytes(data))
    assert row.cause == "decompression_bomb"
    assert "102 megapixels, above the limit of 89" in (row.error or "")


def test_deep_gray_does_not_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "large"
    store(Storing("PNG", "I;16", "", {}), SIDE_PX, file)
    said, peak = peak_of(measured, file)
    assert said == "read"
    assert peak < MOST_BYTES / 2


def small(storing: Storing, tmp_path: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store(storing, 300, tmp_path / "small")
    return (tmp_path / "small").read_bytes()


@pytest.mark.parametrize("storing", STORINGS, ids=lambda storing: storing.name)
def test_each_way_of_storing_is_read_at_a_usual_size(storing: Storing, tmp_path: Path) -> None:
    if storing.format == "AVIF" and not AvifImagePlugin.SUPPORTED:
        pytest.skip("this Pillow has no AVIF")
    row = analyze(small(storing, tmp_path))
    assert (row.error, row.format, row.width_px) == (None, storing.format, 300)


@pytest.mark.parametrize(
    ("name", "pixel_bytes"),
    [
        ("PNG RGBA", 4),
        ("TIFF RGB deflate, one strip", 7),
        ("TIFF F deflate, one strip", 8),
        ("WEBP RGBA animated", 17),
        ("AVIF RGB 4:4:4", 13.5),
        ("AVIF RGBA 12 bits", 18.5),
    ],
)
def test_what_takes_too_much_memory_is_refused_unread(
    name: str, pixel_bytes: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.startswith("AVIF") and not AvifImagePlugin.SUPPORTED:
        pytest.skip("this Pillow has no AVIF")
    data = small(next(one for one in STORINGS if one.name == name), tmp_path)
    needed = int(300 * 300 * pixel_bytes)
    monkeypatch.setattr(decoding, "MEMORY_LIMIT", needed)
    assert analyze(data).error is None
    monkeypatch.setattr(decoding, "MEMORY_LIMIT", needed - 1)
    row = analyze(data)
    assert row.cause == "decompression_bomb"
    assert "stored in this way takes" in (row.error or "")


def test_a_tile_may_be_far_larger_than_its_image() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "TIFF", compression="tiff_deflate")
    with Image.open(buffer) as image:
        assert decoding_bytes(image, buffer.getvalue()) < 64 * 64 * 8
        image.tag_v2.update({322: 60_000, 323: 60_000})  # type: ignore[attr-defined]
        assert decoding_bytes(image, buffer.getvalue()) > 60_000 * 60_000 * 3
