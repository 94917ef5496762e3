"""Whether two thumbnails show the same picture, be one of them turned, mirrored or cropped a little."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from components.copies.perceptual_hashes import (
    ORIENTATIONS,
    THUMBNAIL_BYTES,
    THUMBNAIL_SIDE_PX,
    WHOLE,
    Pixels,
    Window,
    interpolation,
    oriented,
)

_LEVELS = 256  # of an interpolation weight: sums of products stay whole numbers below 2**53, exact in any order
_PAIRS_AT_ONCE = 2048
_BOX = 3


def _centred(margin: float) -> Window:
    return Window(margin, 1 - margin, margin, 1 - margin)


def _placed(share: float, places: tuple[float, ...]) -> list[Window]:
    """Return windows of a share of the height and width at some places of the room that is left."""
    starts = [place * (1 - share) for place in places]
    return [Window(top, top + share, left, left + share) for top, left in product(starts, starts)]


ALIGNMENTS = (
    WHOLE,
    *_placed(0.95, (0.0, 0.5, 1.0)),
    *_placed(0.9, (0.0, 0.5, 1.0)),
    Window(0.0, 0.95, 0.0, 1.0),
    Window(0.05, 1.0, 0.0, 1.0),
    Window(0.0, 1.0, 0.0, 0.95),
    Window(0.0, 1.0, 0.05, 1.0),
)
"""Windows of one image that are tried as the other: crops of up to a tenth of the height and width."""


@dataclass(frozen=True)
class Likeness:
    """How alike pairs are, at the best alignment; each array is ``[pairs]``.

    Attributes:
        correlation: Pearson's, of the 256 luma values, [-1, 1], rounded to 4 digits.
        local_difference: Largest mean difference within a box of 3 x 3 values, in standard deviations of the picture:
            small for another compression, large where an object was replaced.
    """

    correlation: npt.NDArray[np.float64]
    local_difference: npt.NDArray[np.float64]


def likeness(first: Pixels, second: Pixels, orientations: npt.NDArray[np.uint8]) -> Likeness:
    """Compare pairs of thumbnails, the first of each reoriented, over all alignments of either with the other.

    Args:
        first: uint8 ``[pairs, 16, 16]``.
        second: uint8 ``[pairs, 16, 16]``.
        orientations: ``[pairs]``, see ``perceptual_hashes``.
    """
    correlation, difference = np.empty(len(first)), np.empty(len(first))
    for begin in range(0, len(first), _PAIRS_AT_ONCE):
        part = slice(begin, begin + _PAIRS_AT_ONCE)
        turned = _turned(first[part], orientations[part])
        correlation[part], difference[part] = _best_alignment(turned, _flat(second[part]))
    return Likeness(correlation, difference)


def _flat(thumbnails: Pixels) -> npt.NDArray[np.float64]:
    return thumbnails.reshape(len(thumbnails), THUMBNAIL_BYTES).astype(np.float64)


def _turned(thumbnails: Pixels, orientations: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    result = np.empty_like(thumbnails)
    for orientation in range(ORIENTATIONS):
        chosen = orientations == orientation
        result[chosen] = oriented(thumbnails[chosen], orientation)
    return _flat(result)


def _best_alignment(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return correlation and local difference of ``[pairs, 256]`` where the correlation is highest."""
    best = np.full(len(first), -2.0)
    difference = np.zeros(len(first))
    plain = (_standardized(first * _LEVELS), _standardized(second * _LEVELS))
    for window in ALIGNMENTS:
        for one, other in _aligned(first, second, plain, window):
            correlation = np.round(np.einsum("pi,pi->p", one, other) / THUMBNAIL_BYTES, 4)
            better = np.flatnonzero(correlation > best)
            best[better] = correlation[better]
            difference[better] = _local_difference(one[better] - other[better])
    return best, difference


def _aligned(
    first: npt.NDArray, second: npt.NDArray, plain: tuple[npt.NDArray, npt.NDArray], window: Window
) -> list[tuple[npt.NDArray, npt.NDArray]]:
    if window == WHOLE:
        return [plain]
    matrix = _zoom(window)
    return [(_standardized(first @ matrix), plain[1]), (plain[0], _standardized(second @ matrix))]


def _standardized(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return rows with mean 0 and standard deviation 1; a constant row becomes zeros."""
    centred = values - values.sum(axis=1, keepdims=True) / THUMBNAIL_BYTES
    deviation = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / THUMBNAIL_BYTES)
    return centred / np.maximum(deviation, 1e-9)


def _local_difference(differences: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    grid = differences.reshape(-1, THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)
    sums = np.pad(grid.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    boxes = sums[:, _BOX:, _BOX:] - sums[:, :-_BOX, _BOX:] - sums[:, _BOX:, :-_BOX] + sums[:, :-_BOX, :-_BOX]
    return np.round(np.abs(boxes).max(axis=(1, 2), initial=0.0) / _BOX**2, 4)


@lru_cache(maxsize=64)
def _zoom(window: Window) -> npt.NDArray[np.float64]:
    """Return the matrix ``[256, 256]`` of whole numbers that blows a window up to the whole, times 256."""
    rows = np.rint(interpolation(window.top, window.bottom, THUMBNAIL_SIDE_PX) * np.sqrt(_LEVELS))
    columns = np.rint(interpolation(window.left, window.right, THUMBNAIL_SIDE_PX) * np.sqrt(_LEVELS))
    return np.ascontiguousarray(np.kron(rows, columns).T)
