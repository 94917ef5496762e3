"""Decide which images are kept: a pure function of the catalog, the findings, the measurements and the policy.

* An image is dropped when the deny-list names it, or when a check that the policy drops found something on it.
* Copies are what ``COPIES`` of the policy's module find, and groups of several such checks that overlap are one group.
  Of the copies under one label one is kept: one on the allow-list first, then one that no check of ``LESSER_PIXELS``
  found, so that a sharp picture wins over what was made larger and blurred, then the highest resolution, the larger
  file, the shorter path, and the first in alphabetical order. A copy that is dropped for another reason is not chosen,
  so a good copy survives.
* Of copies under different labels every one goes to quarantine when the conflict drops, because nobody knows which
  label is right. Otherwise one stays per label: dropping copies never decides about a label.
* The allow-list overrules every drop but of what cannot be decoded.
* A fix is noted on every kept image that needs it. Split does what it says, and does it whatever the policy: warn
  means that a person should look at the image all the same, keep that nobody need be told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from components.clean.cleaning_policy import (
    ALLOW_LIST,
    CONFLICTS,
    COPIES,
    DAMAGED,
    DENY_LIST,
    LESSER_PIXELS,
    REMEDIES,
    UNDECODABLE,
    CleaningPolicy,
    known_checks,
)
from components.clean.kept_copies import copy_links, dropping_links, duplicate_groups, group_codes, keepers, quarantined
from components.clean.listed_images import listed_images
from components.failures import UserError
from components.formats.decisions import DECISION_COLUMNS, DETAIL_COLUMNS, IMAGE_ACTIONS, REASON_COLUMNS
from components.formats.image_formats import EXTENSIONS

_USUAL_EXTENSIONS: dict[str, str] = {}
for _extension, _format in EXTENSIONS.items():
    _USUAL_EXTENSIONS.setdefault(_format, _extension)


@dataclass(frozen=True)
class Decided:
    """What the cleaning decided.

    Attributes:
        images: The catalog's rows in its order, with ``DECISION_COLUMNS`` and ``DETAIL_COLUMNS``.
        reasons: ``REASON_COLUMNS``, by catalog order and then in the order reports list checks, lists first.
    """

    images: pd.DataFrame
    reasons: pd.DataFrame


def decide(
    catalog: pd.DataFrame, findings: pd.DataFrame, measurements: pd.DataFrame, policy: CleaningPolicy
) -> Decided:
    """Decide about every image.

    Args:
        catalog: One row per image, ``CATALOG_COLUMNS``, as ``read_catalog`` returns it.
        findings: ``FINDING_COLUMNS``; a finding about a class folder decides about no image.
        measurements: ``MEASUREMENT_COLUMNS`` of the same images in the same order.
        policy: What to do about each check, its lists without files of entries.

    Raises:
        UserError: When a list names an image that is not there or cannot be decoded, when a check to drop by found
            a whole folder, or when a class would be left without images.
    """
    catalog = catalog.reset_index(drop=True)
    findings = findings.assign(position=pd.Index(catalog["path"]).get_indexer(pd.Index(findings["path"])))
    _refuse_folder_drops(catalog, findings[findings["position"] < 0], policy)
    findings = findings[findings["position"] >= 0]
    flags = _Flags(findings, len(catalog))
    undecodable, damaged = flags.any_of(UNDECODABLE), flags.any_of(DAMAGED)
    allowed, denied = listed_images(catalog["path"], policy, undecodable, damaged)

    links = copy_links(catalog, findings)
    dropping = policy.dropping_checks()
    against = {check: flags.of(check) for check in dropping if check not in COPIES}
    against |= {check: quarantined(links, check, against[check]) for check in CONFLICTS if check in against}
    against[DENY_LIST] = denied
    doomed = _any(against, len(catalog)) & ~allowed
    lesser = flags.any_of(tuple(check for check in LESSER_PIXELS if policy.action(check) != "keep"))
    pixels = (measurements["width_px"] * measurements["height_px"]).fillna(0).to_numpy()
    candidates = catalog[["path", "label", "size_bytes"]].assign(pixels=pixels, lesser=lesser)
    copies, twins = _superfluous_copies(candidates, links, dropping, doomed, allowed)
    against |= copies

    dropped = _any(against, len(catalog)) & ~allowed
    twins = np.where(dropped & _any(copies, len(catalog)), twins, -1)
    reasons = _reasons(findings, against, policy, allowed, dropped).assign(
        kept_twin=lambda rows: np.where(rows["check"].isin(COPIES), twins[rows["position"]], -1)
    )
    images = _images(catalog, reasons, against, allowed, dropped).assign(
        kept_twin=_paths(catalog, twins), duplicate_group=duplicate_groups(links, catalog["md5"])
    )
    columns = {**DECISION_COLUMNS, **DETAIL_COLUMNS}
    images = images[[*catalog.columns, *columns]].astype(columns)
    decided = Decided(images, _published(reasons, catalog, measurements))
    _require_consistency(catalog, decided)
    _refuse_lost_classes(images)
    return decided


def images_per_reason(decisions: pd.DataFrame) -> dict[str, int]:
    """Return how many dropped images carry each reason, sorted by reason; an image can count more than once."""
    return _counted(decisions.loc[~decisions["keep"], "reasons"])


def images_per_fix(decisions: pd.DataFrame) -> dict[str, int]:
    """Return how many images get each fix, by the check that asks for it; an image can count more than once."""
    return _counted(decisions.loc[decisions["fixes"] != "", "fixes"])


def _counted(joined_names: pd.Series) -> dict[str, int]:
    counts: dict[str, int] = {}
    for joined, images in joined_names.value_counts().items():
        for name in str(joined).split(","):
            counts[name] = counts.get(name, 0) + int(images)
    return dict(sorted(counts.items()))


class _Flags:
    """Which images each check found something on."""

    def __init__(self, findings: pd.DataFrame, images: int) -> None:
        self._positions = dict(findings.groupby("check")["position"].unique().items())
        self._images = images

    def of(self, check: str) -> np.ndarray:
        flags = np.zeros(self._images, dtype=bool)
        flags[self._positions.get(check, [])] = True
        return flags

    def any_of(self, checks: tuple[str, ...]) -> np.ndarray:
        return _any({check: self.of(check) for check in checks}, self._images)


def _any(flags: Mapping[str, np.ndarray], images: int) -> np.ndarray:
    return np.logical_or.reduce([np.zeros(images, dtype=bool), *flags.values()])


def _superfluous_copies(
    candidates: pd.DataFrame,
    links: pd.DataFrame,
    dropping: list[str],
    doomed: np.ndarray,
    allowed: np.ndarray,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return, by check, which images another copy stands in for, and the position of that copy or -1."""
    images = len(candidates)
    checks = [check for check in COPIES if check in dropping]
    links = dropping_links(links, checks)
    codes = group_codes(links, images)
    # A number for each pair of group and label: copies compete under one label only.
    groups = codes * (candidates["label"].nunique() + 1) + pd.factorize(candidates["label"])[0]
    found = links.loc[links["found"], "position"].to_numpy()
    groups = np.where(np.isin(groups, groups[found]), groups, -1)
    keeper = keepers(candidates, pd.Series(groups), doomed, allowed)
    superfluous = (keeper >= 0) & (keeper != np.arange(images))
    by_check = {}
    for check in checks:
        tied = np.zeros(images, dtype=bool)
        tied[links.loc[links["check"] == check, "position"].to_numpy()] = True
        by_check[check] = superfluous & tied
    return by_check, keeper


def _reasons(
    findings: pd.DataFrame,
    against: Mapping[str, np.ndarray],
    policy: CleaningPolicy,
    allowed: np.ndarray,
    dropped: np.ndarray,
) -> pd.DataFrame:
    """Return one row per image and check or list: ``position`` and ``REASON_COLUMNS`` without names of images."""
    order = ["position", "check", "measured", "threshold"]
    found = findings[order].sort_values(order).drop_duplicates(["position", "check"])
    pairs = [found]
    # What follows from a group or a list, and what no finding says of the image itself.
    for check, flags in (*against.items(), (ALLOW_LIST, allowed)):
        pairs.append(pd.DataFrame({"position": np.flatnonzero(flags), "check": check}))
    reasons = pd.concat(pairs, ignore_index=True).drop_duplicates(["position", "check"])
    known = [ALLOW_LIST, DENY_LIST, *known_checks()]
    names = [*known, *sorted(set(found["check"]) - set(known))]
    code = pd.Index(names).get_indexer(pd.Index(reasons["check"]))
    actions = np.array(["keep", "drop", *map(policy.action, names[2:])], dtype=object)
    position = reasons["position"].to_numpy(dtype=np.int64)
    is_against = np.zeros(len(reasons), dtype=bool)
    for check, flags in against.items():
        of_check = code == names.index(check)
        is_against[of_check] = flags[position[of_check]]
    disputed = np.isin(code, [names.index(check) for check in CONFLICTS])
    effect = _effects(actions[code], is_against, disputed, allowed[position], dropped[position])
    reasons = reasons.assign(
        position=position, policy=actions[code], effect=np.where(code == 0, "keep", effect), rank=code
    )
    return reasons.sort_values(["position", "rank"], ignore_index=True)


def _effects(
    actions: np.ndarray, against: np.ndarray, disputed: np.ndarray, allowed: np.ndarray, dropped: np.ndarray
) -> np.ndarray:
    """Return one of ``REASON_EFFECTS`` for each reason.

    Args:
        actions: What the policy says about its check.
        against: Whether the check is against the image; a check that drops and found it need not be, for the copy of
            a group that stays.
        disputed: Whether the check is one of ``CONFLICTS``.
        allowed: Whether the image is on the allow-list.
        dropped: Whether the image is dropped, by whatever reason.
    """
    drops = actions == "drop"
    return np.select(
        [
            drops & against & allowed,
            drops & against & disputed,
            drops & against,
            dropped | (actions == "keep"),
            drops,
        ],
        ["overruled", "quarantine", "drop", "none", "kept_copy"],
        actions,
    )


def _images(
    catalog: pd.DataFrame,
    reasons: pd.DataFrame,
    against: Mapping[str, np.ndarray],
    allowed: np.ndarray,
    dropped: np.ndarray,
) -> pd.DataFrame:
    """Return the catalog with what ``reasons`` say of each image, but for its copies."""
    any_against = _any(against, len(catalog))
    by_fix = {}
    for check in REMEDIES:
        by_fix[check] = np.zeros(len(catalog), dtype=bool)
        by_fix[check][reasons.loc[(reasons["effect"] == "fix") & (reasons["check"] == check), "position"]] = True
    fixed = _any(by_fix, len(catalog))
    disputed_only = ~_any({name: flags for name, flags in against.items() if name not in CONFLICTS}, len(catalog))
    images = catalog.assign(
        keep=~dropped,
        reasons=np.where(allowed, np.where(any_against, ALLOW_LIST, ""), _joined_names(against)),
        action=np.select([dropped & disputed_only, dropped, fixed], ["quarantine", "drop", "fix"], "keep"),
        fixes=_joined_names(by_fix),
    )
    deciding = {"drop", "quarantine", "fix", "keep"}
    first = reasons[reasons["effect"].isin(deciding)]
    # An image on the allow-list that nothing is against was decided about by nobody.
    first = first[(first["effect"] != "keep") | any_against[first["position"]]].drop_duplicates("position")
    of_image = first.set_index("position")[["check", "measured", "threshold"]].reindex(catalog.index)
    return images.assign(check=of_image["check"], measured=of_image["measured"], threshold=of_image["threshold"])


def _joined_names(flags: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the names of the flags that are true for each image, sorted and comma separated."""
    # A bit per name: joining strings once per distinct combination instead of once per image.
    ordered = sorted(flags)
    codes = np.zeros(len(next(iter(flags.values()))), dtype=np.int64)
    for bit, name in enumerate(ordered):
        codes |= flags[name].astype(np.int64) << bit
    distinct, rows = np.unique(codes, return_inverse=True)
    texts = [",".join(name for bit, name in enumerate(ordered) if code >> bit & 1) for code in distinct.tolist()]
    return np.array(texts, dtype=object)[rows]


def _paths(catalog: pd.DataFrame, positions: np.ndarray) -> pd.Series:
    paths = pd.Series(pd.NA, index=range(len(positions)), dtype="str")
    there = positions >= 0
    paths[there] = catalog["path"].to_numpy()[positions[there]]
    return paths


def _published(reasons: pd.DataFrame, catalog: pd.DataFrame, measurements: pd.DataFrame) -> pd.DataFrame:
    """Return the reasons with names of images in place of positions, and what each fix does."""
    remedy = reasons["check"].map(dict(REMEDIES)).where(reasons["effect"] == "fix").astype("str")
    misnamed = (reasons["check"] == "wrong_extension") & remedy.notna()
    if misnamed.any():
        positions = reasons.loc[misnamed, "position"].to_numpy()
        names = zip(catalog["path"].iloc[positions], measurements["format"].iloc[positions], strict=True)
        remedy[misnamed] = np.array([_right_name(path, format_name) for path, format_name in names], dtype=object)
    return reasons.assign(
        path=catalog["path"].iloc[reasons["position"]].to_numpy(),
        kept_twin=_paths(catalog, reasons["kept_twin"].to_numpy()),
        remedy=remedy,
    )[list(REASON_COLUMNS)].astype(dict(REASON_COLUMNS))


def _right_name(path: str, format_name: str | None) -> str:
    if format_name not in _USUAL_EXTENSIONS:
        return REMEDIES["wrong_extension"]
    return f"read as {format_name}, as {PurePosixPath(path).with_suffix(_USUAL_EXTENSIONS[format_name])} would say"


def _require_consistency(catalog: pd.DataFrame, decided: Decided) -> None:
    """Make sure that the decisions add up to the catalog and that each one has its reasons."""
    images, reasons = decided.images, decided.reasons
    counts = images["action"].value_counts()
    # Positions, for looking a million paths up among a million takes longer than all the rest.
    rows, keep = pd.Index(images["path"]), images["keep"].to_numpy()
    blamed = np.zeros(len(images), dtype=bool)
    blamed[rows.get_indexer(pd.Index(reasons.loc[reasons["effect"].isin(["drop", "quarantine"]), "path"]))] = True
    twins = rows.get_indexer(pd.Index(images["kept_twin"].dropna()))
    claims = {
        "one row per image": images["path"].equals(catalog["path"]),
        "actions add up to the catalog": int(counts.reindex(list(IMAGE_ACTIONS)).sum()) == len(catalog),
        "kept is keep or fix": images["keep"].equals(images["action"].isin(["keep", "fix"])),
        "an image is dropped exactly when it has a reason": np.array_equal(blamed, ~keep),
        "a kept twin is kept": bool((twins >= 0).all() and keep[twins].all()),
    }
    if broken := [claim for claim, holds in claims.items() if not holds]:
        raise RuntimeError(f"the decisions contradict themselves: {'; '.join(broken)}")


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
    if set(reasons) <= set(UNDECODABLE):
        return "replace its files or remove the class folder"
    return "set these checks to warn in the policy, name images in allow_list, or remove the class folder"
