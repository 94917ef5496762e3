"""Any image becomes the square RGB JPEG that training reads."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.formats import stored_pixels
from components.formats.jpeg_decoding import decode_jpeg
from components.formats.splits import RESIZE_POLICIES
from components.split.image_preparation import (
    Preparation,
    UndecodableImageError,
    square_image,
)
from components.split.image_preparation import (
    prepare_image as prepare,
)
from tests.split.archives import encoded_image

STRETCH = Preparation(64, "stretch")
RED, BLUE = (255, 0, 0), (0, 0, 255)


def prepare_image(data: bytes, preparation: Preparation) -> bytes:
    return prepare(data, preparation).jpeg


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).astype(np.int64)


def assert_colour(prepared: bytes, x: int, y: int, colour: tuple[int, int, int]) -> None:
    assert np.abs(pixels(prepared)[y, x] - colour).max() <= 6


def half_blue(width: int = 96, height: int = 64) -> Image.Image:
    """Return a red image whose left quarter is blue."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (0, 0, width // 4, height))
    return image


@pytest.mark.parametrize("policy", RESIZE_POLICIES)
def test_the_result_is_a_square_rgb_jpeg_without_subsampling(policy: str) -> None:
    prepared = prepare_image(encoded_image(half_blue()), Preparation(48, policy))
    with Image.open(io.BytesIO(prepared)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (48, 48))
        assert {sampling[1:3] for sampling in image.layer} == {(1, 1)}  # type: ignore[attr-defined]
    assert prepare_image(encoded_image(half_blue()), Preparation(48, policy)) == prepared


def test_the_jpeg_is_the_one_that_pillow_writes(sample_photos: Path) -> None:
    data = (sample_photos / "mammal" / "lemur.jpg").read_bytes()
    expected = encoded_image(Image.fromarray(square_image(data, STRETCH)), "JPEG", quality=95, subsampling=0)
    assert prepare_image(data, STRETCH) == expected


def test_stretch_shows_all_crop_the_middle_and_pad_all_on_black() -> None:
    data = encoded_image(half_blue(128, 64))
    stretched, cropped, padded = (prepare_image(data, Preparation(64, policy)) for policy in RESIZE_POLICIES)
    assert_colour(stretched, 4, 32, BLUE)
    assert_colour(stretched, 30, 2, RED)
    assert_colour(cropped, 2, 32, RED)  # the blue quarter is cut off
    assert_colour(padded, 4, 32, BLUE)
    for y in (2, 61):
        assert_colour(padded, 32, y, (0, 0, 0))


def upright() -> Image.Image:
    """Return an image whose four corners tell its orientation."""
    image = Image.new("RGB", (64, 96), "white")
    image.paste(RED, (0, 0, 32, 48))
    image.paste(BLUE, (32, 48, 64, 96))
    return image


# How a camera stores what is upright, by the orientation it writes (CIPA DC-008, tag 274).
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("policy", RESIZE_POLICIES)
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_the_exif_orientation_is_applied_once(image_format: str, orientation: int, policy: str) -> None:
    turn = STORED[orientation]
    stored = upright() if turn is None else upright().transpose(turn)
    exif = Image.Exif()
    exif[274] = orientation
    options = (
        {"lossless": True} if image_format == "WEBP" else {"quality": 95} if image_format in ("JPEG", "AVIF") else {}
    )
    prepared = prepare_image(encoded_image(stored, image_format, exif=exif, **options), Preparation(48, policy))
    expected = prepare_image(encoded_image(upright()), Preparation(48, policy))
    assert np.abs(pixels(prepared) - pixels(expected)).mean() < 2


GRAY = (128, 128, 128)
WHITE = (255, 255, 255)


def transparent_palette() -> bytes:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (0, 0, 40, 20))
    return encoded_image(image, transparency=0)


def sixteen_bits() -> bytes:
    return encoded_image(Image.fromarray(np.full((40, 40), 128 * 257, dtype=np.uint16)))


def animation() -> bytes:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (BLUE, RED)]
    return encoded_image(frames[0], "GIF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        pytest.param(encoded_image(Image.new("L", (40, 40), 128)), GRAY, id="L"),
        pytest.param(encoded_image(Image.new("L", (40, 40), 128), "JPEG"), GRAY, id="L JPEG"),
        pytest.param(encoded_image(Image.new("L", (40, 40), 128), "AVIF"), GRAY, id="L AVIF"),
        pytest.param(encoded_image(Image.new("1", (40, 40), 1)), WHITE, id="1"),
        pytest.param(encoded_image(Image.new("CMYK", (40, 40), (255, 255, 0, 0)), "JPEG"), BLUE, id="CMYK JPEG"),
        pytest.param(encoded_image(Image.new("CMYK", (40, 40), (255, 255, 0, 0)), "TIFF"), BLUE, id="CMYK TIFF"),
        pytest.param(encoded_image(Image.new("LA", (40, 40), (0, 127))), GRAY, id="LA over white"),
        pytest.param(encoded_image(Image.new("RGBA", (40, 40), (0, 0, 0, 127))), GRAY, id="RGBA over white"),
        pytest.param(encoded_image(Image.new("RGBA", (40, 40), (9, 9, 9, 0)), "WEBP", exact=True), WHITE, id="WebP"),
        pytest.param(encoded_image(Image.new("RGB", (40, 40), RED), transparency=RED), WHITE, id="RGB colour key"),
        pytest.param(encoded_image(Image.new("L", (40, 40), 7), transparency=7), WHITE, id="L colour key"),
        pytest.param(sixteen_bits(), GRAY, id="16 bits are scaled"),
        pytest.param(encoded_image(Image.new("I", (40, 40), 128 * 257), "TIFF"), GRAY, id="32 bit TIFF"),
        pytest.param(encoded_image(Image.new("F", (40, 40), 0.5), "TIFF"), GRAY, id="float TIFF from 0 to 1"),
        pytest.param(encoded_image(Image.new("F", (40, 40), 128.0), "TIFF"), GRAY, id="float TIFF from 0 to 255"),
        pytest.param(animation(), BLUE, id="first frame"),
        pytest.param(encoded_image(Image.new("RGB", (1, 1), BLUE)), BLUE, id="one pixel"),
    ],
)
@pytest.mark.parametrize("policy", RESIZE_POLICIES)
def test_any_mode_becomes_rgb(data: bytes, colour: tuple[int, int, int], policy: str) -> None:
    assert_colour(prepare_image(data, Preparation(64, policy)), 32, 32, colour)


def test_a_transparent_palette_lies_on_white() -> None:
    prepared = prepare_image(transparent_palette(), STRETCH)
    assert_colour(prepared, 32, 8, BLUE)
    assert_colour(prepared, 32, 56, WHITE)


@pytest.mark.parametrize("size", [(3000, 9), (9, 3000), (1, 500)])
@pytest.mark.parametrize("policy", RESIZE_POLICIES)
def test_extreme_shapes_are_prepared(size: tuple[int, int], policy: str) -> None:
    prepared = prepare_image(encoded_image(Image.new("RGB", size, WHITE), "JPEG"), Preparation(64, policy))
    assert_colour(prepared, 31, 31, WHITE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_metadata_does_not_cost_the_image() -> None:
    data = encoded_image(half_blue(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xffgarbage", quality=95)
    assert_colour(prepare_image(data, STRETCH), 4, 32, BLUE)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<!doctype html>", id="web page"),
        pytest.param(encoded_image(half_blue(), "JPEG")[:-300], id="cut short"),
        pytest.param(encoded_image(half_blue())[:60], id="PNG cut short"),
        pytest.param(encoded_image(half_blue(), "PPM"), id="format that is not read"),
    ],
)
def test_what_cannot_be_decoded_is_named(data: bytes) -> None:
    with pytest.raises(UndecodableImageError):
        prepare_image(data, STRETCH)


def as_served(data: bytes, preparation: Preparation) -> np.ndarray:
    """Prepare an image as the exported model does: decoded in full, then resized by TensorFlow."""
    image = tf.cast(decode_jpeg(data), tf.float32)
    height, width = image.shape[:2]
    size = preparation.image_size_px
    if preparation.resize_policy == "crop":
        side = min(height, width)
        image = tf.image.crop_to_bounding_box(image, (height - side) // 2, (width - side) // 2, side, side)
    shown = [size, size]
    if preparation.resize_policy == "pad":
        shown = [round(side * size / max(height, width)) for side in (height, width)]
    image = tf.image.resize(image, shown, antialias=True)
    top, left = (size - shown[0]) // 2, (size - shown[1]) // 2
    served: np.ndarray = tf.image.pad_to_bounding_box(image, top, left, size, size).numpy()
    return served


def large_photo(sample_photos: Path) -> bytes:
    """Return a 1530 x 1147 JPEG with the detail of photographs: it is decoded at a reduced size."""
    mosaic = Image.new("RGB", (1530, 1147))
    for index, path in enumerate(sorted(sample_photos.glob("mammal/*.jpg"))[:12]):
        with Image.open(path) as photo:
            mosaic.paste(photo.convert("RGB"), (index % 4 * 400, index // 4 * 400))
    return encoded_image(mosaic, "JPEG", quality=90)


@pytest.mark.parametrize("policy", RESIZE_POLICIES)
def test_training_sees_what_the_exported_model_sees(sample_photos: Path, policy: str) -> None:
    preparation = Preparation(128, policy)
    photos = [path.read_bytes() for path in sorted(sample_photos.glob("bird/*.jpg"))]
    for data in [*photos, large_photo(sample_photos)]:
        served = as_served(data, preparation)
        assert np.abs(np.asarray(square_image(data, preparation)) - served).mean() < 1.2
        assert np.abs(pixels(prepare_image(data, preparation)) - served).mean() < 2.5


@pytest.mark.parametrize("policy", RESIZE_POLICIES)
def test_decoding_at_a_reduced_size_shifts_nothing(sample_photos: Path, policy: str) -> None:
    data = large_photo(sample_photos)
    with Image.open(io.BytesIO(data)) as photo:
        lossless = encoded_image(photo)
    reduced, full = (np.asarray(square_image(file, Preparation(64, policy)), dtype=float) for file in (data, lossless))
    difference = np.abs(reduced - full).mean()
    assert 0 < difference < 1
    assert difference < 0.2 * np.abs(np.roll(full, 1, axis=1) - full).mean()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("policy", RESIZE_POLICIES)
def test_a_large_image_is_reduced_first_and_not_shifted(
    sample_photos: Path, policy: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    with Image.open(io.BytesIO(large_photo(sample_photos))) as photo:
        data = encoded_image(photo, exif=exif)
    full = np.asarray(square_image(data, Preparation(40, policy)), dtype=float)
    monkeypatch.setattr(stored_pixels, "LARGE_PIXELS", 1_000_000)
    reduced = np.asarray(square_image(data, Preparation(40, policy)), dtype=float)
    difference = np.abs(reduced - full).mean()
    assert 0 < difference < 1.6
    assert difference < 0.2 * np.abs(np.roll(full, 1, axis=1) - full).mean()


def test_decoding_at_a_reduced_size_is_visually_lossless(sample_photos: Path) -> None:
    ratios = []
    for path in sorted(sample_photos.glob("*/*.jpg")):
        data = path.read_bytes()
        with Image.open(path) as photo:
            # The worst case: reduced by 1/2 the photo is just 1.5 times as large as it is needed.
            size_px = int(min(photo.size) // 2 / 1.5)
        with Image.open(path) as photo:
            lossless = encoded_image(photo, compress_level=0)
        assert min(square_sides(data, size_px)) >= 1.5 * size_px
        reduced, full = (
            np.asarray(square_image(file, Preparation(size_px, "stretch")), dtype=float) for file in (data, lossless)
        )
        ratios.append(10 * np.log10(255**2 / np.square(reduced - full).mean()))
    assert len(ratios) > 70
    assert min(ratios) > 39.5  # dB; JPEG at quality 95, in which the result is stored, costs as much
    assert np.median(ratios) > 45
    assert max(ratios) < 100  # none was decoded in full


def square_sides(data: bytes, size_px: int) -> tuple[int, int]:
    """Return the sides at which a JPEG is decoded on its way to a square."""
    with Image.open(io.BytesIO(data)) as photo:
        needed = math.ceil(size_px * 1.5)
        photo.draft(None, (needed, needed))
        return photo.size
