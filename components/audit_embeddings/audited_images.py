"""What the audit already knows about images: which can be looked at, and which are copies of one another."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from components.formats.check_names import SHOWS_NOTHING


def taking_part(measurements: pd.DataFrame, findings: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which images are looked at: those that can be read and show something. One cause gives one finding.

    Args:
        measurements: The audit's, one row per image.
        findings: The audit's.
    """
    showing_nothing = findings.loc[findings["check"].isin(SHOWS_NOTHING), "path"]
    return (measurements["error"].isna() & ~measurements["path"].isin(showing_nothing)).to_numpy()


def copy_groups(paths: pd.Series, findings: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return a number for each image that it shares with its copies, and with nothing else.

    Args:
        paths: ``[images]``, unique.
        findings: The audit's; those with a ``group`` are about copies, whatever check made them.
    """
    grouped = findings[findings["group"].notna()]
    rows = pd.Index(paths).get_indexer(pd.Index(grouped["path"]))
    groups = pd.factorize(grouped["group"])[0]
    known = rows >= 0
    return joined(np.arange(len(paths)), np.stack([rows[known], len(paths) + groups[known]], axis=1))


def joined(groups: npt.NDArray[np.int64], ties: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the groups of images after more ties among them.

    Args:
        groups: ``[images]``, a number for each image that it shares with those of its group.
        ties: ``[ties, 2]``, rows of images; numbers from ``len(groups)`` on stand for anything else that ties them.
    """
    images = len(groups)
    numbers = pd.factorize(groups)[0]
    nodes = int(max(ties.max(initial=0) + 1, images))
    ends = np.concatenate([ties, np.stack([np.arange(images), nodes + numbers], axis=1)])
    size = nodes + int(numbers.max(initial=-1)) + 1
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(size, size))
    return connected_components(graph, directed=False)[1][:images].astype(np.int64)
