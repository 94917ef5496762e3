"""Exact search for neighbours by cosine distance, block by block: every pair is looked at, few are in memory.

The distance of two images is 1 minus the cosine similarity of their features, [0, 2]. TensorFlow multiplies the blocks,
on the GPU where there is one.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

_ROWS_AT_ONCE = 2048
_COLUMNS_AT_ONCE = 8192  # with the rows 64 MiB of float32 similarities

MOST_PAIRS = 10_000_000
"""Near pairs beyond these are left out: images of one scene by the thousand, with pairs by the million."""

_NO_NEIGHBOUR = -2.0  # below every similarity


@dataclasses.dataclass(frozen=True)
class Images:
    """Images to search among.

    Attributes:
        features: float16 ``[images, features]`` of length 1.
        groups: int64 ``[images]``, a number that an image shares with its copies.
    """

    features: npt.NDArray[np.float16]
    groups: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.groups)

    def at(self, rows: npt.NDArray[np.int64]) -> "Images":
        """Return some of them."""
        return Images(self.features[rows], self.groups[rows])


def mean_distances(images: Images, others: Images, count: int) -> npt.NDArray[np.float64]:
    """Return the mean distance of each image to the nearest of some others that are no copies of it, nor itself.

    Args:
        images: Whose distances are asked for.
        others: Among which to search; the same ones, or others.
        count: How many neighbours; fewer where there are no more.

    Returns:
        float64 ``[images]``, NaN for an image without neighbours.
    """
    result = np.empty(len(images))
    for begin, block in _blocks(images.features, _ROWS_AT_ONCE):
        of_block = images.groups[begin : begin + _ROWS_AT_ONCE]
        nearest = tf.fill([len(of_block), count], _NO_NEIGHBOUR)
        for start, columns in _blocks(others.features, _COLUMNS_AT_ONCE):
            copies = of_block[:, None] == others.groups[start : start + _COLUMNS_AT_ONCE][None, :]
            similarity = tf.where(copies, _NO_NEIGHBOUR, tf.matmul(block, columns, transpose_b=True))
            nearest = tf.math.top_k(tf.concat([nearest, similarity], axis=1), count).values
        found = nearest.numpy().astype(np.float64)
        there = found > _NO_NEIGHBOUR
        total = np.where(there, 1.0 - found, 0.0).sum(axis=1)
        counts = there.sum(axis=1)
        result[begin : begin + len(of_block)] = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    return result


def near_pairs(
    images: Images, reach: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], bool]:
    """Return the pairs of images that lie in each other's reach and are no copies.

    Args:
        images: Among which to search.
        reach: ``[images]``, the distance up to which another image is near; NaN for an image that has no near one.

    Returns:
        Pairs ``[pairs, 2]``, the lower row first; their distances; and whether all of them are there.
    """
    least = (1.0 - np.nan_to_num(reach, nan=-1.0)).astype(np.float32)
    pairs, distances, found = [np.empty((0, 2), np.int64)], [np.empty(0)], 0
    for begin, block in _blocks(images.features, _ROWS_AT_ONCE):
        rows = np.arange(begin, begin + len(block))
        for start, columns in _blocks(images.features, _COLUMNS_AT_ONCE):
            others = np.arange(start, start + len(columns))
            if others[-1] <= rows[0]:
                continue
            similarity = tf.matmul(block, columns, transpose_b=True)
            near = tf.where(similarity >= np.maximum(least[rows][:, None], least[others][None, :])).numpy()
            ends = np.stack([rows[near[:, 0]], others[near[:, 1]]], axis=1)
            new = (ends[:, 0] < ends[:, 1]) & (images.groups[ends[:, 0]] != images.groups[ends[:, 1]])
            pairs.append(ends[new])
            distances.append(1.0 - tf.gather_nd(similarity, near[new]).numpy().astype(np.float64))
            found += int(new.sum())
            if found > MOST_PAIRS:
                return np.concatenate(pairs), np.concatenate(distances), False
    return np.concatenate(pairs), np.concatenate(distances), True


def _blocks(features: npt.NDArray[np.float16], size: int) -> Iterator[tuple[int, tf.Tensor]]:
    """Yield where each block begins, and its features as float32."""
    for begin in range(0, len(features), size):
        yield begin, tf.constant(features[begin : begin + size], tf.float32)
