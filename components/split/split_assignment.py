"""Assign images to train, validation and test: a pure function of the images, the fractions and the seed.

Stratified: each class is divided by the fractions. Grouped: copies, and images that a group pattern ties, go to the
same split, because a copy of a training image in the test set measures memory instead of learning.

Stable: a hash of the seed and the image's digest draws a number in [0, 1) for each image. In each class the images
stand in the order of their draws, and the splits are cut out of that order by the fractions. What holds when images
are added:

- An image changes its split only where a cut passes it. In a class without groups each new image moves each of the two
  cuts by one image at most: **k new images move exactly as many old ones over a cut as the new ones in front of it
  differ from the cut's growth**, 2 k at worst, and as new draws fall evenly about ``0.56 sqrt(k)`` for 80/10/10.
- Other classes never matter, unless groups span them.
- A group of several images goes where its own draw says while that split has room for it, large groups first, and of
  like size those nearest the cuts give way; the single images fill what is left. The draw is that of the pattern's
  text, which never changes, or without a pattern the least of its images' draws. A tenth more images move 0.5 to 1.5 %
  of 10,000 old ones, whether they stand alone or in groups of ten. Fewer groups move more: 7 % of 1,500 images in forty
  groups a class, to which new images and new groups came.
- Groups that a new image joins into one move where the joint one goes.

Moves cannot be ruled out altogether: fractions kept within an image force some, whatever the rule, if only the images
there are now decide and not those there were before.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.failures import UserError
from components.formats.splits import SPLIT_NAMES
from components.split.image_groups import pattern_groups, tied_images

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


def assign_splits(images: pd.DataFrame, fractions: Mapping[str, float], seed: int, group_pattern: str) -> pd.DataFrame:
    """Assign each image to a split.

    Each class has at least one image in each split, and differs from the exact fractions by less than one image
    wherever the sizes of its groups and that minimum allow.

    Args:
        images: Columns ``path`` (unique), ``label``, ``md5`` and ``duplicate_group`` (missing without copies).
        fractions: By split name, see ``check_fractions``.
        seed: Another seed gives another assignment.
        group_pattern: Ties images by their paths, see ``components.split.image_groups.pattern_groups``; may be empty.

    Returns:
        ``path``, ``label``, ``split``, ``duplicate_group`` and ``pattern_group`` in the order of ``images``. The
        duplicate group, completed by equal digests, is the smallest digest in it.

    Raises:
        UserError: When a class has too few different images for every split to get one, or the pattern is wrong.
    """
    check_fractions(fractions)
    table = images[["path", "label", "md5", "duplicate_group"]].reset_index(drop=True)
    named = pattern_groups(table["path"], group_pattern)
    groups = tied_images(table["md5"], table["duplicate_group"], named)
    _refuse_small_classes(table["label"], groups, group_pattern)
    codes, class_names = pd.factorize(table["label"], sort=True)
    draws = _draws(seed, named.fillna(table["md5"]))
    split_of_group = _assign_groups(_groups_table(groups, codes, draws), class_names, fractions, seed)
    assigned = split_of_group[groups]
    _refuse_absent_classes(table["label"], assigned, group_pattern)
    return pd.DataFrame(
        {
            "path": table["path"],
            "label": table["label"],
            "split": pd.Series(np.array(SPLIT_NAMES, dtype=object)[assigned], dtype="str"),
            "duplicate_group": _groups_of_copies(table),
            "pattern_group": named,
        }
    )


def certificate(assignments: pd.DataFrame, images: pd.DataFrame) -> dict[str, int]:
    """Return evidence that no group crosses splits, counted from the final assignment.

    Args:
        assignments: What ``assign_splits`` returned.
        images: What it was given; crossing is counted by its digests and groups, not by the completed ones alone.

    Returns:
        Of groups of copies with at least two images ``groups`` and ``images_in_groups``; of groups of the pattern with
        at least two ``pattern_groups`` and ``images_in_pattern_groups``; and ``groups_across_splits``, which must be 0.
    """
    splits = pd.Series(assignments["split"].to_numpy())
    keys = (assignments["duplicate_group"], images["duplicate_group"], images["md5"], assignments["pattern_group"])
    crossing = [int((splits.groupby(key.to_numpy()).nunique() > 1).sum()) for key in keys]
    copies, patterned = (_sizes(assignments[column]) for column in ("duplicate_group", "pattern_group"))
    return {
        "groups": len(copies),
        "images_in_groups": int(copies.sum()),
        "pattern_groups": len(patterned),
        "images_in_pattern_groups": int(patterned.sum()),
        "groups_across_splits": max(crossing),
    }


def _sizes(groups: pd.Series) -> pd.Series:
    sizes = groups.value_counts()
    return sizes[sizes > 1]


def exact_counts(images: int, fractions: Sequence[float], phase: float) -> list[int]:
    """Divide ``images`` by the fractions: each count is its share rounded down or up, and at least one.

    Systematic rounding: each cut between splits is at ``floor(share of all before it + phase)``. With one more image a
    cut stays or moves by one, never back, which largest remainders do not promise; and as phases differ between
    classes, no split is favoured by rounding.

    Args:
        images: At least one for each fraction.
        fractions: Of each split, adding up to 1.
        phase: In [0, 1), drawn for each class.
    """
    cuts = [0]
    for number in range(1, len(fractions)):
        # Rounded, so that 0.8 + 0.1 is 0.9 as on paper.
        cut = math.floor(round(images * math.fsum(fractions[:number]), 9) + phase)
        cuts.append(max(cuts[-1] + 1, min(cut, images - len(fractions) + number)))
    return np.diff([*cuts, images]).tolist()


@dataclass(frozen=True)
class _Groups:
    """The groups of images as columns, in the order of their numbers.

    Attributes:
        sizes: Images in each group.
        labels: Code of the class of each group, ``_NO_LABEL`` where it has images of several.
        draws: Of each group, [0, 1).
        mixed: Images by class code of each group of several classes, by group number.
    """

    sizes: np.ndarray
    labels: np.ndarray
    draws: np.ndarray
    mixed: Mapping[int, Mapping[int, int]]


def _groups_table(groups: np.ndarray, codes: np.ndarray, draws: np.ndarray) -> _Groups:
    """Return one row per group from the group, the class code and the draw of each image."""
    by_group = pd.DataFrame({"label": codes, "draw": draws}).groupby(groups)
    least, most = by_group["label"].min().to_numpy(), by_group["label"].max().to_numpy()
    several = least != most
    mixed: dict[int, dict[int, int]] = {}
    in_mixed = several[groups]
    for group, code in zip(groups[in_mixed].tolist(), codes[in_mixed].tolist(), strict=True):
        members = mixed.setdefault(group, {})
        members[code] = members.get(code, 0) + 1
    return _Groups(
        sizes=np.bincount(groups),
        labels=np.where(several, _NO_LABEL, least),
        draws=by_group["draw"].min().to_numpy(),
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

    def choose(self, members: Mapping[int, int], preferences: Sequence[int]) -> int:
        """Return the first split of ``preferences`` with room for a group, or the one that it overfills least."""
        candidates = [split for split in preferences if self._leaves_enough_groups(members, split)] or preferences
        spare = {split: min(self.left[label][split] - size for label, size in members.items()) for split in candidates}
        return next((split for split in candidates if spare[split] >= 0), max(candidates, key=lambda s: spare[s]))

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


def _assign_groups(groups: _Groups, class_names: pd.Index, fractions: Mapping[str, float], seed: int) -> np.ndarray:
    """Return the split of each group, an index into ``SPLIT_NAMES``.

    Groups of several images choose first, large before small, so that small ones can even out; single images then fill
    what is left exactly.
    """
    shares = [fractions[name] for name in SPLIT_NAMES]
    room = _room(groups, class_names, shares, seed)
    chosen = np.zeros(len(groups.sizes), dtype=np.int64)

    several = np.flatnonzero(groups.sizes > 1)
    distances = _distances(groups.draws[several], shares)
    preferences = np.argsort(distances, axis=1, kind="stable").tolist()
    # Groups of several classes are the least free, so they come first of all; of equals, those far from every cut.
    free = groups.labels[several] != _NO_LABEL
    # Sizes count by powers of two, or one image more would send a group to the front of its equals.
    tier = np.floor(np.log2(groups.sizes[several]))
    depth = -distances.min(axis=1, initial=0)
    for rank in np.lexsort((groups.draws[several], -depth, -tier, free)):
        index = int(several[rank])
        own = {int(groups.labels[index]): int(groups.sizes[index])}
        members = groups.mixed.get(index, own)
        chosen[index] = room.choose(members, preferences[rank])
        room.take(members, int(chosen[index]))

    singles = np.flatnonzero(groups.sizes == 1)
    singles = singles[np.lexsort((groups.draws[singles], groups.labels[singles]))]
    per_class = np.bincount(groups.labels[singles], minlength=len(class_names))
    for label, of_class in enumerate(np.split(singles, np.cumsum(per_class)[:-1])):
        counts = room.singles_per_split(label, len(of_class))
        chosen[of_class] = np.repeat(np.arange(len(SPLIT_NAMES)), counts)
    return chosen


def _distances(draws: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Return how far each draw is from each split's part of [0, 1), ``[groups, splits]``, negative inside it.

    The ends of [0, 1) are no cuts: inside the first and the last split only the inner end counts.
    """
    starts = np.array([-math.inf, *np.cumsum(shares)[:-1]])
    ends = np.array([*np.cumsum(shares)[:-1], math.inf])
    return np.maximum(starts - draws[:, None], draws[:, None] - ends)


def _room(groups: _Groups, class_names: pd.Index, shares: Sequence[float], seed: int) -> _Room:
    pure = groups.labels != _NO_LABEL
    images = np.bincount(groups.labels[pure], weights=groups.sizes[pure], minlength=len(class_names))
    waiting = np.bincount(groups.labels[pure], minlength=len(class_names))
    for members in groups.mixed.values():
        for label, size in members.items():
            images[label] += size
            waiting[label] += 1
    targets = [
        exact_counts(int(count), shares, _draw(seed, f"{class_name}/phase"))
        for class_name, count in zip(class_names, images, strict=True)
    ]
    return _Room(targets, waiting.tolist())


def _groups_of_copies(images: pd.DataFrame) -> pd.Series:
    """Return the smallest digest in the group of copies of each image, missing for an image without copies."""
    copies = tied_images(images["md5"], images["duplicate_group"])
    in_group = (np.bincount(copies)[copies] > 1) | images["duplicate_group"].notna()
    return images["md5"].groupby(copies).transform("min").where(in_group).astype("str")


def _draws(seed: int, anchors: pd.Series) -> np.ndarray:
    codes, unique = pd.factorize(anchors)
    return np.array([_draw(seed, anchor) for anchor in unique])[codes]


def _draw(seed: int, name: str) -> float:
    """Return a number in [0, 1) that looks random and depends on nothing but its arguments."""
    return int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:13], 16) / 16**13


def _refuse_small_classes(labels: pd.Series, groups: np.ndarray, group_pattern: str) -> None:
    different = pd.Series(groups).groupby(labels).nunique()
    small = different[different < GROUPS_PER_CLASS]
    if small.empty:
        return
    label, images = small.index[0], int((labels == small.index[0]).sum())
    apart = "of them different" if not group_pattern else "different groups among them"
    of_which = "" if small.iloc[0] == images else f", only {small.iloc[0]} {apart},"
    others = f" (and {len(small) - 1} more classes are too small)" if len(small) > 1 else ""
    narrower = ", correct group_pattern" if group_pattern and of_which else ""
    raise UserError(
        f"class {label!r} has {images} {'image' if images == 1 else 'images'}{of_which} after cleaning; a split into "
        f"{', '.join(SPLIT_NAMES[:-1])} and {SPLIT_NAMES[-1]} needs at least {GROUPS_PER_CLASS}: add photos{narrower} "
        f"or remove the class folder{others}"
    )


def _refuse_absent_classes(labels: pd.Series, assigned: np.ndarray, group_pattern: str) -> None:
    splits_with_images = pd.Series(assigned).groupby(labels).nunique()
    absent = splits_with_images[splits_with_images < len(SPLIT_NAMES)]
    if absent.empty:
        return
    if group_pattern:
        why = "of groups that reach across classes: let group_pattern capture the class folder too"
    else:
        why = (
            "its images are copies of images of other classes and copies stay together: let the cleaning drop "
            "conflicting_label"
        )
    raise UserError(f"class {absent.index[0]!r} cannot be in every split, because {why}, or add photos")
