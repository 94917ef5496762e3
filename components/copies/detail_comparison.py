"""Whether two images that look alike as thumbnails are the same in detail: the last word on copies.

A thumbnail of 16 x 16 hardly shows whether an object stands in front of the same background twice. Here images are
compared at 32 x 32, and in colour, once everything that makes a copy is accounted for:

- a crop, by a scale and a shift of each axis that are refined to parts of a pixel (B. Lucas and T. Kanade, "An
  iterative image registration technique with an application to stereo vision", 1981);
- another brightness, contrast or gamma, clipped or not, by the tone curve that explains most: any rising, piecewise
  linear function of luma;
- more, less or no colour, by one factor for all colours.

What is left of a copy is noise. What is left where an object was replaced is the object. And where a picture is mostly
one thing, a box on a page say, which makes everything else small beside it, the fine detail must agree as well.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from components.copies.perceptual_hashes import SQUARE_SIDE_PX, Pixels, Window, block_sums, oriented

LUMA_SIDE_PX = 32
COLOUR_SIDE_PX = 8

MOST_COLOUR_DIFFERENCE = 40.0
"""Levels of Cb or Cr, [-128, 127], in which a 64th of the image may differ."""

LEAST_COLOUR_CORRELATION = 0.6
"""Of Cb and Cr together, where both images have colour that varies."""

LEAST_DETAIL_CORRELATION = 0.7
"""Of what a blur by 5 x 5 of the 32 x 32 values takes away, every value counting little more than the usual one."""

_PAIRS_AT_ONCE = 64  # bounds memory: each takes 300 KB while it is compared
_STEPS = 6
_LONGEST_STEP = 0.03  # of a side
_SCALES = (0.82, 1.22)  # crops to 85 %, either image of the other, and some room
_MOST_SHIFT = 0.1
_OUTLIER = 0.5  # standard deviations from which on a difference counts less when images are aligned
_KNOTS = 7
_BOX = 3
_LEAST_COLOUR_DEVIATION = 1.5  # levels of Cb and Cr
_MOST_SATURATION = 3.0  # times the colour of the other image
_BLUR = 5
_LEAST_DETAIL = 0.5  # levels: less is rounding
_MOST_GRAY = 3  # levels of Cb and Cr, from rounding, of an image without colour

Floats = npt.NDArray[np.float64]
Colours = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Details:
    """What a comparison in detail needs of each image.

    Attributes:
        luma: uint8 ``[n, 32, 32]``.
        colour: int8 ``[n, 2, 8, 8]``, Cr and Cb less 128.
    """

    luma: Pixels
    colour: Colours

    def __getitem__(self, rows: npt.NDArray[np.int64] | slice) -> Self:
        """Return the details of some images."""
        return type(self)(self.luma[rows], self.colour[rows])

    def turned(self, orientations: npt.NDArray) -> Self:
        """Return every image in its own one of the 8 orientations."""
        turned = type(self)(self.luma.copy(), self.colour.copy())
        for orientation in range(1, 8):
            chosen = orientations == orientation
            turned.luma[chosen] = oriented(self.luma[chosen], orientation)
            turned.colour[chosen] = oriented(self.colour[chosen], orientation)
        return turned


def luma_of(squares: Pixels) -> Pixels:
    """Reduce uint8 ``[n, 64, 64]`` from ``perceptual_hashes.luma_square`` to ``[n, 32, 32]``."""
    count = (SQUARE_SIDE_PX // LUMA_SIDE_PX) ** 2
    return ((block_sums(squares, LUMA_SIDE_PX) + count // 2) // count).astype(np.uint8)


def colour_places(rgb: Pixels) -> Pixels:
    """Return the colours of 64 x 64 places of an image of any size, uint8 ``[height, width, 3]``.

    Their means are as good as those of all pixels where it is about colour, and take a tenth of the time.
    """
    return np.asarray(cv2.resize(rgb, (SQUARE_SIDE_PX, SQUARE_SIDE_PX), interpolation=cv2.INTER_LINEAR), np.uint8)


def colour_square(places: Pixels) -> Colours:
    """Reduce the colour of an image, without its proportions.

    Args:
        places: uint8 ``[64, 64, 3]`` from ``colour_places``.

    Returns:
        int8 ``[2, 8, 8]``, Cr and Cb (Rec. 601) less 128.
    """
    small = cv2.resize(places, (COLOUR_SIDE_PX, COLOUR_SIDE_PX), interpolation=cv2.INTER_AREA)
    levels = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.int16) - 128
    return np.clip(levels, -128, 127).astype(np.int8).transpose(2, 0, 1)


def alignment(window: Window, *, of_first: bool) -> tuple[float, float, float, float]:
    """Return where a window of one image lies if it is the whole of the other.

    Args:
        window: In fractions of the height and width.
        of_first: It is a window of the first image of a pair, else of the second.

    Returns:
        Scale and shift down, scale and shift across: the second image's position p, from its centre and in sides, is
        scale * p + shift of the first image.
    """
    placed = []
    for start, end in ((window.top, window.bottom), (window.left, window.right)):
        scale, shift = end - start, (start + end) / 2 - 0.5
        placed += [scale, shift] if of_first else [1 / scale, -shift / scale]
    return placed[0], placed[1], placed[2], placed[3]


def same_in_detail(
    first: Details, second: Details, alignments: Floats, most_difference: float
) -> npt.NDArray[np.bool_]:
    """Return which pairs, alike as thumbnails, are copies.

    Args:
        first: Of each pair, in the orientation of the second.
        second: Likewise.
        alignments: ``[pairs, 4]``, where to begin, see ``alignment``.
        most_difference: Mean of luma within a box of 3 x 3 of the 32 x 32 values, in standard deviations.

    Returns:
        bool ``[pairs]``.
    """
    same = np.zeros(len(alignments), bool)
    for begin in range(0, len(same), _PAIRS_AT_ONCE):
        part = slice(begin, begin + _PAIRS_AT_ONCE)
        same[part] = _same(first[part], second[part], alignments[part], most_difference)
    return same


def _same(first: Details, second: Details, alignments: Floats, most_difference: float) -> npt.NDArray[np.bool_]:
    """Look at pairs as they are aligned, and realign only those that are not shown to be the same like that."""
    same = np.zeros(len(alignments), bool)
    # Steps towards a part of the other image lead there sooner than steps towards a whole that it is a part of.
    for refine, swap in ((False, False), (True, False), (True, True)):
        rest = np.flatnonzero(~same)
        one, other = (second[rest], first[rest]) if swap else (first[rest], second[rest])
        placed = _inverse(alignments[rest]) if swap else alignments[rest]
        luma = one.luma.astype(np.float64), other.luma.astype(np.float64)
        if refine:
            placed = _refined(*luma, placed)
        close = np.flatnonzero(_luma_difference(*luma, placed, most_difference) <= most_difference)
        close = close[_same_colour(one.colour[close], other.colour[close], placed[close])]
        detail = _detail_correlation(luma[0][close], luma[1][close], placed[close])
        same[rest[close[detail >= LEAST_DETAIL_CORRELATION]]] = True
    return same


def _inverse(alignments: Floats) -> Floats:
    """Return where the first image lies if the second one is the whole."""
    scales, shifts = alignments[:, [0, 2]], alignments[:, [1, 3]]
    return np.stack([1 / scales, -shifts / scales], axis=2).reshape(-1, 4)


def _luma_difference(first: Floats, second: Floats, alignments: Floats, enough: float) -> Floats:
    """Return the largest local difference of aligned pairs, the tone curve accounted for where it matters."""
    weights = _overlap(alignments, LUMA_SIDE_PX)
    one = _standardized(_sampled(first, alignments), weights)
    other = _standardized(second, weights)
    left = _largest_box(one - other, weights, _BOX)
    unlike = np.flatnonzero(left > enough)
    for a, b in ((one, other), (other, one)):  # what one of them clips, the other cannot be told from
        toned = _largest_box(_beyond_tone(a[unlike], b[unlike], weights[unlike]), weights[unlike], _BOX)
        left[unlike] = np.minimum(left[unlike], toned)
    return np.round(left, 4)


def _detail_correlation(first: Floats, second: Floats, alignments: Floats) -> Floats:
    """Return how the fine detail of aligned pairs correlates, [-1, 1]; 1 where neither has any."""
    weights = _overlap(alignments, LUMA_SIDE_PX)
    one, other = (_fine_detail(image, weights) for image in (_sampled(first, alignments), second))
    powers = np.square(one).sum(axis=(1, 2)) * np.square(other).sum(axis=(1, 2))
    correlation = (one * other).sum(axis=(1, 2)) / np.sqrt(np.maximum(powers, 1e-9))
    return np.where(powers > 0, np.round(correlation, 4), 1.0)


def _fine_detail(images: Floats, weights: Floats) -> Floats:
    """Return what a blur takes away, in medians of it and at most two: no edge outweighs the rest."""
    margin = ((0, 0), (_BLUR // 2, _BLUR // 2), (_BLUR // 2, _BLUR // 2))
    sums, sizes = (box_sums(np.pad(array, margin), _BLUR) for array in (images * weights, weights))
    detail = (images - sums / np.maximum(sizes, 1)) * weights
    count = weights.sum(axis=(1, 2)).astype(np.int64)
    ascending = np.sort(np.where(weights > 0, np.abs(detail), np.inf).reshape(len(images), LUMA_SIDE_PX**2), axis=1)
    median = np.take_along_axis(ascending, np.maximum(count // 2 - 1, 0)[:, None], axis=1)[:, :, None]
    return np.clip(detail / np.maximum(median, _LEAST_DETAIL), -2.0, 2.0)


def _refined(first: Floats, second: Floats, alignments: Floats) -> Floats:
    """Return alignments at which the first image, standardized, is most like the second: Gauss-Newton steps."""
    count, side = len(first), LUMA_SIDE_PX
    place = (np.arange(side) + 0.5) / side - 0.5
    alignments = alignments.copy()
    for _ in range(_STEPS):
        weights = _overlap(alignments, side)
        one = _standardized(_sampled(first, alignments), weights)
        error = (_standardized(second, weights) - one) * weights
        # What moves by a side at the second image's scale moves by 1 / scale at its own.
        down = np.gradient(one, axis=1) * (side / alignments[:, 0])[:, None, None]
        across = np.gradient(one, axis=2) * (side / alignments[:, 2])[:, None, None]
        slopes = np.stack([down * place[:, None], down, across * place, across], axis=-1).reshape(count, side**2, 4)
        weight = (weights / np.maximum(1.0, np.abs(error) / _OUTLIER)).reshape(count, side**2, 1)
        transposed = (slopes * weight).transpose(0, 2, 1)
        normal = transposed @ slopes
        damping = 1e-3 * (normal.trace(axis1=1, axis2=2) + 1.0)
        normal += damping[:, None, None] * np.eye(4)
        step = np.linalg.solve(normal, transposed @ error.reshape(count, side**2, 1))[..., 0]
        alignments += np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        alignments[:, [0, 2]] = np.clip(alignments[:, [0, 2]], *_SCALES)
        alignments[:, [1, 3]] = np.clip(alignments[:, [1, 3]], -_MOST_SHIFT, _MOST_SHIFT)
    return alignments


def _positions(alignments: Floats, side: int) -> tuple[Floats, Floats]:
    """Return which rows and columns of the first image those of the second are, each ``[pairs, side]``."""
    place = (np.arange(side) + 0.5) / side - 0.5
    down = (0.5 + alignments[:, 1:2] + alignments[:, 0:1] * place) * side - 0.5
    across = (0.5 + alignments[:, 3:4] + alignments[:, 2:3] * place) * side - 0.5
    return down, across


def _overlap(alignments: Floats, side: int) -> Floats:
    """Return 1 where a pixel of the second image lies in the first, 0 elsewhere: ``[pairs, side, side]``."""
    rows, columns = ((at >= -0.5) & (at <= side - 0.5) for at in _positions(alignments, side))
    return (rows[:, :, None] & columns[:, None, :]).astype(np.float64)


def _sampled(images: Floats, alignments: Floats) -> Floats:
    """Return ``[pairs, side, side]`` as the second image would show it, interpolated linearly."""
    down, across = (_interpolation(at, images.shape[1]) for at in _positions(alignments, images.shape[1]))
    return down @ images @ across.transpose(0, 2, 1)


def _interpolation(positions: Floats, side: int) -> Floats:
    """Return a matrix ``[pairs, side, side]`` that takes the values at some positions of an axis."""
    inside = np.clip(positions, 0, side - 1)
    lower = np.minimum(inside.astype(np.int64), side - 2)
    matrix = np.zeros((*positions.shape, side))
    pair, sample = np.arange(len(positions))[:, None], np.arange(positions.shape[1])
    matrix[pair, sample, lower] = 1 - (inside - lower)
    matrix[pair, sample, lower + 1] = inside - lower
    return matrix


def _standardized(images: Floats, weights: Floats) -> Floats:
    """Return images with mean 0 and standard deviation 1 where the weights are 1, and 0 elsewhere."""
    total = weights.sum(axis=(1, 2), keepdims=True)
    centred = (images - (images * weights).sum(axis=(1, 2), keepdims=True) / total) * weights
    return np.asarray(centred / np.maximum(np.sqrt(np.square(centred).sum(axis=(1, 2), keepdims=True) / total), 1e-3))


def _beyond_tone(one: Floats, other: Floats, weights: Floats) -> Floats:
    """Return what of ``other`` no tone curve of ``one`` explains: rising, piecewise linear, with 7 knots."""
    count, pixels = len(one), LUMA_SIDE_PX**2
    values, target, weight = (array.reshape(count, pixels) for array in (one, other, weights))
    ordered = np.sort(values, axis=1)
    knots = ordered[:, np.linspace(0, pixels - 1, _KNOTS).astype(np.int64)]
    knots = np.maximum.accumulate(knots + 1e-3 * np.arange(_KNOTS), axis=1)
    knot = (values[:, :, None] >= knots[:, None, 1:-1]).sum(axis=2)
    low, high = np.take_along_axis(knots, knot, axis=1), np.take_along_axis(knots, knot + 1, axis=1)
    share = np.clip((values - low) / (high - low), 0, 1)
    hats = np.zeros((*values.shape, _KNOTS))
    pair, pixel = np.arange(count)[:, None], np.arange(pixels)
    hats[pair, pixel, knot], hats[pair, pixel, knot + 1] = 1 - share, share
    transposed = (hats * weight[..., None]).transpose(0, 2, 1)
    levels = np.linalg.solve(transposed @ hats + 1e-2 * np.eye(_KNOTS), transposed @ target[..., None])
    curve = (hats @ np.maximum.accumulate(levels, axis=1))[..., 0]
    return ((target - curve) * weight).reshape(one.shape)


def _same_colour(first: Colours, second: Colours, alignments: Floats) -> npt.NDArray[np.bool_]:
    """Return which aligned pairs have the same colours, up to a shift and a factor for all, or one of them none."""
    weights = _overlap(alignments, COLOUR_SIDE_PX)[:, None]
    total = weights.sum(axis=(1, 2, 3))[:, None, None, None]
    one = np.stack([_sampled(first[:, channel].astype(np.float64), alignments) for channel in range(2)], axis=1)
    one, other = (
        (image - (image * weights).sum(axis=(2, 3), keepdims=True) / total) * weights
        for image in (one, second.astype(np.float64))
    )
    powers = np.stack([np.square(image).sum(axis=(1, 2, 3)) for image in (one, other)])
    shared = (one * other).sum(axis=(1, 2, 3))
    correlation = np.round(shared / np.sqrt(np.maximum(powers.prod(axis=0), 1e-9)), 4)
    varies = powers.min(axis=0) > 2 * _LEAST_COLOUR_DEVIATION**2 * total[:, 0, 0, 0]
    # In the levels of the one with more colour: in those of the other, hardly anything would differ.
    more = (powers[0] > powers[1])[:, None, None, None]
    pale, rich = np.where(more, other, one), np.where(more, one, other)
    factor = np.clip(shared / np.maximum(powers.min(axis=0), 1e-3), 1.0, _MOST_SATURATION)[:, None, None, None]
    left = np.round(np.abs(rich - factor * pale).max(axis=(1, 2, 3)), 4)
    gray = np.minimum(*(np.abs(image.astype(np.int16)).max(axis=(1, 2, 3)) for image in (first, second))) <= _MOST_GRAY
    alike = (left <= MOST_COLOUR_DIFFERENCE) & ((correlation >= LEAST_COLOUR_CORRELATION) | ~varies)
    return np.asarray(gray | alike)


def _largest_box(differences: Floats, weights: Floats, box: int) -> Floats:
    """Return the largest mean of differences within any box, by absolute value: ``[pairs]``."""
    sums, sizes = (box_sums(array, box) for array in (differences, weights))
    return np.asarray((np.abs(sums) / np.maximum(sizes, 0.6 * box**2)).max(axis=(1, 2), initial=0.0))


def box_sums(grids: Floats, box: int) -> Floats:
    """Return the sum of every box of so many rows and columns of ``[n, side, side]``."""
    sums = np.zeros((len(grids), grids.shape[1] + 1, grids.shape[2] + 1))
    np.cumsum(grids, axis=1, out=sums[:, 1:, 1:])
    np.cumsum(sums[:, 1:, 1:], axis=2, out=sums[:, 1:, 1:])
    return np.asarray(sums[:, box:, box:] - sums[:, :-box, box:] - sums[:, box:, :-box] + sums[:, :-box, :-box])
