"""Decide which images are kept: a pure function of the catalog, the findings and the policy.

* An image is dropped when the deny-list names it, or when a check that the policy drops found something on it.
* Of images with the same bytes and label one is kept: a copy on the allow-list first, then the shortest path, then
  the first in alphabetical order. A copy that is dropped for another reason is not chosen, so a good copy survives.
* Of images with the same bytes under different labels all are dropped when ``conflicting_label`` drops, because
  nobody knows which label is right. Otherwise one stays per label: dropping copies never decides about a label.
* The allow-list overrules every drop but ``unreadable``.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from components.clean.cleaning_policy import ALLOW_LIST, DENY_LIST, UNREADABLE, CleaningPolicy, named
from components.failures import UserError
from components.formats.decisions import DECISION_COLUMNS

DUPLICATE = "exact_duplicate"
CONFLICT = "conflicting_label"


def decide(catalog: pd.DataFrame, findings: pd.DataFrame, policy: CleaningPolicy) -> pd.DataFrame:
    """Return the catalog with ``DECISION_COLUMNS``: the same rows in the same order.

    Args:
        catalog: One row per image, ``CATALOG_COLUMNS``, as ``read_catalog`` returns it.
        findings: ``FINDING_COLUMNS``; a finding about a class folder decides about no image.
        policy: What to do about each check.

    Raises:
        UserError: When a list names an image that is not there or cannot be decoded, when a check to drop by found
            a whole folder, or when a class would be left without images.
    """
    findings = findings.assign(position=pd.Index(catalog["path"]).get_indexer(pd.Index(findings["path"])))
    _refuse_folder_drops(catalog, findings[findings["position"] < 0], policy)
    findings = findings[findings["position"] >= 0]
    allowed = _listed(catalog, policy.allow_list, ALLOW_LIST)
    denied = _listed(catalog, policy.deny_list, DENY_LIST)
    _refuse_allowed_unreadable(catalog, findings, allowed)

    groups = _duplicate_groups(catalog, findings)
    causes = [*policy.dropping_checks(), DENY_LIST]
    against = pd.DataFrame({cause: _flagged(findings, cause, len(catalog)) for cause in causes if cause != DENY_LIST})
    against[DENY_LIST] = denied
    if CONFLICT in against:
        against[CONFLICT] |= _whole_groups(against[CONFLICT], groups)

    twin = pd.Series(pd.NA, index=catalog.index, dtype="str")
    if DUPLICATE in against:
        doomed = against.drop(columns=DUPLICATE).any(axis="columns") & ~allowed
        copies = (groups + "\0" + catalog["label"]).where(groups.notna())
        keeper = _keepers(catalog["path"], copies.where(_whole_groups(against[DUPLICATE], copies)), doomed, allowed)
        against[DUPLICATE] = keeper.notna() & (keeper != catalog["path"])
        twin = keeper.where(against[DUPLICATE] & ~allowed)

    dropped = against.any(axis="columns") & ~allowed
    reasons = _joined_names(against).where(~(allowed & against.any(axis="columns")), ALLOW_LIST)
    decisions = catalog.assign(
        keep=~dropped,
        reasons=reasons,
        kept_twin=twin,
        duplicate_group=groups,
    ).astype(dict(DECISION_COLUMNS))
    _refuse_lost_classes(decisions)
    return decisions


def images_per_reason(decisions: pd.DataFrame) -> dict[str, int]:
    """Return how many dropped images carry each reason, sorted by reason; an image can count more than once."""
    reasons = decisions.loc[~decisions["keep"], "reasons"].value_counts()
    counts: dict[str, int] = {}
    for joined, images in reasons.items():
        for reason in str(joined).split(","):
            counts[reason] = counts.get(reason, 0) + int(images)
    return dict(sorted(counts.items()))


def _flagged(findings: pd.DataFrame, check: str, images: int) -> np.ndarray:
    flags = np.zeros(images, dtype=bool)
    flags[findings.loc[findings["check"] == check, "position"].to_numpy()] = True
    return flags


def _listed(catalog: pd.DataFrame, paths: frozenset[str], name: str) -> pd.Series:
    listed = catalog["path"].isin(paths)
    if int(listed.sum()) < len(paths):
        missing = paths - set(catalog.loc[listed, "path"])
        raise UserError(
            f"{name} names {named(missing)}, not in the catalog: write paths as the audit report shows them"
        )
    return listed


def _refuse_allowed_unreadable(catalog: pd.DataFrame, findings: pd.DataFrame, allowed: pd.Series) -> None:
    unreadable = allowed & _flagged(findings, UNREADABLE, len(catalog))
    if unreadable.any():
        paths = named(catalog.loc[unreadable, "path"])
        raise UserError(f"allow_list names {paths}, which cannot be decoded: remove it from the list or mend the file")


def _refuse_folder_drops(catalog: pd.DataFrame, findings: pd.DataFrame, policy: CleaningPolicy) -> None:
    """Refuse to drop by a finding about a folder; findings about files that were not ingested are no concern."""
    findings = findings[findings["check"].isin(policy.dropping_checks())]
    if findings.empty:
        return
    folders = set(catalog["label"].unique()) | set(catalog["path"].str.rpartition("/")[0].unique())
    findings = findings[findings["path"].isin(folders)]
    if not findings.empty:
        check, folder = findings.iloc[0]["check"], findings.iloc[0]["path"]
        raise UserError(
            f"the policy drops by {check!r}, which was found for the folder {folder!r} and not for single images: set "
            "it to warn or keep, and rename or remove the folder in the source"
        )


def _duplicate_groups(catalog: pd.DataFrame, findings: pd.DataFrame) -> pd.Series:
    """Return the group of copies of each image, missing for an image without copies.

    The digest completes what the findings say, so that a group is whole even where a finding names only the
    superfluous copies.
    """
    rows = findings.loc[findings["check"].isin([DUPLICATE, CONFLICT]), ["position", "group"]]
    copies = rows.sort_values(["position", "group"]).drop_duplicates("position").set_index("position")["group"]
    found = catalog["md5"].isin(catalog["md5"].iloc[copies.index])
    groups = pd.Series(pd.NA, index=catalog.index, dtype="str")
    groups.iloc[copies.index] = copies.to_numpy()
    by_digest = pd.DataFrame({"md5": catalog["md5"], "group": groups})[found].dropna().drop_duplicates("md5")
    completed = catalog["md5"].map(by_digest.set_index("md5")["group"]).fillna(catalog["md5"]).where(found)
    return groups.fillna(completed).astype("str")


def _whole_groups(flags: pd.Series, groups: pd.Series) -> pd.Series:
    """Return True for every member of a group that has a flagged member."""
    return groups.isin(groups[flags].dropna().unique())


def _keepers(paths: pd.Series, groups: pd.Series, doomed: pd.Series, allowed: pd.Series) -> pd.Series:
    """Return, for each image, the path that stays of its group; missing without a group or where none can stay."""
    candidates = pd.DataFrame({"path": paths, "group": groups, "last": ~allowed, "length": paths.str.len()})
    candidates = candidates[groups.notna() & ~doomed].sort_values(["group", "last", "length", "path"])
    return groups.map(candidates.drop_duplicates("group").set_index("group")["path"])


def _joined_names(flags: pd.DataFrame) -> pd.Series:
    """Return the names of each row's true columns, sorted and comma separated."""
    # A bit per column: joining strings once per distinct combination instead of once per image.
    ordered = sorted(flags.columns)
    codes = flags[ordered].to_numpy(dtype=np.int64) @ (np.int64(1) << np.arange(len(ordered)))
    distinct, rows = np.unique(codes, return_inverse=True)
    texts = [",".join(name for bit, name in enumerate(ordered) if code >> bit & 1) for code in distinct.tolist()]
    return pd.Series(np.array(texts, dtype=object)[rows], index=flags.index, dtype="str")


def _refuse_lost_classes(decisions: pd.DataFrame) -> None:
    kept = decisions.groupby("label")["keep"].any()
    lost = list(kept[~kept].index)
    if lost:
        of_class = decisions[decisions["label"] == lost[0]]
        others = f" (and of {len(lost) - 1} more)" if len(lost) > 1 else ""
        raise UserError(
            f"cleaning would drop all {len(of_class)} images of class {lost[0]!r}{others}, "
            f"because of {_counts(images_per_reason(of_class))}: {_remedy(images_per_reason(of_class))}"
        )
    if len(kept) < 2:
        present = f"only class {kept.index[0]!r}" if len(kept) else "no class"
        raise UserError(f"{present} is left to learn: a classifier needs the folders of at least 2 classes")


def _counts(images: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in images.items())


def _remedy(reasons: Mapping[str, int]) -> str:
    if set(reasons) == {UNREADABLE}:
        return "replace its files or remove the class folder"
    return "set these checks to warn in the policy, name images in allow_list, or remove the class folder"
