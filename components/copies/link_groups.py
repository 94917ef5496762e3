"""Groups of linked items, such that each member is like one of them: links alone would make chains of unlike ones.

Connected items are found by union-find, all of them at once: each root hooks onto the lowest root that it is linked to,
then paths are halved until they are flat (Y. Shiloach, U. Vishkin, "An O(log n) parallel connectivity algorithm",
Journal of Algorithms 3, 1982).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_Ints = npt.NDArray[np.int64]

Alike = Callable[[_Ints, _Ints], npt.NDArray[np.bool_]]


def group_heads(items: int, links: _Ints, alike: Alike) -> _Ints:
    """Return the head of each item's group.

    The head of connected items is the one that most others are linked to, of those the lowest. With it go the items
    that are linked to it, and those one link further that are like it as well. What is left is taken as if it were
    alone, until nothing is linked any more.

    Args:
        items: How many there are.
        links: int64 ``[links, 2]``, each pair of items once.
        alike: Tells of pairs of a head and an item whether they are alike.

    Returns:
        int64 ``[items]``: a head's is itself; -1 for an item in no group.
    """
    heads = np.full(items, -1, np.int64)
    while len(links):
        members, ends = np.unique(links, return_inverse=True)
        ends = ends.reshape(-1, 2)
        ends = np.concatenate([ends, ends[:, ::-1]])
        head = _heads(ends, len(members))
        near = head == np.arange(len(members))  # the head itself, and what is linked to it
        near[ends[near[ends[:, 0]], 1]] = True
        further = np.setdiff1d(ends[near[ends[:, 0]], 1], np.flatnonzero(near))
        near[further[alike(members[head[further]], members[further])]] = True
        heads[members[near]] = members[head[near]]
        links = links[(heads[links] < 0).all(axis=1)]
    return heads


def _heads(ends: _Ints, members: int) -> _Ints:
    """Return the head of those each member is connected to; each link is there in both directions."""
    root = _roots(ends, members)
    degree = np.bincount(ends[:, 0], minlength=members)
    order = np.lexsort((-degree, root))  # stable: of one degree the lowest first
    first = np.flatnonzero(np.diff(root[order], prepend=-1))
    head = np.empty(members, np.int64)
    head[root[order[first]]] = order[first]
    return head[root]


def _roots(ends: _Ints, members: int) -> _Ints:
    """Return the lowest member that each is connected to."""
    root = np.arange(members)
    while True:
        ends = root[ends]
        ends = ends[ends[:, 0] != ends[:, 1]]
        if not len(ends):
            return root
        np.minimum.at(root, ends.max(axis=1), ends.min(axis=1))
        while not np.array_equal(root, root[root]):
            root = root[root]
