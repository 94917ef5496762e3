"""Pixels of large images are those of small ones, made in less memory; and turning moves each where Pillow does."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.formats import stored_pixels
from components.formats.stored_pixels import jpeg_header, loaded, may_be_turned, reduced_rgb, to_rgb, turned

NOISE = np.random.default_rng(4).integers(0, 256, (61, 83, 4), dtype=np.uint8)
COLOURS = Image.fromarray(NOISE)
LEVELS = NOISE[..., 0].astype(np.int32) * 257

IMAGES: dict[str, Callable[[], Image.Image]] = {
    "RGB": lambda: COLOURS.convert("RGB"),
    "RGBA": lambda: COLOURS,
    "LA": lambda: COLOURS.convert("LA"),
    "L": lambda: COLOURS.convert("L"),
    "1": lambda: COLOURS.convert("1"),
    "CMYK": lambda: COLOURS.convert("RGB").convert("CMYK"),
    "P": lambda: COLOURS.convert("RGB").quantize(64),
    "I;16": lambda: Image.fromarray(LEVELS.astype(np.uint16)),
    "I": lambda: Image.fromarray(LEVELS),
    "F from 0 to 1": lambda: Image.fromarray(LEVELS.astype(np.float32) / 65_535),
    "F to 255": lambda: Image.fromarray(LEVELS.astype(np.float32) / 257),
}


def file(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_pixels, "LARGE_PIXELS", 100)
    monkeypatch.setattr(stored_pixels, "_STRIP_PIXELS", 900)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("factor", [1, 2, 7, 100])
@pytest.mark.parametrize("kind", IMAGES)
def test_strips_add_up_to_the_image(kind: str, factor: int) -> None:
    image = IMAGES[kind]()
    expected = np.asarray(to_rgb(image).reduce(factor))
    np.testing.assert_array_equal(reduced_rgb(image, factor), expected)


@pytest.mark.usefixtures("everything_is_large")
def test_a_transparent_colour_and_a_transparent_palette_are_white_in_every_strip() -> None:
    red = Image.new("P", (40, 400), 0)
    red.putpalette([255, 0, 0, 0, 0, 255])
    palette = Image.open(io.BytesIO(file(red, "PNG", transparency=0)))
    colour = Image.open(io.BytesIO(file(Image.new("RGB", (40, 400), (1, 2, 3)), "PNG", transparency=(1, 2, 3))))
    for image in (palette, colour):
        image.load()
        assert reduced_rgb(image, 3).min() == 255


@pytest.mark.usefixtures("everything_is_large")
def test_colour_under_transparent_pixels_does_not_bleed() -> None:
    half = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    half.paste((200, 40, 40, 255), (0, 0, 32, 64))
    reduced = reduced_rgb(half, 4)
    assert (reduced[:, :8] == (200, 40, 40)).all()
    assert (reduced[:, 8:] == 255).all()


def test_what_is_no_number_is_black_and_does_not_change_the_scale() -> None:
    values = np.full((30, 30), 0.5, np.float32)
    values[0, 0] = values[12, 3] = np.nan
    pixels = np.asarray(to_rgb(Image.fromarray(values)))
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[5, 5].tolist() == [128, 128, 128]


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"quality": 20}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_large_webp_has_the_pixels_of_a_small_one(
    mode: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = file(COLOURS.convert(mode), "WEBP", **options)
    with Image.open(io.BytesIO(data)) as image:
        small = np.asarray(loaded(image, data))
    monkeypatch.setattr(stored_pixels, "LARGE_PIXELS", 100)
    with Image.open(io.BytesIO(data)) as image:
        large = loaded(image, data)
    assert large.mode == mode
    seen = small[..., 3] > 0 if mode == "RGBA" else np.ones(small.shape[:2], bool)
    np.testing.assert_array_equal(np.asarray(large)[seen], small[seen])


@pytest.mark.usefixtures("everything_is_large")
def test_a_damaged_large_webp_is_an_error() -> None:
    data = file(COLOURS, "WEBP", lossless=True)
    data = data[:300] + bytes([255]) * (len(data) - 300)
    with Image.open(io.BytesIO(data)) as image, pytest.raises(OSError, match="cannot be decoded"):
        loaded(image, data)


@pytest.mark.parametrize("turn", Image.Transpose)
@pytest.mark.parametrize("size", [(7, 4), (1, 5), (1, 1)])
def test_a_turn_is_pillow_s(turn: Image.Transpose, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = pixels.copy()
    assert np.array_equal(turned(pixels, turn), np.asarray(Image.fromarray(pixels).transpose(turn)))
    assert np.array_equal(pixels, before)


def test_the_header_of_a_jpeg_ends_where_its_scan_begins() -> None:
    data = file(COLOURS.convert("RGB"), "JPEG", progressive=True)
    header = jpeg_header(data)
    assert data.startswith(header)
    assert data[len(header) : len(header) + 2] == b"\xff\xda"
    assert b"\xff\xc2" in header
    filled = data.replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1)  # fill bytes may stand before any marker
    assert filled.startswith(jpeg_header(filled))
    assert len(jpeg_header(filled)) == len(header) + 2


@pytest.mark.parametrize(
    "damaged", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00", b"\xff\xd8junk"]
)
def test_without_a_scan_all_is_header(damaged: bytes) -> None:
    assert jpeg_header(damaged) == damaged
    assert not may_be_turned(damaged)


def test_a_jpeg_may_be_turned_if_it_says_anything_about_it() -> None:
    exif = Image.Exif()
    exif[274] = 6
    plain = COLOURS.convert("RGB")
    assert may_be_turned(file(plain, "JPEG", exif=exif))
    assert may_be_turned(file(plain, "JPEG", xmp=b'<x tiff:Orientation="6"/>'))
    assert not may_be_turned(file(plain, "JPEG"))
    assert not may_be_turned(file(plain, "JPEG", icc_profile=b"p" * 100_000))
