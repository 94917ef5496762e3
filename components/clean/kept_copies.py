"""Which images are copies of each other, and which copy stays: the findings of every check that looks for copies."""

from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd

from components.clean.cleaning_policy import CONFLICTS, COPIES

_EXACT = ("exact_duplicate", "conflicting_label")
_COPIES_OF_CONFLICTS = ("exact_duplicate", "near_duplicate")
_NO_IMAGE = -1


def copy_links(catalog: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Return what ties images together: one row per image, check and key; rows with the same key are copies.

    A key is the finding's ``group``, the pair with its ``related_path``, or the digest of the bytes: with it a group
    is whole even where a finding names only the superfluous copies.

    Args:
        catalog: ``CATALOG_COLUMNS``.
        findings: ``FINDING_COLUMNS`` and ``position``, the row of the image in the catalog; no folders.

    Returns:
        ``position``, ``check``, ``key`` (int64), ``name`` (the finding's ``group``, else missing) and ``found``:
        whether a finding is about the image itself.
    """
    found = findings.loc[findings["check"].isin([*COPIES, *CONFLICTS]), ["position", "check", "group", "related_path"]]
    own = found[["position", "check"]].assign(key=found["group"], name=found["group"], found=True)
    # A finding without a group counts all the same, alone under a key of its own.
    own["key"] = own["key"].fillna("\0alone " + own["position"].astype("str"))
    links = pd.concat([own, *_pairs(catalog, found), _same_bytes(catalog["md5"])], ignore_index=True)
    return links.assign(key=pd.factorize(links["key"], sort=True)[0].astype(np.int64), name=links["name"].astype("str"))


def group_codes(links: pd.DataFrame, images: int) -> np.ndarray:
    """Return the group of each image as the position of its first member; an image without copies is its own group.

    Images are in one group when they share a key, directly or through others.

    Args:
        links: Rows of ``copy_links``.
        images: How many images there are.
    """
    keys, key_codes = np.unique(links["key"].to_numpy(), return_inverse=True)
    labels = np.arange(images + len(keys))
    one, other = links["position"].to_numpy(dtype=np.int64), images + key_codes
    while True:
        lowest = np.minimum(labels[one], labels[other])
        before = labels.copy()
        # Hook what each end hangs on to the lower of both, then let everything hang on its root directly.
        np.minimum.at(labels, before[one], lowest)
        np.minimum.at(labels, before[other], lowest)
        while not np.array_equal(labels, shortened := labels[labels]):
            labels = shortened
        if np.array_equal(labels, before):
            return labels[:images]


def duplicate_groups(links: pd.DataFrame, digests: pd.Series) -> pd.Series:
    """Return the name of each image's group of copies, missing without copies, whatever check found them.

    Args:
        links: What ``copy_links`` returned.
        digests: Of each image's bytes; the first member's names a group that no finding names.
    """
    codes = group_codes(links, len(digests))
    linked = links["position"].to_numpy()
    members = np.zeros(len(digests), dtype=bool)
    members[linked] = True
    named = links["name"].groupby(codes[linked]).min().dropna()
    names = pd.Series(codes[members]).map(named).astype("str")
    # No two groups get one name: images that share a name or a digest are of one group.
    names = names.fillna(pd.Series(digests.to_numpy()[codes[members]], dtype="str"))
    groups = pd.Series(pd.NA, index=digests.index, dtype="str")
    groups[members] = names.to_numpy()
    return groups


def quarantined(links: pd.DataFrame, check: str, flagged: np.ndarray) -> np.ndarray:
    """Return which images a conflict of labels concerns: every copy of each flagged image.

    Args:
        links: What ``copy_links`` returned.
        check: One of ``CONFLICTS``: of the same bytes only the same bytes are copies, of near copies all are.
        flagged: Which images the check found.
    """
    concerned = links[links["check"].isin(_EXACT)] if check == "conflicting_label" else links
    codes = group_codes(concerned, len(flagged))
    return np.isin(codes, codes[flagged])


def dropping_links(links: pd.DataFrame, dropping: Collection[str]) -> pd.DataFrame:
    """Return the links by which copies are dropped, ``check`` being one of ``COPIES`` that the policy drops.

    What is found under several labels is a copy all the same: it ties images together, but starts no group.
    """
    check = links["check"].replace(dict(zip(CONFLICTS, _COPIES_OF_CONFLICTS, strict=True)))
    links = links.assign(check=check, found=links["found"] & links["check"].isin(COPIES))
    return links[check.isin(dropping)]


def keepers(images: pd.DataFrame, groups: pd.Series, doomed: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return, for each image, the position of the copy that stays of its group.

    An allowed image stays first, then one that nothing speaks against, the highest resolution, the larger file, the
    shorter path, and the first in alphabetical order. An image that is dropped for another reason never stays.

    Args:
        images: ``path``, ``size_bytes``, ``pixels`` and ``lesser``: whether something speaks against the image.
        groups: A number per image; negative without a group.
        doomed: Which images something else drops.
        allowed: Which images the allow-list names.

    Returns:
        Positions, -1 without a group and where none can stay.
    """
    candidates = np.flatnonzero((groups >= 0) & ~doomed)
    chosen = images.iloc[candidates]
    table = pd.DataFrame(
        {
            "position": candidates,
            "group": groups.iloc[candidates].to_numpy(),
            "last": ~allowed[candidates],
            "lesser": chosen["lesser"].to_numpy(),
            "fewer": -chosen["pixels"].to_numpy(),
            "smaller": -chosen["size_bytes"].to_numpy(),
            "length": chosen["path"].str.len().to_numpy(),
            "path": chosen["path"].to_numpy(),
        }
    ).sort_values(["group", "last", "lesser", "fewer", "smaller", "length", "path"])
    of_group = table.drop_duplicates("group").set_index("group")["position"]
    return groups.map(of_group).fillna(_NO_IMAGE).to_numpy(dtype=np.int64)


def _pairs(catalog: pd.DataFrame, found: pd.DataFrame) -> Iterable[pd.DataFrame]:
    """Return both ends of each finding that names the other image of a pair."""
    found = found[found["related_path"].notna()]
    related = pd.Index(catalog["path"]).get_indexer(pd.Index(found["related_path"]))
    there = related >= 0
    one, other = found["position"].to_numpy()[there], related[there]
    key = [f"\0pair {a} {b}" for a, b in zip(np.minimum(one, other), np.maximum(one, other), strict=True)]
    checks = found["check"].to_numpy()[there]
    for position, is_found in ((one, True), (other, False)):
        yield pd.DataFrame({"position": position, "check": checks, "key": key, "name": None, "found": is_found})


def _same_bytes(digests: pd.Series) -> pd.DataFrame:
    repeated = np.flatnonzero(digests.duplicated(keep=False))
    keys = "\0bytes " + digests.iloc[repeated]
    return pd.DataFrame(
        {"position": repeated, "check": "exact_duplicate", "key": keys.to_numpy(), "name": None, "found": False}
    )
