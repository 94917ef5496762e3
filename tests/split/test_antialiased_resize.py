"""Resizing gives what Pillow gives, whatever the factor and the part of the image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.split import antialiased_resize
from components.split.antialiased_resize import resized

WITH_NUMBA = pytest.mark.skipif(antialiased_resize.ENGINE != "numba", reason="numba is an extra: fast")


def by_pillow(pixels: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    cut = Image.fromarray(pixels).crop((int(box[0]), int(box[1]), int(np.ceil(box[2])), int(np.ceil(box[3]))))
    inner = (box[0] % 1, box[1] % 1, box[2] - int(box[0]), box[3] - int(box[1]))
    return np.asarray(cut.resize(size, Image.Resampling.BILINEAR, inner))


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-6, np.square(one.astype(float) - other.astype(float)).mean())))


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3, 1.75, 2.0, 2.6, 3.3, 5.0, 7.9, 12.0, 40.0])
def test_it_looks_as_pillow_s(sample_photos: Path, factor: float) -> None:
    for path in sorted(sample_photos.glob("*/*.jpg"))[::9]:
        with Image.open(path) as photo:
            pixels = np.asarray(photo.convert("RGB"))
        height, width, _ = pixels.shape
        box, size = (0, 0, width, height), (round(width / factor), round(height / factor))
        assert decibels(resized(pixels, box, size), by_pillow(pixels, box, size)) > 54


@WITH_NUMBA
def test_with_and_without_the_extra_it_is_the_same_but_for_rounding(
    sample_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Image.open(sample_photos / "mammal" / "lemur.jpg") as photo:
        pixels = np.asarray(photo.convert("RGB"))
    box, size = (10.5, 3.25, 300.0, 200.5), (96, 64)
    compiled = resized(pixels, box, size).astype(int)
    monkeypatch.setattr(antialiased_resize, "ENGINE", "pillow")
    assert 0 < np.abs(compiled - resized(pixels, box, size)).max() <= 2


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((60, 20, 260, 200), id="whole pixels"),
        pytest.param((0, 0, 319.5, 212.5), id="an odd size at half"),
        pytest.param((60.5, 20.5, 260.5, 200.5), id="half pixels"),
    ],
)
def test_parts_are_cut_before_they_are_blended(box: tuple[float, float, float, float]) -> None:
    pixels = np.zeros((213, 320, 3), np.uint8)
    left, top, right, bottom = (int(edge + 0.5) for edge in box)
    gradient = np.linspace(50, 200, right - left, dtype=np.uint8)
    pixels[top:bottom, left:right] = gradient[:, None]
    shown = resized(pixels, box, (80, 70)).astype(int)
    assert np.abs(shown - by_pillow(pixels, box, (80, 70))).max() <= 1
    assert shown[:, 5:75].min() > 40  # none of the black around it


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (2, 2), (1, 1), (5000, 3)])
def test_extreme_shapes_are_resized(size: tuple[int, int]) -> None:
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    assert (resized(pixels, (0, 0, *size), (32, 16)) == 90).all()
    assert resized(pixels, (0, 0, *size), (32, 16)).shape == (16, 32, 3)
