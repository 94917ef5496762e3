"""Images that look like no other of their class: far from their nearest neighbours in it.

The score is the mean distance to the nearest images of the class (Angiulli and Pizzuti, "Fast Outlier Detection in High
Dimensional Spaces", 2002) in features of length 1 (Sun et al., "Out-of-Distribution Detection with Deep Nearest
Neighbors", 2022). The limit is the median of the class plus so many robust standard deviations, each 1.4826 times the
median absolute deviation (Leys et al., "Detecting Outliers: Do Not Use Standard Deviation around the Mean, Use Absolute
Deviation around the Median", 2013).
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.audit_embeddings.neighbours import Images, mean_distances

NEIGHBOURS = 5
LEAST_CLASS_IMAGES = 10
"""A class with fewer images has no outliers: nobody can say what is usual in it."""

_ROBUST_DEVIATION = 1.4826  # of a normal distribution, standard deviation over median absolute deviation


def class_distances(images: Images, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return how far each image is from its nearest five of its class that are no copies of it.

    Returns:
        float64 ``[images]``, NaN for an image alone in its class.
    """
    return distances_to(images, labels, labels)


def distances_to(
    images: Images, labels: npt.NDArray[np.int64], targets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return how far each image is from the nearest five of a class that are no copies of it.

    Args:
        images: All of them.
        labels: ``[images]``, the class of each.
        targets: ``[images]``, the class that each is compared with; -1 for none.

    Returns:
        float64 ``[images]``, NaN without a class, or one of no other image.
    """
    distances = np.full(len(labels), np.nan)
    for target in np.unique(targets[targets >= 0]):
        asking = np.flatnonzero(targets == target)
        distances[asking] = mean_distances(images.at(asking), images.at(np.flatnonzero(labels == target)), NEIGHBOURS)
    return distances


def usual_distances(distances: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the median distance of each image's class; of all images where the class is too small to have one.

    Args:
        distances: What ``class_distances`` returned.
        labels: ``[images]``.

    Returns:
        float64 ``[images]``, NaN when no image has a distance.
    """
    known = pd.Series(distances)
    of_classes = known.groupby(labels)
    large = of_classes.transform("count") >= LEAST_CLASS_IMAGES
    return of_classes.transform("median").where(large, known.median()).to_numpy()


def class_limits(distances: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], deviation: float) -> pd.Series:
    """Return by label the distance beyond which an image is unlike the class, NaN where too few images tell.

    Args:
        distances: What ``class_distances`` returned.
        labels: ``[images]``.
        deviation: Robust standard deviations above the median of the class.
    """
    known = pd.Series(distances)
    of_classes = known.groupby(labels)
    spread = (known - of_classes.transform("median")).abs().groupby(labels).median()
    limits = of_classes.median() + deviation * _ROBUST_DEVIATION * spread
    return limits.where((of_classes.count() >= LEAST_CLASS_IMAGES) & (spread > 0))
