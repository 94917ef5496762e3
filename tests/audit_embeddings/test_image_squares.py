"""Images of any kind become the middle square, upright."""

import io

import numpy as np
import pytest
from PIL import Image

from components.audit_embeddings.image_squares import UndecodableImageError, middle_square, shown_pixels


def stripes(width: int, height: int) -> Image.Image:
    """Return an image red at its left end, blue at its right end, and green in its middle square."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 1] = 200
    pixels[:, : (width - height) // 2] = (200, 0, 0)
    pixels[:, width - (width - height) // 2 :] = (0, 0, 200)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def turned(image: Image.Image) -> bytes:
    """Return a JPEG stored a quarter turn off, which says so in its EXIF data."""
    exif = Image.Exif()
    exif[274] = 6
    return encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(stripes(960, 480), "PNG"), id="PNG"),
        pytest.param(encoded(stripes(4000, 2000), "JPEG", quality=95), id="JPEG reduced while decoded"),
        pytest.param(encoded(stripes(80, 40), "PNG"), id="smaller than the square"),
        pytest.param(encoded(stripes(960, 480).convert("CMYK"), "JPEG", quality=95), id="CMYK"),
        pytest.param(encoded(stripes(960, 480), "GIF"), id="palette"),
        pytest.param(encoded(stripes(960, 480), "AVIF"), id="AVIF"),
        pytest.param(encoded(stripes(6000, 3000), "WEBP"), id="large"),
        pytest.param(turned(stripes(960, 480)), id="EXIF turned"),
        pytest.param(encoded(stripes(960, 480).transpose(Image.Transpose.ROTATE_90), "PNG"), id="upright format"),
    ],
)
def test_the_square_is_the_middle_of_the_image(data: bytes) -> None:
    square = middle_square(data, 64)
    assert square.shape == (64, 64, 3)
    assert square.dtype == np.uint8
    inside = square[4:-4, 4:-4].reshape(-1, 3)
    assert np.abs(inside.astype(int) - (0, 200, 0)).max() < 16


def test_what_is_shown_keeps_its_shape_and_stays_small() -> None:
    pixels = shown_pixels(encoded(stripes(960, 480), "PNG"), 160)
    assert pixels is not None
    assert pixels.shape == (80, 160, 3)


@pytest.mark.parametrize("data", [b"", b"text", encoded(stripes(960, 480), "JPEG")[:2000]])
def test_bytes_without_an_image_say_why(data: bytes) -> None:
    with pytest.raises(UndecodableImageError, match="."):
        middle_square(data, 64)
    assert shown_pixels(data, 160) is None
