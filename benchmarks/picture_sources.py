"""Pictures without defects to plant defects in: sample photographs, crops of them, and drawings, no two alike."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Pixels = npt.NDArray[np.uint8]

# What a crop of a photograph must show, at its own size, to count as a picture without defects. Crops of sky, of a
# blurred background or of deep shadow do have the defects that the audit looks for.
_LEAST_CROP_SIDE_PX = 72
_LEAST_DEVIATION = 28.0
_LEAST_STEP = 40.0
_LEAST_COLOUR = 6.0

_WORDS = ("the", "audit", "of", "every", "image", "finds", "what", "should", "not", "be", "trained", "on", "and", "why")


def photographs(folder: Path, generator: np.random.Generator) -> Iterator[Image.Image]:
    """Yield each photograph of a folder as it is, and then crops of them that do not overlap, in random order.

    Args:
        folder: Its ``*.jpg`` files, however deep, are photographs without defects and without copies.
        generator: Chooses where the crops lie.
    """
    photos = [Image.open(path).convert("RGB") for path in sorted(folder.rglob("*.jpg"))]
    crops = [crop for photo in photos for crop in _crops(photo, generator)]
    everything = photos + [crop for crop in crops if shows_a_picture(crop)]
    for index in generator.permutation(len(everything)):
        yield everything[index]


def shows_a_picture(image: Image.Image) -> bool:
    """Say whether a crop has contrast, light, colour and a sharp edge, by measures of the crop at its full size."""
    pixels = np.asarray(image).astype(np.float64)
    luma = pixels @ (0.299, 0.587, 0.114)
    steps = np.abs(np.diff(luma, axis=1))
    colour = np.abs(np.diff(pixels, axis=2)).sum(axis=2).mean()
    return bool(
        min(luma.shape) >= _LEAST_CROP_SIDE_PX
        and luma.std() >= _LEAST_DEVIATION
        and np.quantile(luma, 0.95) >= 90
        and np.quantile(luma, 0.05) <= 170
        and np.quantile(steps, 0.99) >= _LEAST_STEP
        and colour >= _LEAST_COLOUR
    )


def _crops(photo: Image.Image, generator: np.random.Generator) -> Iterator[Image.Image]:
    columns, rows = ((2, 2), (3, 2), (2, 3))[generator.integers(3)]
    if photo.width < 400:
        columns, rows = 2, 2
    across = np.linspace(0, photo.width, columns + 1).round().astype(int)
    down = np.linspace(0, photo.height, rows + 1).round().astype(int)
    for left, right in itertools.pairwise(across):
        for top, bottom in itertools.pairwise(down):
            margin = generator.integers(0, 8, 4)
            yield photo.crop((left + margin[0], top + margin[1], right - margin[2], bottom - margin[3]))


def drawings(generator: np.random.Generator) -> Iterator[Image.Image]:
    """Yield drawn pictures without end, of each kind in turn: shapes, gradients, noise, pages of text."""
    while True:
        for draw in (_shapes, _gradients, _noise, _page):
            width = int(generator.integers(200, 560))
            height = int(width * generator.uniform(0.6, 1.5))
            yield _grained(draw(width, max(height, 160), generator), generator)


def _shapes(width: int, height: int, generator: np.random.Generator) -> Pixels:
    image = Image.fromarray(_soft_field(width, height, generator))
    canvas = ImageDraw.Draw(image)
    for _ in range(generator.integers(6, 14)):
        _draw_shape(canvas, width, height, generator)
    return np.asarray(image)


def _gradients(width: int, height: int, generator: np.random.Generator) -> Pixels:
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    pixels = np.zeros((height, width, 3))
    for _ in range(4):
        centre, colour = generator.uniform(-0.2, 1.2, 2), generator.uniform(-160, 160, 3)
        distance = np.hypot(x - centre[0], y - centre[1])
        pixels += np.cos(distance * generator.uniform(3, 9))[..., None] * colour
    image = Image.fromarray(_stretched(pixels))
    canvas = ImageDraw.Draw(image)
    for _ in range(3):
        _draw_shape(canvas, width, height, generator)
    return np.asarray(image)


def _noise(width: int, height: int, generator: np.random.Generator) -> Pixels:
    """Return noise whose amplitude falls with frequency, as that of photographs does, each channel differently."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.maximum(np.hypot(down, across), 1 / max(width, height))
    shared = _filtered_noise(frequency, height, width, generator)
    channels = [0.7 * shared + 0.5 * _filtered_noise(frequency, height, width, generator) for _ in range(3)]
    return _stretched(np.stack(channels, axis=2))


def _filtered_noise(
    frequency: npt.NDArray[np.float64], height: int, width: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft2(generator.normal(size=(height, width))) / frequency ** generator.uniform(0.9, 1.2)
    noise = np.fft.irfft2(spectrum, s=(height, width))
    return np.asarray(noise / noise.std())


def _page(width: int, height: int, generator: np.random.Generator) -> Pixels:
    """Return a page with lines of text in one or two columns, and figures."""
    paper = generator.uniform(190, 250, 3)
    image = Image.new("RGB", (width, height), tuple(paper.astype(int)))
    canvas = ImageDraw.Draw(image)
    ink = tuple(generator.integers(0, 90, 3))
    size = int(generator.integers(11, 20))
    columns = int(generator.integers(1, 3))
    for column in range(columns):
        left, y = int(width * (column + 0.06) / columns), int(generator.integers(4, 40))
        while y < height - size:
            if generator.random() < 0.14:
                tall = int(generator.integers(height // 10, height // 3))
                box = (left, y, left + int(width / columns * generator.uniform(0.3, 0.85)), y + tall)
                canvas.rectangle(box, fill=_colour(generator), outline=ink)
                y += tall
            else:
                words = " ".join(generator.choice(_WORDS, generator.integers(1, max(2, width // columns // 45) + 1)))
                canvas.text((left, y), words, fill=ink, font_size=size)
            y += int(size * 1.3)
    return np.asarray(image)


def _soft_field(width: int, height: int, generator: np.random.Generator) -> Pixels:
    coarse = generator.uniform(20, 235, (4, 4, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def _draw_shape(canvas: ImageDraw.ImageDraw, width: int, height: int, generator: np.random.Generator) -> None:
    centre = generator.uniform(0, 1, 2) * (width, height)
    radius = generator.uniform(0.08, 0.3) * min(width, height)
    if generator.random() < 0.4:
        stretch = generator.uniform(0.5, 1.0, 2) * radius
        canvas.ellipse((*(centre - stretch), *(centre + stretch)), fill=_colour(generator))
        return
    angles = np.sort(generator.uniform(0, 2 * np.pi, generator.integers(3, 7)))
    corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    canvas.polygon([tuple(corner) for corner in corners], fill=_colour(generator))


def _colour(generator: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(level) for level in generator.integers(0, 256, 3))


def _stretched(pixels: npt.NDArray[np.float64]) -> Pixels:
    low, high = np.quantile(pixels, (0.01, 0.99))
    return np.asarray(np.clip((pixels - low) / (high - low) * 225 + 15, 0, 255).astype(np.uint8))


def _grained(pixels: Pixels, generator: np.random.Generator) -> Image.Image:
    """Add the grain of a scan or a camera, without which flat areas hold less information than any photograph."""
    grain = generator.normal(0, generator.uniform(3, 7), pixels.shape)
    softened = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.4))
    return Image.fromarray(np.clip(np.asarray(softened) + grain, 0, 255).astype(np.uint8))
