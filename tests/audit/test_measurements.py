"""One image's bytes to its measurements: every format, every kind of damage."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmarks.damage import CORRUPTIONS
from components.audit.decoding import decode_what_is_there
from components.audit.measurements import Measurement, analyze
from components.audit.recommended import RECOMMENDED
from tests.audit.conftest import SAMPLES
from tests.audit.images import declared_png, encoded, flat, photo

JPEG = photo(1, 400, 300)
SCAN = JPEG.index(b"\xff\xda")


def damaged(data: bytes, start: int, size: int) -> bytes:
    noise = np.random.default_rng(5).integers(0, 256, size, dtype=np.uint8).tobytes()
    return data[:start] + noise + data[start + size :]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        pytest.param(b"", "the file is empty", id="zero bytes"),
        pytest.param(b"hello, world\n", "holds text", id="text"),
        pytest.param(b"\n<!DOCTYPE html><html>404</html>", "web page", id="web page"),
        pytest.param(bytes(5000), "zero bytes", id="zeros"),
        pytest.param(bytes(range(1, 200)), "no image format", id="binary"),
        pytest.param(b"\x00\x00\x00\x18ftypheic" + bytes(9), "HEIC", id="HEIC"),
        pytest.param(b"%PDF-1.7 ...", "a PDF document", id="PDF"),
        pytest.param(JPEG[: len(JPEG) // 2], "cut short", id="JPEG cut in the middle"),
        pytest.param(JPEG[:-20], "cut short", id="JPEG cut near its end"),
        pytest.param(JPEG[: SCAN // 2], "JPEG", id="JPEG cut in its header"),
        pytest.param(b"\xff\xd8\xff", "JPEG", id="JPEG signature alone"),
        pytest.param(damaged(JPEG, SCAN + 2000, 4000), "the JPEG is damaged", id="JPEG with a damaged scan"),
        pytest.param(photo(1, 400, 300, "PNG")[:3000], "the PNG is cut short", id="PNG cut"),
        pytest.param(damaged(photo(1, 40, 30, "PNG"), 60, 40), "the PNG is damaged", id="PNG damaged"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "the PNG is cut short", id="PNG signature alone"),
        pytest.param(photo(1, 400, 300, "GIF")[:3000], "the GIF is cut short", id="GIF cut"),
        pytest.param(photo(1, 400, 300, "WEBP")[:3000], "the WEBP is cut short", id="WEBP cut"),
        pytest.param(photo(1, 400, 300, "BMP")[:3000], "the BMP is cut short", id="BMP cut"),
        pytest.param(photo(1, 400, 300, "TIFF")[:3000], "the TIFF is cut short", id="TIFF cut"),
        pytest.param(declared_png(60_000, 60_000), "declares 3,600 megapixels", id="bomb"),
        pytest.param(declared_png(10_000, 9_000), "declares 90 megapixels", id="just above the limit"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unreadable_bytes_are_a_row_that_says_why(data: bytes, complaint: str) -> None:
    row = analyze(data)
    assert complaint in (row.error or "")
    assert (row.format, row.mode, row.width_px, row.height_px) == (None, None, 0, 0)
    assert np.isnan([row.brightness, row.contrast, row.luma_p5, row.luma_p95]).all()


def test_an_error_is_the_same_at_each_try() -> None:
    for data in (JPEG[:3000], photo(1, 400, 300, "PNG")[:3000], b"BM" + bytes(80)):
        assert analyze(data).error == analyze(data).error
        assert "0x7" not in (analyze(data).error or "")


def test_every_cut_of_a_jpeg_is_found() -> None:
    whole = photo(3, 500, 400)
    for kept in range(0, len(whole) - 1, len(whole) // 50):
        assert analyze(whole[:kept]).error is not None, kept


@pytest.mark.parametrize(
    ("image_format", "mode", "stored_mode"),
    [
        ("JPEG", "RGB", "RGB"),
        ("JPEG", "L", "L"),
        ("JPEG", "CMYK", "CMYK"),
        ("PNG", "RGBA", "RGBA"),
        ("PNG", "P", "P"),
        ("PNG", "LA", "LA"),
        ("PNG", "1", "1"),
        ("GIF", "RGB", "P"),
        ("BMP", "RGB", "RGB"),
        ("WEBP", "RGB", "RGB"),
        ("TIFF", "RGB", "RGB"),
    ],
)
def test_every_format_is_measured_alike(image_format: str, mode: str, stored_mode: str) -> None:
    row = analyze(photo(2, 640, 480, image_format, mode))
    assert (row.error, row.format, row.mode) == (None, image_format, stored_mode)
    assert (row.width_px, row.height_px) == (640, 480)
    if mode != "1":
        assert row.brightness == pytest.approx(88, abs=6)
        assert row.contrast == pytest.approx(38, abs=8)
        assert row.luma_p5 == pytest.approx(31, abs=10)
        assert row.luma_p95 == pytest.approx(147, abs=15)
    assert (row.colour < RECOMMENDED.grayscale_difference) == (mode in {"L", "LA", "1"})


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 200 * 100).reshape(100, 200).astype(np.uint16)
    row = analyze(encoded(Image.fromarray(ramp), "PNG"))
    assert (row.mode, row.colour) == ("I;16", 0.0)
    assert row.brightness == pytest.approx(127, abs=2)


def test_a_transparent_background_is_white_as_training_sees_it() -> None:
    """Cut-out pictures are often stored on transparent black, which is not dark."""
    cut_out = Image.new("RGBA", (96, 72), (0, 0, 0, 0))
    cut_out.paste((60, 120, 180, 255), (40, 30, 56, 42))
    row = analyze(encoded(cut_out, "PNG"))
    assert row.luma_p95 == 255.0


def test_floats_from_zero_to_one_are_scaled_as_training_sees_them() -> None:
    ramp = np.linspace(0, 1, 200 * 100, dtype=np.float32).reshape(100, 200)
    assert analyze(encoded(Image.fromarray(ramp), "TIFF")).brightness == pytest.approx(127, abs=2)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pictures_for_people_are_upright(image_format: str) -> None:
    upright = Image.new("RGB", (64, 96), "white")
    upright.paste((0, 0, 0), (0, 0, 64, 48))
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise by whoever shows it
    buffer = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, image_format, exif=exif)
    shown = decode_what_is_there(buffer.getvalue(), 32)
    assert shown is not None
    height, width = shown.shape[:2]
    assert height > width
    assert shown[height // 4, width // 2].max() < 20
    assert shown[3 * height // 4, width // 2].min() > 235


@pytest.mark.parametrize("level", [0, 17, 128, 255])
def test_a_flat_image_has_its_level_and_no_contrast(level: int) -> None:
    row = analyze(flat(level))
    assert (row.brightness, row.contrast, row.luma_p5, row.luma_p95) == (level, 0.0, level, level)


def test_brightness_and_contrast_are_mean_and_deviation_of_luma() -> None:
    half = np.zeros((50, 100, 3), np.uint8)
    half[:, 50:] = 200
    row = analyze(encoded(Image.fromarray(half), "PNG"))
    assert row.brightness == pytest.approx(100.0)
    assert row.contrast == pytest.approx(100.0)
    assert (row.luma_p5, row.luma_p95) == (0.0, 200.0)


def test_a_reduced_decode_measures_what_a_full_one_would() -> None:
    data = photo(4, 1900, 1300)
    with Image.open(io.BytesIO(data)) as image:
        full = np.asarray(image.convert("L"))
    row = analyze(data)
    assert (row.width_px, row.height_px) == (1900, 1300)
    assert row.brightness == pytest.approx(full.mean(), abs=0.7)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 4000), (4000, 1), (3, 2000), (17, 9)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_odd_sizes_are_measured(width: int, height: int, image_format: str) -> None:
    row = analyze(photo(0, width, height, image_format))
    assert (row.error, row.width_px, row.height_px) == (None, width, height)


def test_gray_stored_as_colour_is_gray() -> None:
    with Image.open(io.BytesIO(JPEG)) as image:
        gray = image.convert("L").convert("RGB")
    assert analyze(encoded(gray, "JPEG")).colour < RECOMMENDED.grayscale_difference
    assert analyze(JPEG).colour > RECOMMENDED.grayscale_difference


def test_stray_bytes_are_a_warning_and_not_damage() -> None:
    row = analyze(JPEG[:SCAN] + b"junk" + JPEG[SCAN:])
    assert row.error is None
    assert "4 extraneous bytes" in (row.decoder_warning or "")
    assert row.brightness == pytest.approx(analyze(JPEG).brightness, abs=0.5)


def test_a_cut_behind_stray_bytes_is_still_damage() -> None:
    data = JPEG[:SCAN] + b"junk" + JPEG[SCAN:]
    assert analyze(data[: len(data) // 2]).error is not None


def photographs() -> list[Image.Image]:
    pictures = [Image.open(file).convert("RGB") for file in sorted((SAMPLES / "photos").rglob("*.jpg"))]
    assert len(pictures) > 50
    return pictures


@pytest.mark.parametrize("length", [300, 2000])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_nearly_all_photos_with_a_damaged_scan_are_errors(kind: str, length: int) -> None:
    generator, found = np.random.default_rng(7), []
    for picture in photographs():
        data = jpeg(picture, quality=85)
        scan = data.index(b"\xff\xda") + 14
        start = scan + int(generator.uniform(0.2, 0.6) * (len(data) - scan - length))
        damage = CORRUPTIONS[kind](generator.integers(0, 256, length, dtype=np.uint8).tobytes())
        found.append(analyze(data[:start] + damage + data[start + length :]).cause)
    assert found.count("corrupt") >= 0.9 * len(found)


PADDING = (bytes(40), b"\xff" * 40, bytes(500) + b"\xff" * 3, b"\xaa\x55" * 50, b"written by a camera in 2014 " * 3)


@pytest.mark.parametrize("padding", PADDING, ids=["zeros", "ones", "both", "a pattern", "text"])
def test_padding_before_the_end_is_no_damage(padding: bytes) -> None:
    row = analyze(JPEG[:-2] + padding + JPEG[-2:])
    assert row.error is None
    assert bool(row.decoder_warning) == bool(padding.strip(b"\xff"))


def test_pixels_that_the_decoder_had_no_place_for_are_damage() -> None:
    # As if a block of the scan had been read twice: what follows finds no place.
    start = SCAN + 3000
    row = analyze(JPEG[:start] + JPEG[start - 400 : start] + JPEG[start:])
    assert (row.cause, "extraneous" in (row.error or "")) == ("corrupt", True)


WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"optimize": True},
    {"progressive": True},
    {"progressive": True, "comment": b"\xff\xc0 as a thumbnail may have"},
    {"optimize": True, "subsampling": 0},
    {"progressive": True, "subsampling": 0},
    {"restart_marker_rows": 1, "optimize": True},
)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_zeros_that_code_a_flat_image_are_no_damage(way: dict[str, Any]) -> None:
    pictures = [Image.new("RGB", (900, 700), colour) for colour in ("black", "white", "#306090")]
    pictures += [Image.new("L", (900, 700), 77), Image.linear_gradient("L").resize((640, 640))]
    with_square = Image.new("RGB", (900, 700), "white")
    with_square.paste("red", (300, 200, 500, 400))
    data = [jpeg(picture, quality=quality, **way) for picture in [*pictures, with_square] for quality in (5, 75, 95)]
    assert {analyze(some).error for some in data} == {None}
    if way.get("optimize"):
        assert any(bytes(64) in some for some in data), "zeros are what this is about"


def jpeg(image: Image.Image, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **settings)
    return buffer.getvalue()


def test_a_jpeg_with_stray_bytes_at_its_start_is_damaged_and_not_something_else() -> None:
    row = analyze(JPEG[:2] + b"\r\n" + JPEG[2:])
    assert row.cause == "corrupt"
    assert "stray bytes" in (row.error or "")
    assert analyze(b"\xff\xd8 is no JPEG").cause == "not_an_image"


def test_two_images_one_after_the_other_are_fine() -> None:
    other = photo(2, 300, 300)
    for data in (JPEG + other, JPEG + bytes(500) + other, JPEG + bytes(5000)):
        assert (analyze(data).error, analyze(data).decoder_warning) == (None, None)


def test_bytes_after_the_image_are_fine() -> None:
    row = analyze(JPEG + b"a camera's own data" * 50)
    assert (row.error, row.decoder_warning) == (None, None)


def stored(image: Image.Image, image_format: str, **settings: Any) -> Measurement:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **settings)
    return analyze(buffer.getvalue())


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "empty_file"),
        (b"hello, world\n", "not_an_image"),
        (declared_png(60_000, 60_000), "decompression_bomb"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:-2], "truncated"),
        (JPEG[:40], "truncated"),
        (damaged(JPEG, SCAN + 2000, 4000), "corrupt"),
        *[(photo(1, 400, 300, name)[:3000], "truncated") for name in ("PNG", "GIF", "WEBP", "BMP", "TIFF")],
        (damaged(photo(1, 40, 30, "PNG"), 60, 40), "corrupt"),
    ],
)
def test_the_cause_is_named(data: bytes, cause: str) -> None:
    assert analyze(data).cause == cause


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_exif_rotation_is_seen_in_every_format(image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    row = stored(Image.new("RGB", (64, 48), "green"), image_format, exif=exif)
    assert (row.error, row.exif_rotated) == (None, orientation != 1)


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_more_than_one_frame(image_format: str) -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green")]
    assert stored(frames[0], image_format, save_all=True, append_images=frames[1:]).animated
    assert not stored(frames[0], image_format).animated


def test_transparency_and_depth() -> None:
    assert stored(Image.new("RGBA", (64, 48)), "PNG").alpha
    assert stored(Image.new("RGB", (64, 48)), "PNG", transparency=(0, 0, 0)).alpha
    assert not stored(Image.new("RGB", (64, 48)), "PNG").alpha
    deep = Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64))
    assert stored(deep, "PNG").sixteen_bit
    assert stored(deep, "TIFF").sixteen_bit
    assert not stored(Image.new("RGB", (64, 48)), "TIFF").sixteen_bit


def test_a_blurred_photograph_and_a_sharp_one() -> None:
    with Image.open(SAMPLES / "photos" / "bird" / "owl.jpg") as owl:
        sharp, blurred = stored(owl, "JPEG"), stored(owl.filter(ImageFilter.GaussianBlur(5)), "JPEG")
        pale = stored(owl.point(lambda level: 120 + level // 10), "PNG")
    assert sharp.blur < 0.5
    assert blurred.blur > 0.7
    assert pale.blur < 0.5, "contrast does not count"


def test_entropy_is_that_of_the_histogram_in_bits() -> None:
    assert analyze(flat(90)).entropy == 0.0
    quarters = np.repeat(np.array([0, 80, 160, 240], np.uint8), 24)[None, :].repeat(64, axis=0)
    assert analyze(encoded(Image.fromarray(quarters), "PNG")).entropy == pytest.approx(2.0)


def test_the_same_pixels_in_another_format_have_the_same_digest() -> None:
    png, bmp, other = photo(7, 500, 400, "PNG"), photo(7, 500, 400, "BMP"), photo(8, 500, 400, "PNG")
    assert analyze(png).pixels == analyze(bmp).pixels != analyze(other).pixels


def test_upright_pixels_are_compared() -> None:
    with Image.open(io.BytesIO(photo(7, 60, 40, "PNG"))) as image:
        exif = Image.Exif()
        exif[274] = 6
        turned = stored(image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
        assert turned.pixels == stored(image, "PNG").pixels
        assert stored(image.transpose(Image.Transpose.ROTATE_90), "PNG").pixels != turned.pixels
