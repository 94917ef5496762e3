"""What ``fix`` says is done to an image is what split does to it, on real files of every kind."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from components.clean.cleaning_policy import REMEDIES
from components.split.image_preparation import Preparation, prepare_image

SIDE_PX = 64
RED, BLUE, WHITE = (220, 30, 30), (30, 30, 220), (255, 255, 255)


def red_over_blue() -> Image.Image:
    """An image whose upper half is red and lower half blue."""
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), BLUE)
    image.paste(RED, (0, 0, SIDE_PX, SIDE_PX // 2))
    return image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def exif_rotated() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(red_over_blue().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)


def animated() -> bytes:
    return encoded(red_over_blue(), "GIF", save_all=True, append_images=[Image.new("RGB", (SIDE_PX, SIDE_PX), "green")])


def pages() -> bytes:
    return encoded(
        red_over_blue(), "TIFF", save_all=True, append_images=[Image.new("RGB", (SIDE_PX, SIDE_PX), "green")]
    )


def alpha() -> bytes:
    image = Image.new("RGBA", (SIDE_PX, SIDE_PX), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, SIDE_PX, SIDE_PX // 2))
    return encoded(image, "PNG")


def sixteen_bit() -> bytes:
    gray = np.full((SIDE_PX, SIDE_PX), 30 * 257, dtype=np.uint16)
    gray[: SIDE_PX // 2] = 220 * 257
    return encoded(Image.fromarray(gray), "PNG")


# By the check that finds the need: a file that has it, and the colours of both halves when it is mended.
CASES: dict[str, tuple[Callable[[], bytes], tuple[int, ...], tuple[int, ...]]] = {
    "exif_rotated": (exif_rotated, RED, BLUE),
    "animated": (animated, RED, BLUE),
    "cmyk": (lambda: encoded(red_over_blue().convert("CMYK"), "JPEG", quality=95), RED, BLUE),
    "alpha": (alpha, RED, WHITE),
    "sixteen_bit": (sixteen_bit, (220,) * 3, (30,) * 3),
    "palette": (lambda: encoded(red_over_blue().quantize(8), "PNG"), RED, BLUE),
    "wrong_extension": (lambda: encoded(red_over_blue(), "PNG"), RED, BLUE),
}


def test_every_remedy_is_shown_here() -> None:
    assert set(CASES) == set(REMEDIES)


@pytest.mark.parametrize(
    ("write", "upper", "lower"),
    [*(pytest.param(*case, id=check) for check, case in CASES.items()), pytest.param(pages, RED, BLUE, id="pages")],
)
def test_split_does_what_the_remedy_says(
    write: Callable[[], bytes], upper: tuple[int, ...], lower: tuple[int, ...]
) -> None:
    prepared = Image.open(io.BytesIO(prepare_image(write(), Preparation(SIDE_PX, "stretch")).jpeg))
    assert (prepared.mode, prepared.size) == ("RGB", (SIDE_PX, SIDE_PX))
    pixels = np.asarray(prepared).astype(int)
    for rows, colour in ((slice(4, SIDE_PX // 2 - 4), upper), (slice(SIDE_PX // 2 + 4, SIDE_PX - 4), lower)):
        assert np.abs(pixels[rows] - colour).max() <= 12
