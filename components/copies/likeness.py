"""Whether two images are copies, once their hashes are near: alike as thumbnails, and the same in detail."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.copies.detail_comparison import same_in_detail
from components.copies.fingerprints import Fingerprints
from components.copies.perceptual_hashes import ORIENTATIONS, WHOLE, Pixels, oriented, oriented_hashes
from components.copies.thumbnail_comparison import alignments

MOST_ASPECT_CHANGE = 1.06
"""Width / height of plain images of one shape: a crop by 5 % on one side only changes it by as much."""

_LEAST_ASPECT = 1e-6
_LEAST_FIT = 0.2  # correlation of copies before they are aligned: the least among 3,700 pairs of crops was 0.27
_PAIRS_AT_ONCE = 256  # bounds memory: each takes 20 KB while it is compared


@dataclass(frozen=True)
class CopyRules:
    """What makes two images copies.

    Attributes:
        maximum_distance: Bits in which the 64-bit hashes of the two, or of one and a crop of the other, may differ.
        minimum_correlation: Of the 16 x 16 thumbnails, at the best of a few alignments, [-1, 1].
        maximum_difference: Of their luma anywhere, see ``detail_comparison.same_in_detail``, in standard deviations.
        crops: Whether to look for cropped copies too, which takes six times as long.
    """

    maximum_distance: int
    minimum_correlation: float
    maximum_difference: float
    crops: bool


@dataclass(frozen=True)
class Likeness:
    """Compares images of a data set.

    Attributes:
        fingerprints: Of all images.
        aspects: float64 ``[images]``, width / height.
        rules: What makes two images copies.
    """

    fingerprints: Fingerprints
    aspects: npt.NDArray[np.float64]
    rules: CopyRules

    def of(
        self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], orientations: npt.NDArray
    ) -> npt.NDArray[np.bool_]:
        """Return which pairs of rows are copies, the first of each pair reoriented."""
        alike = np.zeros(len(first), bool)
        for begin in range(0, len(first), _PAIRS_AT_ONCE):
            part = slice(begin, begin + _PAIRS_AT_ONCE)
            one, other, turns = first[part], second[part], orientations[part]
            one_shape = of_one_shape(self.aspects[one], self.aspects[other], turns)
            alike[part] = are_copies(self.fingerprints, one, other, turns, one_shape, self.rules)
            self.fingerprints.leave_memory()
        return alike

    def of_any(self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which pairs of rows are copies in any orientation."""
        pairs, turns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for begin in range(0, len(first), _PAIRS_AT_ONCE):
            part = slice(begin, begin + _PAIRS_AT_ONCE)
            one, other = (self.fingerprints.thumbnails[rows[part]].astype(np.int32) - 128 for rows in (first, second))
            least = _LEAST_FIT * np.sqrt(_product(one, one) * _product(other, other))
            for orientation in range(ORIENTATIONS):
                fitting = begin + np.flatnonzero(_product(oriented(one, orientation), other) >= least)
                pairs.append(fitting)
                turns.append(np.full(len(fitting), orientation))
        pair = np.concatenate(pairs)
        alike = np.zeros(len(first), bool)
        alike[pair[self.of(first[pair], second[pair], np.concatenate(turns))]] = True
        return alike


def of_one_shape(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], orientations: npt.NDArray
) -> npt.NDArray[np.bool_]:
    """Return of which pairs width / height, ``[pairs]`` each, agrees when the first of each is reoriented."""
    one, other = (np.log(np.maximum(aspects, _LEAST_ASPECT)) for aspects in (first, second))
    turned = np.where((orientations & 4) > 0, -one, one)  # width and height change places
    return np.asarray(np.abs(turned - other) <= np.log(MOST_ASPECT_CHANGE))


def are_copies(
    fingerprints: Fingerprints,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    orientations: npt.NDArray,
    one_shape: npt.NDArray[np.bool_],
    rules: CopyRules,
) -> npt.NDArray[np.bool_]:
    """Return which pairs are copies, the first of each reoriented.

    Args:
        fingerprints: Of all images.
        first: Row of one image of each pair.
        second: And of the other.
        orientations: ``[pairs]``, see ``perceptual_hashes``.
        one_shape: bool ``[pairs]``, from ``of_one_shape``.
        rules: What makes two images copies; their hashes are not looked at.
    """
    thumbnails, details = fingerprints.thumbnails, fingerprints.details
    at = alignments(thumbnails[first], thumbnails[second], orientations, one_shape, rules.minimum_correlation)
    found = np.flatnonzero(~np.isnan(at[:, 0]))
    turned = details[first[found]].turned(orientations[found])
    same = same_in_detail(turned, details[second[found]], at[found], rules.maximum_difference)
    copies = np.zeros(len(at), bool)
    copies[found[same]] = True
    return copies


def _product(first: npt.NDArray[np.int32], second: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    return (first * second).sum(axis=(1, 2)).astype(np.float64)  # of whole numbers: exact in any order


def hash_distances(first: Pixels, second: Pixels) -> npt.NDArray[np.uint8]:
    """Return in how many bits the hashes of pairs of ``[pairs, 16, 16]`` thumbnails differ, the first reoriented.

    Returns:
        uint8 ``[pairs, 8]``, for each orientation.
    """
    return np.bitwise_count(oriented_hashes(first, WHOLE) ^ oriented_hashes(second, WHOLE)[:, :1])
