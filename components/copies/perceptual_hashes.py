"""An image as 256 bytes, and the DCT hashes that follow from them.

The fingerprint of an image is a thumbnail of 16 x 16 luma values with its brightness and contrast taken out. All else
is computed from it when it is needed: hashes of the whole image or of a window of it, in each of the 8 orientations of
a square, and correlations. So a data set costs 256 bytes an image.

The hash is the DCT hash of C. Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010), with
four changes. The bits are the signs of the 64 lowest coefficients u + v <= 10 without (0, 0) and (5, 5): closed under
swapping the axes, as the 8 x 8 block is, but with no constant bit. A sine window (as in the modified DCT) lets the
image's edge, where a crop changes most, count least. A coefficient that is small beside the others has no sign, so that
a mirror-symmetric image does not have random bits. And one transform gives the hashes of all 8 orientations: mirroring
negates the coefficients of odd frequency, transposing swaps the axes.

All sums are of whole numbers, and exact: the same thumbnail has the same hashes in any batch and on any machine.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]

SQUARE_SIDE_PX = 64
THUMBNAIL_SIDE_PX = 16
THUMBNAIL_BYTES = THUMBNAIL_SIDE_PX**2
ORIENTATIONS = 8
"""Orientation o of an image: swap its axes if o & 4, then mirror left to right if o & 1, top to bottom if o & 2."""

MINIMUM_CONTRAST = 2.0
"""Standard deviation, in gray levels, of the 16 x 16 means below which an image is flat and has no fingerprint."""

MINIMUM_SIGNS = 24
"""Of 64 coefficients, how many must have a sign for a hash: gradients have 22 at most, photographs 29 and more."""

_CONTRAST = 42.0  # a thumbnail's standard deviation: three of them fit on either side of the mean
_HIGHEST_FREQUENCY = 10
_BASIS_LEVELS = 511  # 9 bits, so that 4096 times the square of a sum of 256 products fits in 64 bits
_SILENT = 64**2  # a coefficient below 1/8 of the root mean square of all 64 has no sign

_FREQUENCIES = np.array(
    [
        (u, v)
        for u in range(_HIGHEST_FREQUENCY + 1)
        for v in range(_HIGHEST_FREQUENCY + 1 - u)
        if (u, v) not in {(0, 0), (5, 5)}
    ]
)
_VERTICAL_ODD, _HORIZONTAL_ODD = (_FREQUENCIES % 2 == 1).T
_SWAPPED = np.array([np.flatnonzero((np.array([v, u]) == _FREQUENCIES).all(axis=1))[0] for u, v in _FREQUENCIES])


@dataclass(frozen=True)
class Window:
    """A part of an image, in fractions of its height and width."""

    top: float
    bottom: float
    left: float
    right: float


WHOLE = Window(0.0, 1.0, 0.0, 1.0)


def luma_square(luma: Pixels) -> Pixels:
    """Reduce an image of any size to the square that fingerprints start from, without its proportions.

    A box filter first, so that no detail is folded into low frequencies; then linear interpolation, which at any ratio
    is as fast as OpenCV's area interpolation only is at whole ones.

    Args:
        luma: uint8 ``[height, width]``, of an RGB image Rec. 601: ``cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)``.

    Returns:
        uint8 ``[64, 64]``.
    """
    height, width = luma.shape
    # Odd boxes alone have a centre: an even one would move the image, and a mirrored copy the other way.
    box = (max(1, width // SQUARE_SIDE_PX) | 1, max(1, height // SQUARE_SIDE_PX) | 1)
    smooth = cv2.blur(luma, box) if max(height, width) >= 2 * SQUARE_SIDE_PX else luma
    return cv2.resize(smooth, (SQUARE_SIDE_PX, SQUARE_SIDE_PX), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def thumbnails_of(squares: Pixels) -> Pixels:
    """Return the fingerprints of a chunk of images.

    Args:
        squares: uint8 ``[n, 64, 64]`` from ``luma_square``.

    Returns:
        uint8 ``[n, 16, 16]`` with mean 128 and standard deviation 42, clipped to [1, 255]; all zero for a flat image,
        which has no fingerprint: any two of them would be copies.
    """
    count, step = len(squares), SQUARE_SIDE_PX // THUMBNAIL_SIDE_PX
    sums = block_sums(squares, THUMBNAIL_SIDE_PX).reshape(count, THUMBNAIL_BYTES).astype(np.int64)
    means = sums.sum(axis=1) / THUMBNAIL_BYTES
    variances = (sums**2).sum(axis=1) / THUMBNAIL_BYTES - means**2
    deviations = np.sqrt(np.maximum(variances, 0.0))
    flat = deviations < MINIMUM_CONTRAST * step**2
    scale = _CONTRAST / np.where(flat, 1.0, deviations)
    levels = np.clip(np.rint(128.0 + (sums - means[:, None]) * scale[:, None]), 1, 255)
    levels[flat] = 0
    return levels.astype(np.uint8).reshape(count, THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)


def block_sums(squares: Pixels, side: int) -> npt.NDArray[np.uint16]:
    """Return the sums of the ``side`` x ``side`` blocks that squares fall into, uint16 ``[n, side, side]``.

    Args:
        squares: uint8 ``[n, 64, 64]``.
        side: 8 or more, or the sums do not fit.
    """
    step = SQUARE_SIDE_PX // side
    rows = squares.reshape(-1, side, step, SQUARE_SIDE_PX).astype(np.uint16)
    of_rows = sum((rows[:, :, place] for place in range(1, step)), rows[:, :, 0])
    return sum((of_rows[..., place::step] for place in range(1, step)), of_rows[..., 0::step])


def has_fingerprint(thumbnails: Pixels) -> npt.NDArray[np.bool_]:
    """Return which of ``[n, 16, 16]`` thumbnails are fingerprints: not those of flat or unreadable images, all zero."""
    return np.asarray(thumbnails.reshape(len(thumbnails), THUMBNAIL_BYTES).any(axis=1))


def oriented(images: npt.NDArray, orientation: int) -> npt.NDArray:
    """Return images ``[..., side, side]`` in one of the 8 orientations."""
    if orientation & 4:
        images = images.swapaxes(-1, -2)
    if orientation & 1:
        images = images[..., :, ::-1]
    return images[..., ::-1, :] if orientation & 2 else images


def inverse(orientation: int) -> int:
    """Return the orientation that undoes one: a quarter turn's is the opposite turn, any other's is itself."""
    return {5: 6, 6: 5}.get(orientation, orientation)


def oriented_hashes(thumbnails: Pixels, window: Window) -> Hashes:
    """Return the hashes of a window of each image, as they would be of the image in each orientation.

    Args:
        thumbnails: uint8 ``[n, 16, 16]`` from ``thumbnails_of``.
        window: The part of the image to hash, ``WHOLE`` for all of it.

    Returns:
        uint64 ``[n, 8]``; zero, which no other image has, for one without a fingerprint or with too few signs.
    """
    centred = thumbnails.reshape(len(thumbnails), THUMBNAIL_BYTES).astype(np.float32) - 128
    centred[~has_fingerprint(thumbnails)] = 0.0
    coefficients = (centred @ _transform(window)).astype(np.int64)  # whole numbers below 2**24: exact, in any order
    loud = _SILENT * coefficients**2 > (coefficients**2).sum(axis=1, keepdims=True)
    loud[loud.sum(axis=1) < MINIMUM_SIGNS] = False
    positive, negative = loud & (coefficients > 0), loud & (coefficients < 0)
    hashes = np.empty((len(thumbnails), ORIENTATIONS), np.uint64)
    for swapped, order in ((0, slice(None)), (4, _SWAPPED)):
        ones, minus_ones = _packed(positive[:, order]), _packed(negative[:, order])
        for mirrors, negated in enumerate(_NEGATED):
            hashes[:, swapped | mirrors] = (ones & ~negated) | (minus_ones & negated)
    return hashes


def _packed(bits: npt.NDArray[np.bool_]) -> Hashes:
    """Return rows of 64 bits as numbers."""
    return np.ascontiguousarray(np.packbits(bits, axis=1, bitorder="little")).view("<u8")[:, 0].astype(np.uint64)


# Which coefficients change their sign: not mirrored, left to right, top to bottom, both.
_NEGATED = _packed(np.stack([np.zeros(64, bool), _HORIZONTAL_ODD, _VERTICAL_ODD, _HORIZONTAL_ODD ^ _VERTICAL_ODD]))


@lru_cache(maxsize=32)
def _transform(window: Window) -> npt.NDArray[np.float32]:
    """Return the windowed DCT of a part of a thumbnail as a matrix ``[256, 64]`` of whole numbers."""
    rows = _basis(window.top, window.bottom)[_FREQUENCIES[:, 0]]
    columns = _basis(window.left, window.right)[_FREQUENCIES[:, 1]]
    # DCT-II scales frequency 0 by 1 / sqrt(2) (Ahmed, Natarajan and Rao, 1974).
    scale = np.where(_FREQUENCIES == 0, np.sqrt(0.5), 1.0).prod(axis=1)
    matrix = np.einsum("ky,kx->kyx", rows, columns) * scale[:, None, None]
    whole = np.rint(matrix * (_BASIS_LEVELS / np.abs(matrix).max()))
    return np.ascontiguousarray(whole.reshape(len(_FREQUENCIES), THUMBNAIL_BYTES).T.astype(np.float32))


def _basis(start: float, end: float) -> npt.NDArray[np.float64]:
    """Return the DCT-II basis over a part of an axis, sine-windowed: float64 ``[11, 16]``."""
    samples = 4 * THUMBNAIL_SIDE_PX
    position = (np.arange(samples) + 0.5) / samples
    wave = np.cos(np.pi * np.arange(_HIGHEST_FREQUENCY + 1)[:, None] * position) * np.sin(np.pi * position)
    basis = wave @ interpolation(start, end, samples)
    if np.isclose(start + end, 1.0):  # exactly symmetric or antisymmetric, whatever the last digits of the cosines
        parity = (-1.0) ** np.arange(len(basis))[:, None]
        basis = (basis + parity * basis[:, ::-1]) / 2
    return basis


def interpolation(start: float, end: float, samples: int) -> npt.NDArray[np.float64]:
    """Return the matrix ``[samples, 16]`` that samples a part of an axis of 16 pixels linearly, at its centres."""
    position = (start + (end - start) * (np.arange(samples) + 0.5) / samples) * THUMBNAIL_SIDE_PX - 0.5
    position = np.clip(position, 0, THUMBNAIL_SIDE_PX - 1)
    lower = np.minimum(position.astype(np.int64), THUMBNAIL_SIDE_PX - 2)
    matrix = np.zeros((samples, THUMBNAIL_SIDE_PX))
    matrix[np.arange(samples), lower] = 1 - (position - lower)
    matrix[np.arange(samples), lower + 1] = position - lower
    return matrix
