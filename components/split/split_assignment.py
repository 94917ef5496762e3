"""Assign images to train, validation and test: a pure function of the images, the fractions and the seed.

Stratified: each class is divided by the fractions. Grouped: images with the same bytes, or of one duplicate group, go
to the same split, because a copy of a training image in the test set measures memory instead of learning. What
decides is a hash of the seed and the image's digest, so the order of the rows changes nothing, and a new image moves
few others.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.failures import UserError
from components.formats.splits import SPLIT_NAMES

GROUPS_PER_CLASS = len(SPLIT_NAMES)
"""Each split needs an image of each class, and copies count once."""

_NO_LABEL = -1


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Check what part of the images goes to each split.

    Raises:
        UserError: When a fraction is not between 0 and 1, both excluded, or they do not add up to 1.
    """
    for name in SPLIT_NAMES:
        if not 0 < fractions[name] < 1:
            raise UserError(f"{name}_fraction is {fractions[name]}: set it between 0 and 1, both excluded")
    total = math.fsum(fractions.values())
    if abs(total - 1) > 1e-6:
        written = " + ".join(f"{fractions[name]:g}" for name in SPLIT_NAMES)
        raise UserError(f"the split fractions add up to {total:g}, not 1 ({written}): change one of them")


def assign_splits(images: pd.DataFrame, fractions: Mapping[str, float], seed: int) -> pd.DataFrame:
    """Assign each image to a split.

    Each class has at least one image in each split, and differs from the exact fractions by less than one image
    wherever the sizes of its groups and that minimum allow.

    Args:
        images: Columns ``path`` (unique), ``label``, ``md5`` and ``duplicate_group`` (missing without copies).
        fractions: By split name, see ``check_fractions``.
        seed: Another seed gives another assignment.

    Returns:
        ``path``, ``label``, ``split`` and ``duplicate_group`` in the order of ``images``; the group is completed by
        equal digests.

    Raises:
        UserError: When a class has too few different images for every split to get one.
    """
    check_fractions(fractions)
    table = images[["path", "label", "md5", "duplicate_group"]].reset_index(drop=True)
    groups = group_images(table)
    _refuse_small_classes(table["label"], groups)
    codes, class_names = pd.factorize(table["label"], sort=True)
    split_of_group = _assign_groups(_groups_table(groups, codes), class_names, fractions, seed)
    assigned = groups.map(split_of_group)
    _refuse_absent_classes(table["label"], assigned)
    copies = groups.duplicated(keep=False) | table["duplicate_group"].notna()
    return pd.DataFrame(
        {
            "path": table["path"],
            "label": table["label"],
            "split": pd.Series(np.array(SPLIT_NAMES, dtype=object)[assigned.to_numpy()], dtype="str"),
            "duplicate_group": groups.where(copies).astype("str"),
        }
    )


def group_images(images: pd.DataFrame) -> pd.Series:
    """Return the group of each image: the smallest digest among all images it is tied to.

    Two images are tied when they share ``md5`` or ``duplicate_group``, directly or through others.
    """
    groups = images["md5"].astype("str")
    named = images["duplicate_group"].notna()
    while True:
        joined = groups.copy()
        if named.any():
            joined[named] = joined[named].groupby(images.loc[named, "duplicate_group"]).transform("min")
            repeated = images["md5"].duplicated(keep=False)
            joined[repeated] = joined[repeated].groupby(images.loc[repeated, "md5"]).transform("min")
        if joined.equals(groups):
            return groups
        groups = joined


def certificate(assignments: pd.DataFrame, images: pd.DataFrame) -> dict[str, int]:
    """Return evidence that no group of copies crosses splits, counted from the final assignment.

    Args:
        assignments: What ``assign_splits`` returned.
        images: What it was given; crossing is counted by its digests and groups, not by the completed ones alone.

    Returns:
        ``groups`` with at least two images, ``images_in_groups``, and ``groups_across_splits``, which must be 0.
    """
    sizes = assignments["duplicate_group"].value_counts()
    sizes = sizes[sizes > 1]
    keys = (assignments["duplicate_group"], images["duplicate_group"], images["md5"])
    splits = assignments["split"].to_numpy()
    crossing = [int((pd.Series(splits).groupby(key.to_numpy()).nunique() > 1).sum()) for key in keys]
    return {
        "groups": len(sizes),
        "images_in_groups": int(sizes.sum()),
        "groups_across_splits": max(crossing),
    }


def exact_counts(images: int, fractions: Iterable[float], tie_breakers: Iterable[str]) -> list[int]:
    """Divide ``images`` by the fractions with the largest remainder method, and give each split at least one.

    Args:
        images: At least one for each fraction.
        fractions: Of each split, adding up to 1.
        tie_breakers: Of each split; among equal remainders the smallest is served first.
    """
    shares = [images * fraction for fraction in fractions]
    counts = [math.floor(share + 1e-9) for share in shares]
    # Rounded, so that 0.1 and 1 - 0.8 - 0.1 tie as they do on paper.
    remainders = [round(share - count, 9) for share, count in zip(shares, counts, strict=True)]
    ties = list(tie_breakers)
    order = sorted(range(len(counts)), key=lambda split: (-remainders[split], ties[split]))
    for split in order[: images - sum(counts)]:
        counts[split] += 1
    while 0 in counts:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(0)] += 1
    return counts


@dataclass(frozen=True)
class _Groups:
    """The groups of images as columns.

    Attributes:
        names: Of each group.
        sizes: Images in each group.
        labels: Code of the class of each group, ``_NO_LABEL`` where it has images of several.
        mixed: Images by class code of each group of several classes, by group name.
    """

    names: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    mixed: Mapping[str, Mapping[int, int]]


def _groups_table(groups: pd.Series, codes: np.ndarray) -> _Groups:
    """Return one row per group from the group and the class code of each image."""
    label = pd.Series(codes, index=groups.index)
    by_group = label.groupby(groups).agg(["size", "min", "max"])
    several = by_group["min"] != by_group["max"]
    mixed: dict[str, dict[int, int]] = {}
    in_mixed = groups.isin(by_group.index[several])
    for name, code in zip(groups[in_mixed], label[in_mixed], strict=True):
        members = mixed.setdefault(name, {})
        members[int(code)] = members.get(int(code), 0) + 1
    return _Groups(
        names=by_group.index.to_numpy(dtype=object),
        sizes=by_group["size"].to_numpy(),
        labels=by_group["min"].where(~several, _NO_LABEL).to_numpy(),
        mixed=mixed,
    )


class _Room:
    """How much each split still takes of each class.

    Args:
        targets: Images of each class for each split, ``[class][split]``.
        groups: Groups of each class.
    """

    def __init__(self, targets: list[list[int]], groups: list[int]) -> None:
        self.left = [list(row) for row in targets]
        self.empty = [[True] * len(row) for row in targets]
        self._waiting = list(groups)

    def choose(self, members: Mapping[int, int], draw: float) -> int:
        """Return the split for a group: at random among those with room, in proportion to the room."""
        candidates = [split for split in range(len(SPLIT_NAMES)) if self._leaves_enough_groups(members, split)]
        candidates = candidates or list(range(len(SPLIT_NAMES)))
        spare = {split: min(self.left[label][split] - size for label, size in members.items()) for split in candidates}
        fitting = [split for split in candidates if spare[split] >= 0]
        if not fitting:
            return max(candidates, key=lambda split: spare[split])
        weights = [sum(self.left[label][split] for label in members) for split in fitting]
        return fitting[int(np.searchsorted(np.cumsum(weights), draw * sum(weights), side="right"))]

    def take(self, members: Mapping[int, int], split: int) -> None:
        """Record where a group went."""
        for label, size in members.items():
            self.left[label][split] -= size
            self.empty[label][split] = False
            self._waiting[label] -= 1

    def singles_per_split(self, label: int, images: int) -> list[int]:
        """Divide a class's remaining single images by what is left, where groups have not taken more already."""
        counts = [max(left, 0) for left in self.left[label]]
        least = [int(empty) for empty in self.empty[label]]
        while sum(counts) > images:
            reducible = [split for split in range(len(counts)) if counts[split]]
            counts[max(reducible, key=lambda split: counts[split] - least[split])] -= 1
        return counts

    def _leaves_enough_groups(self, members: Mapping[int, int], split: int) -> bool:
        return all(sum(self.empty[label]) - self.empty[label][split] <= self._waiting[label] - 1 for label in members)


def _assign_groups(groups: _Groups, class_names: pd.Index, fractions: Mapping[str, float], seed: int) -> pd.Series:
    """Return the split of each group, an index into ``SPLIT_NAMES``, by the group's name.

    Groups of several images choose first, large before small; single images then fill what is left exactly.
    """
    draws = np.array([_draw(seed, name) for name in groups.names])
    room = _room(groups, class_names, fractions, seed)
    chosen = np.zeros(len(groups.names), dtype=np.int64)

    several = np.flatnonzero(groups.sizes > 1)
    # Groups of several classes are the least free, so they come first of all.
    free = groups.labels[several] != _NO_LABEL
    for index in several[np.lexsort((draws[several], -groups.sizes[several], free))]:
        own = {int(groups.labels[index]): int(groups.sizes[index])}
        members = groups.mixed.get(groups.names[index], own)
        chosen[index] = room.choose(members, draws[index])
        room.take(members, int(chosen[index]))

    singles = np.flatnonzero(groups.sizes == 1)
    singles = singles[np.lexsort((draws[singles], groups.labels[singles]))]
    per_class = np.bincount(groups.labels[singles], minlength=len(class_names))
    for label, of_class in enumerate(np.split(singles, np.cumsum(per_class)[:-1])):
        counts = room.singles_per_split(label, len(of_class))
        chosen[of_class] = np.repeat(np.arange(len(SPLIT_NAMES)), counts)
    return pd.Series(chosen, index=groups.names)


def _room(groups: _Groups, class_names: pd.Index, fractions: Mapping[str, float], seed: int) -> _Room:
    pure = groups.labels != _NO_LABEL
    images = np.bincount(groups.labels[pure], weights=groups.sizes[pure], minlength=len(class_names))
    waiting = np.bincount(groups.labels[pure], minlength=len(class_names))
    for members in groups.mixed.values():
        for label, size in members.items():
            images[label] += size
            waiting[label] += 1
    shares = [fractions[name] for name in SPLIT_NAMES]
    targets = [
        # Equal remainders go to another split in each class, or validation would gain an image in all of them.
        exact_counts(int(count), shares, [_hash(seed, f"{class_name}/{name}") for name in SPLIT_NAMES])
        for class_name, count in zip(class_names, images, strict=True)
    ]
    return _Room(targets, waiting.tolist())


def _hash(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _draw(seed: int, name: str) -> float:
    """Return a number in [0, 1) that looks random and depends on nothing but its arguments."""
    return int(_hash(seed, name)[:13], 16) / 16**13


def _refuse_small_classes(labels: pd.Series, groups: pd.Series) -> None:
    different = groups.groupby(labels).nunique()
    small = different[different < GROUPS_PER_CLASS]
    if small.empty:
        return
    label, images = small.index[0], int((labels == small.index[0]).sum())
    of_which = "" if small.iloc[0] == images else f", only {small.iloc[0]} of them different,"
    others = f" (and {len(small) - 1} more classes are too small)" if len(small) > 1 else ""
    raise UserError(
        f"class {label!r} has {images} {'image' if images == 1 else 'images'}{of_which} after cleaning; a split into "
        f"{', '.join(SPLIT_NAMES[:-1])} and {SPLIT_NAMES[-1]} needs at least {GROUPS_PER_CLASS}: add photos or "
        f"remove the class folder{others}"
    )


def _refuse_absent_classes(labels: pd.Series, assigned: pd.Series) -> None:
    splits_with_images = assigned.groupby(labels).nunique()
    absent = splits_with_images[splits_with_images < len(SPLIT_NAMES)]
    if not absent.empty:
        raise UserError(
            f"class {absent.index[0]!r} cannot be in every split, because its images are copies of images of other "
            "classes and copies stay together: let the cleaning drop conflicting_label, or add photos"
        )
