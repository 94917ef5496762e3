"""Turning pixels upright moves each of them where Pillow moves it."""

import numpy as np
import pytest
from PIL import Image

from components.formats.stored_pixels import turned


@pytest.mark.parametrize("turn", Image.Transpose)
@pytest.mark.parametrize("size", [(7, 4), (1, 5), (1, 1)])
def test_a_turn_is_pillow_s(turn: Image.Transpose, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = pixels.copy()
    assert np.array_equal(turned(pixels, turn), np.asarray(Image.fromarray(pixels).transpose(turn)))
    assert np.array_equal(pixels, before)
