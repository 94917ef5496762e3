"""Images of one scene: cropped hard, from another side or a moment later, where pixels no longer agree.

How far apart such images lie depends on the network and on the data: two photographs of one kind of fish are as near as
two crops of one mammal's. So near is what is much nearer than neighbours in the class usually are.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from components.audit_embeddings.neighbours import Images, near_pairs

_ALONE = -1


@dataclasses.dataclass(frozen=True)
class SemanticGroups:
    """Who shows the same as whom. Each array is ``[images]``.

    Attributes:
        head: int64, row of the image that the others of the group are near to; -1 for an image in no group.
        related: int64, that row, and for the head itself the image nearest to it; -1 likewise.
        similarity: float64, cosine similarity with ``related``; NaN likewise.
        least: float64, the similarity from which on the two are near; NaN likewise.
        complete: Whether all near pairs were looked at.
    """

    head: npt.NDArray[np.int64]
    related: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64]
    least: npt.NDArray[np.float64]
    complete: bool


def find_semantic_duplicates(among: Images, usual: npt.NDArray[np.float64], share: float) -> SemanticGroups:
    """Group images that show the same and are not known as copies.

    Every member of a group is near its head: chains of images of which each is near the next are cut.

    Args:
        among: The images.
        usual: ``[images]``, the usual distance of neighbours in its class, NaN where none is known.
        share: Two images are near when their distance is at most this share of the usual one, of the smaller of both.
    """
    pairs, distances, complete = near_pairs(among, share * usual)
    images = len(among)
    head = _heads(pairs, images)
    related, similarity = np.full(images, _ALONE, np.int64), np.full(images, np.nan)
    for one, other in ((0, 1), (1, 0)):
        ends, partners = pairs[:, one], pairs[:, other]
        to_head = head[ends] == partners
        related[ends[to_head]], similarity[ends[to_head]] = partners[to_head], 1.0 - distances[to_head]
    members = np.flatnonzero(related >= 0)
    nearest = members[np.argsort(similarity[members], kind="stable")]  # the nearest last, which wins
    related[head[nearest]], similarity[head[nearest]] = nearest, similarity[nearest]
    found = related >= 0
    least = np.full(images, np.nan)
    least[found] = 1.0 - share * np.minimum(usual[found], usual[related[found]])
    return SemanticGroups(head, related, similarity, least, complete)


def _heads(pairs: npt.NDArray[np.int64], images: int) -> npt.NDArray[np.int64]:
    """Return the head of each image's group: in turn the image with most near ones takes those that are still free."""
    heads = np.full(images, _ALONE, np.int64)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    degrees = np.bincount(both[:, 0], minlength=images)
    starts = np.concatenate([[0], np.cumsum(degrees)])
    for image in np.lexsort((np.arange(images), -degrees))[: np.count_nonzero(degrees)].tolist():
        near = both[starts[image] : starts[image + 1], 1]
        free = near[heads[near] == _ALONE]
        if heads[image] == _ALONE and len(free):
            heads[image] = image
            heads[free] = image
    return heads
