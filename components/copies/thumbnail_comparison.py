"""Whether two thumbnails show the same picture, be one of them turned, mirrored or cropped a little."""

from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from components.copies.detail_comparison import alignment, box_sums
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

LOCAL_DIFFERENCE = 1.2

PLAIN_SHARE = 0.65
PLAIN_CORRELATION = 0.93
PLAIN_LOCAL_DIFFERENCE = 0.8

_LEVELS = 256  # of an interpolation weight: a sum of products is a whole number and exact, in any order
_PAIRS_AT_ONCE = 2048
_BOX = 3
_PLAIN_LEVELS = 7
_PLAIN_STEP = 8
_NOT_CROPPED = 0.97  # correlation at which no better alignment needs to be looked for


def _centred(margin: float) -> Window:
    return Window(margin, 1 - margin, margin, 1 - margin)


def _placed(share: float, places: tuple[float, ...]) -> list[Window]:
    """Return windows of a share of the height and width at some places of the room that is left."""
    starts = [place * (1 - share) for place in places]
    return [Window(top, top + share, left, left + share) for top, left in product(starts, starts)]


_FIRST_ALIGNMENTS = (WHOLE, *_placed(0.95, (0.5,)), *_placed(0.95, (0.0, 1.0)))
_HOPELESS = 0.2  # below what is asked for, at the first alignments: of 9,000 copies none was more than 0.16

ALIGNMENTS = (
    *_FIRST_ALIGNMENTS,
    *(window for window in _placed(0.95, (0.0, 0.5, 1.0)) if window not in _FIRST_ALIGNMENTS),
    *_placed(0.9, (0.0, 0.5, 1.0)),
    Window(0.0, 0.95, 0.0, 1.0),
    Window(0.05, 1.0, 0.0, 1.0),
    Window(0.0, 1.0, 0.0, 0.95),
    Window(0.0, 1.0, 0.05, 1.0),
)
"""Windows of one image that are tried as the other: crops of up to a tenth of the height and width."""


def alignments(
    first: Pixels,
    second: Pixels,
    orientations: npt.NDArray[np.uint8],
    of_one_shape: npt.NDArray[np.bool_],
    minimum_correlation: float,
) -> npt.NDArray[np.float64]:
    """Return where pairs are alike: the first alignment of either with the other, the first of each pair reoriented.

    Besides correlating, pairs may differ nowhere by much: by the largest mean difference within a box of 3 x 3 of the
    16 x 16 values, in standard deviations of the picture. Other brightness, clipped, makes much of it, so that this
    finds the most unlike pairs only; ``detail_comparison`` has the last word.

    Plain images, most of which is one gray level, are alike though they show different things: a letter, a product or
    a drawing on white. They have to correlate by ``PLAIN_CORRELATION``, differ locally by at most
    ``PLAIN_LOCAL_DIFFERENCE``, and be of one shape before they were squeezed into a square.

    Args:
        first: uint8 ``[pairs, 16, 16]``.
        second: uint8 ``[pairs, 16, 16]``.
        orientations: ``[pairs]``, see ``perceptual_hashes``.
        of_one_shape: bool ``[pairs]``, whether their width / height agrees in that orientation.
        minimum_correlation: Pearson's, of the 256 values, [-1, 1].

    Returns:
        float64 ``[pairs, 4]``, see ``detail_comparison.alignment``; NaN for a pair that is not alike.
    """
    found = np.full((len(first), 4), np.nan)
    for begin in range(0, len(first), _PAIRS_AT_ONCE):
        part = slice(begin, begin + _PAIRS_AT_ONCE)
        open_pairs = np.arange(begin, begin + len(first[part]))
        plain = np.minimum(_plain_share(first[part]), _plain_share(second[part])) >= PLAIN_SHARE
        least = np.where(plain, np.maximum(minimum_correlation, PLAIN_CORRELATION), minimum_correlation)
        least[plain & ~of_one_shape[part]] = np.inf
        most = np.where(plain, PLAIN_LOCAL_DIFFERENCE, LOCAL_DIFFERENCE)
        one, other = _turned(first[part], orientations[part]), second[part].astype(np.float64)
        whole = _standardized(one), _standardized(other)
        best = np.full(len(open_pairs), -1.0)
        for number, window in enumerate(ALIGNMENTS):
            for of_first, (moved, still) in zip((True, False), _aligned(one, other, whole, window), strict=False):
                correlation = _correlation(moved, still)
                best = np.maximum(best, correlation)
                enough = np.flatnonzero(correlation >= least)
                same = _local_difference(_standardized(moved[enough]) - still[enough]) <= most[enough]
                alike = open_pairs[enough[same]]
                found[alike[np.isnan(found[alike, 0])]] = alignment(window, of_first=of_first)
            left = np.isnan(found[open_pairs, 0])
            if number + 1 >= len(_FIRST_ALIGNMENTS):
                left &= best >= minimum_correlation - _HOPELESS
            if not left.any():
                break
            if left.all():
                continue
            open_pairs, one, other, best = open_pairs[left], one[left], other[left], best[left]
            least, most, whole = least[left], most[left], (whole[0][left], whole[1][left])
    return found


def best_correlation(first: Pixels, second: Pixels) -> npt.NDArray[np.float64]:
    """Return the correlation of pairs in the orientation that fits best, and at the best alignment where need be.

    Args:
        first: uint8 ``[pairs, 16, 16]``.
        second: uint8 ``[pairs, 16, 16]``.

    Returns:
        float64 ``[pairs]`` in [-1, 1], rounded to 4 digits.
    """
    best = np.full(len(first), -1.0)
    for begin in range(0, len(first), _PAIRS_AT_ONCE):
        part = slice(begin, begin + _PAIRS_AT_ONCE)
        other = second[part].astype(np.float64)
        upright = _standardized(other)
        plain = [_correlation(_turned(first[part], np.full(len(other), turn)), upright) for turn in range(ORIENTATIONS)]
        found = np.max(plain, axis=0)
        cropped = np.flatnonzero(found < _NOT_CROPPED)
        one, other = _turned(first[part], np.argmax(plain, axis=0))[cropped], other[cropped]
        whole = _standardized(one), upright[cropped]
        for window in ALIGNMENTS[1:] if len(cropped) else ():
            for moved, still in _aligned(one, other, whole, window):
                found[cropped] = np.maximum(found[cropped], _correlation(moved, still))
        best[part] = found
    return best


def _plain_share(thumbnails: Pixels) -> npt.NDArray[np.float64]:
    """Return the largest share of the values of each thumbnail that lie within 7 neighbouring gray levels."""
    levels = np.sort(thumbnails.reshape(len(thumbnails), THUMBNAIL_BYTES).astype(np.int16), axis=1)
    # Of ascending values, as many lie within 7 levels of one as stand between it and the first that is 7 above.
    share = np.zeros(len(levels))
    for step in range(_PLAIN_STEP, THUMBNAIL_BYTES, _PLAIN_STEP):
        within = (levels[:, step:] - levels[:, :-step] < _PLAIN_LEVELS).any(axis=1)
        share = np.where(within, (step + 1) / THUMBNAIL_BYTES, share)
    return share


def _turned(thumbnails: Pixels, orientations: npt.NDArray) -> npt.NDArray[np.float64]:
    result = np.empty(thumbnails.shape)
    for orientation in range(ORIENTATIONS):
        chosen = orientations == orientation
        result[chosen] = oriented(thumbnails[chosen], orientation)
    return result


def _aligned(
    first: npt.NDArray, second: npt.NDArray, whole: tuple[npt.NDArray, npt.NDArray], window: Window
) -> list[tuple[npt.NDArray, npt.NDArray]]:
    """Return a window of the first ``[pairs, 16, 16]`` and the second ``[pairs, 256]``, and the other way.

    ``whole`` are the two standardized, as those that are returned as second are.
    """
    if window == WHOLE:
        return [(first, whole[1])]
    return [(_zoomed(first, window), whole[1]), (_zoomed(second, window), whole[0])]


def _zoomed(thumbnails: npt.NDArray[np.float64], window: Window) -> npt.NDArray[np.float64]:
    """Blow a window of ``[n, 16, 16]`` up to the whole: one product per axis, of whole numbers.

    One thumbnail at a time: BLAS would start threads for products of many, which cost more than so small matrices do.
    """
    return np.asarray(_weights(window.top, window.bottom).T @ (thumbnails @ _weights(window.left, window.right)))


@lru_cache(maxsize=64)
def _weights(start: float, end: float) -> npt.NDArray[np.float64]:
    return np.ascontiguousarray(np.rint(interpolation(start, end, THUMBNAIL_SIDE_PX) * _LEVELS).T)


def _standardized(thumbnails: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return ``[n, 256]`` with mean 0 and standard deviation 1; constant ones become zeros."""
    values = thumbnails.reshape(len(thumbnails), THUMBNAIL_BYTES)
    centred = values - values.sum(axis=1, keepdims=True) / THUMBNAIL_BYTES
    deviation = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / THUMBNAIL_BYTES)
    return np.asarray(centred / np.maximum(deviation, 1e-9))


def _correlation(first: npt.NDArray[np.float64], standardized: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the correlation of ``[pairs, 16, 16]`` values with ``[pairs, 256]`` standardized ones."""
    values = first.reshape(len(first), THUMBNAIL_BYTES)
    mean = values.sum(axis=1) / THUMBNAIL_BYTES
    deviation = np.sqrt(np.maximum(np.einsum("pi,pi->p", values, values) / THUMBNAIL_BYTES - mean**2, 0.0))
    product = np.einsum("pi,pi->p", values, standardized) / THUMBNAIL_BYTES
    return np.round(product / np.maximum(deviation, 1e-9), 4)


def _local_difference(differences: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    grid = differences.reshape(-1, THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)
    return np.round(np.abs(box_sums(grid, _BOX)).max(axis=(1, 2), initial=0.0) / _BOX**2, 4)
