"""Which images are near duplicates of which, as columns beside the measurements."""

import numpy as np
import pandas as pd

from components.audit.checks import Thresholds
from components.copies.copy_groups import find_copies
from components.copies.fingerprints import Fingerprints
from components.copies.likeness import CopyRules
from components.copies.pair_search import fastest_engine


def _print_search(number: int, searches: int) -> None:
    what = "copies" if number == 1 else "cropped copies"
    print(f"audit: search {number} of {searches}, for {what}", flush=True)


def near_copies(
    catalog: pd.DataFrame, measurements: pd.DataFrame, fingerprints: Fingerprints, thresholds: Thresholds
) -> pd.DataFrame:
    """Search all images for near duplicates.

    Args:
        catalog: Paths and MD5s.
        measurements: Width and height of each image as stored, as the fingerprints show it.
        fingerprints: Of the images.
        thresholds: What makes two images near duplicates.

    Returns:
        A row per image: ``near_group``, missing for an image alone; ``near_path``, the image that the others of the
        group are like, or for that one the image most like it; ``near_correlation`` of the two.
    """
    rules = CopyRules(
        maximum_distance=thresholds.near_duplicate_distance,
        minimum_correlation=thresholds.near_duplicate_correlation,
        maximum_difference=thresholds.near_duplicate_difference,
        crops=True,
    )
    aspects = (measurements["width_px"] / measurements["height_px"].clip(lower=1)).to_numpy(np.float64)
    paths, engine = catalog["path"].tolist(), fastest_engine(len(catalog))
    groups = find_copies(paths, fingerprints, aspects, rules, engine, _print_search)
    if groups.left_out_pairs or groups.left_out_comparisons:
        print(
            f"audit: the images are so alike that {groups.left_out_pairs:,} pairs and {groups.left_out_comparisons:,} "
            "comparisons were left out: some near duplicates may be missed",
            flush=True,
        )
    members = np.flatnonzero(groups.group >= 0)
    heads = groups.representative[members]
    others = members[heads != members]
    # The one that is most like a representative, of those the first in the catalog, is the representative's other.
    order = others[np.lexsort((others, -groups.correlation[others]))][::-1]
    nearest = np.full(len(catalog), -1)
    nearest[groups.representative[order]] = order
    related = np.where(heads == members, nearest[members], heads)
    correlation = np.where(heads == members, groups.correlation[related], groups.correlation[members])
    index = catalog.index[members]
    columns = {
        "near_group": ("near-" + catalog["md5"].iloc[heads].str[:16]).set_axis(index),
        "near_path": catalog["path"].iloc[related].set_axis(index),
        "near_correlation": pd.Series(correlation, index=index),
    }
    types = {"near_group": "str", "near_path": "str", "near_correlation": "float64"}
    return pd.DataFrame(columns).reindex(catalog.index).astype(types)
