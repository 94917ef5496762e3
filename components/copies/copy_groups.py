"""Groups of images that are copies of one another: resized, recompressed, brightened, cropped, mirrored or turned.

Hashes propose pairs, thumbnails and details confirm them, and confirmed pairs form groups. Every member of a group is
like its representative: chains of images of which each is a little like the next are cut.

The result does not depend on the order of the images, only on their paths.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.copies.copy_links import CopyLinks, Progress
from components.copies.fingerprints import Fingerprints
from components.copies.likeness import CopyRules, Likeness, hash_distances
from components.copies.link_groups import group_heads
from components.copies.search_process import pair_search
from components.copies.thumbnail_comparison import best_correlation

_ROWS_AT_ONCE = 256  # bounds memory: each takes 20 KB while it is compared


@dataclass(frozen=True)
class CopyGroups:
    """Who is a copy of whom. Each array is ``[images]``, in the order of the images.

    Attributes:
        group: int64, a number for each group from 0 in the order of the representatives' paths; -1 for an image alone.
        representative: int64, row of the group's representative; -1 for an image alone.
        distance: int64, bits in which the hash differs from the representative's, in the orientation where they are
            nearest: the representative's is 0; -1 for an image alone.
        correlation: float64, with the representative's thumbnail; NaN for an image alone.
        left_out_pairs: Pairs of near hashes that were not looked at, in data made of near copies alone.
        left_out_comparisons: Comparisons of hashes that were not made, likewise. Both are 0 for an exact search.
    """

    group: npt.NDArray[np.int64]
    representative: npt.NDArray[np.int64]
    distance: npt.NDArray[np.int64]
    correlation: npt.NDArray[np.float64]
    left_out_pairs: int
    left_out_comparisons: int


def find_copies(
    paths: Sequence[str],
    fingerprints: Fingerprints,
    aspects: npt.NDArray[np.float64],
    rules: CopyRules,
    engine: str,
    progress: Progress = lambda number, searches: None,  # noqa: ARG005
) -> CopyGroups:
    """Group the copies among images.

    Args:
        paths: ``[images]``, unique: they decide wherever something must.
        fingerprints: Of the images.
        aspects: ``[images]``, width / height of each image as its thumbnail shows it. Pages of text or plots on white
            look alike once they are squeezed into a square, so plain images must agree in it too.
        rules: What makes two images copies.
        engine: One of ``pair_search.ENGINES``; ``pair_search.fastest_engine`` chooses.
        progress: Told of each search as it begins.
    """
    rows = np.array(sorted(np.flatnonzero(fingerprints.take_part()).tolist(), key=paths.__getitem__), np.int64)
    likeness = Likeness(fingerprints, aspects, rules)
    thumbnails = fingerprints.thumbnails
    with pair_search(engine) as find_pairs:
        search = CopyLinks(rows, likeness, find_pairs, progress)
        links = search.find()
    heads = group_heads(len(rows), links, lambda first, second: likeness.of_any(rows[first], rows[second]))
    grouped = np.flatnonzero(heads >= 0)
    group, representative, distance = (np.full(len(thumbnails), -1, np.int64) for _ in range(3))
    correlation = np.full(len(thumbnails), np.nan)
    here, there = rows[grouped], rows[heads[grouped]]
    group[here] = np.unique(heads[grouped], return_inverse=True)[1]  # positions are in the order of the paths
    representative[here], distance[here], correlation[here] = there, 0, 1.0
    others = here[here != there]
    for begin in range(0, len(others), _ROWS_AT_ONCE):
        part = others[begin : begin + _ROWS_AT_ONCE]
        first, second = thumbnails[representative[part]], thumbnails[part]
        distance[part] = hash_distances(first, second).min(axis=1)
        correlation[part] = best_correlation(first, second)
    return CopyGroups(group, representative, distance, correlation, search.left_out_pairs, search.left_out_comparisons)
