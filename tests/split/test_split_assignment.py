"""Where images go: by the fractions, each class in each split, copies together, the same every time."""

import hashlib
import math
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.failures import UserError
from components.formats.splits import SPLIT_NAMES
from components.split import split_assignment
from components.split.split_assignment import certificate, check_fractions, exact_counts

EIGHTY_TEN_TEN = {"train": 0.8, "validation": 0.1, "test": 0.1}
COPIES = {"pattern_groups": 0, "images_in_pattern_groups": 0, "groups_across_splits": 0}


def assign_splits(
    images: pd.DataFrame, fractions: dict[str, float], seed: int, group_pattern: str = ""
) -> pd.DataFrame:
    return split_assignment.assign_splits(images, fractions, seed, group_pattern)


def images_of(classes: dict[str, list[int]]) -> pd.DataFrame:
    """Return images from the sizes of each class's groups; every group of several has its own name."""
    rows = [
        (f"{label}/{group}-{member}.jpg", label, digest(f"{label}{group}"), f"{label}{group}" if size > 1 else None)
        for label, sizes in classes.items()
        for group, size in enumerate(sizes)
        for member in range(size)
    ]
    columns = ["path", "label", "md5", "duplicate_group"]
    return pd.DataFrame(rows, columns=columns).astype("str")


def digest(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def counts_of(assigned: pd.DataFrame, label: str) -> list[int]:
    counts = assigned.loc[assigned["label"] == label, "split"].value_counts()
    return [int(counts.get(name, 0)) for name in SPLIT_NAMES]


@pytest.mark.parametrize(
    ("images", "phase", "expected"),
    [
        pytest.param(100, 0.99, [80, 10, 10], id="exact"),
        pytest.param(10, 0.5, [8, 1, 1], id="ten"),
        pytest.param(3, 0.0, [1, 1, 1], id="the fewest"),
        pytest.param(5, 0.9, [3, 1, 1], id="one each comes first"),
        pytest.param(14, 0.0, [11, 1, 2], id="the fourteenth to test"),
        pytest.param(14, 0.5, [11, 2, 1], id="the fourteenth to validation"),
        pytest.param(14, 0.9, [12, 1, 1], id="the fourteenth to train"),
    ],
)
def test_exact_counts(images: int, phase: float, expected: list[int]) -> None:
    assert exact_counts(images, list(EIGHTY_TEN_TEN.values()), phase) == expected


@given(st.integers(3, 3000), st.tuples(*[st.integers(1, 20)] * 3), st.floats(0, 0.999999))
def test_counts_are_shares_rounded_and_cuts_never_go_back(images: int, parts: tuple[int, ...], phase: float) -> None:
    fractions = [part / sum(parts) for part in parts]
    counts = exact_counts(images, fractions, phase)
    assert sum(counts) == images
    assert min(counts) >= 1
    shares = [images * fraction for fraction in fractions]
    if min(shares) >= 1:
        assert all(abs(count - share) < 1 for count, share in zip(counts, shares, strict=True))
    more = exact_counts(images + 1, fractions, phase)
    assert all(after - before in (0, 1) for before, after in zip(np.cumsum(counts), np.cumsum(more), strict=True))


def test_images_go_by_the_fractions_in_the_order_given() -> None:
    images = images_of({"cat": [1] * 40, "dog": [1] * 100})
    assigned = assign_splits(images, EIGHTY_TEN_TEN, seed=1)
    assert list(assigned["path"]) == list(images["path"])
    assert counts_of(assigned, "cat") == [32, 4, 4]
    assert counts_of(assigned, "dog") == [80, 10, 10]
    assert assigned["duplicate_group"].isna().all()


def test_equal_remainders_do_not_always_favour_the_same_split() -> None:
    # 14 images: 11.2 + 1.4 + 1.4, so the splits compete for the fourteenth in every class.
    assigned = assign_splits(images_of({f"class{n}": [1] * 14 for n in range(40)}), EIGHTY_TEN_TEN, seed=1)
    counts = assigned["split"].value_counts()
    assert 440 <= counts["train"] <= 440 + 16
    assert 45 <= counts["validation"] <= 70
    assert 45 <= counts["test"] <= 70


def test_copies_are_found_in_every_split() -> None:
    assigned = assign_splits(images_of({"cat": [2] * 100 + [1] * 100, "dog": [1] * 9}), EIGHTY_TEN_TEN, seed=3)
    copies = assigned[assigned["duplicate_group"].notna()]
    assert set(copies["split"]) == set(SPLIT_NAMES)
    assert counts_of(assigned, "cat") == [240, 30, 30]


def test_another_seed_gives_another_assignment() -> None:
    images = images_of({"cat": [1] * 40, "dog": [1] * 40})
    first, second = (assign_splits(images, EIGHTY_TEN_TEN, seed)["split"] for seed in (1, 2))
    assert not first.equals(second)


def moved(before: pd.DataFrame, after: pd.DataFrame) -> int:
    old, new = (assigned.set_index("path")["split"] for assigned in (before, after))
    return int((new[old.index] != old).sum())


@settings(deadline=None, max_examples=100)
@given(st.integers(3, 120), st.integers(1, 30), st.integers(0, 2**31), st.tuples(*[st.integers(1, 20)] * 3))
def test_each_new_image_moves_at_most_one_old_one_over_each_cut(
    there: int, new: int, seed: int, parts: tuple[int, ...]
) -> None:
    fractions = {name: part / sum(parts) for name, part in zip(SPLIT_NAMES, parts, strict=True)}
    images = images_of({"cat": [1] * (there + new), "dog": [1] * 9})
    added = images["path"].isin(images["path"][there : there + new])
    before = assign_splits(images[~added], fractions, seed)
    after = assign_splits(images, fractions, seed)
    assert moved(before, after) <= 2 * new
    assert moved(before[before["label"] == "dog"], after) == 0


@pytest.mark.parametrize(
    ("groups", "most"),
    [
        pytest.param({}, 0.01, id="single images"),
        pytest.param({"share": 0.3, "size": 5}, 0.02, id="a third in groups of five"),
        pytest.param({"share": 0.95, "size": 10}, 0.04, id="nearly all in groups of ten"),
    ],
)
def test_a_tenth_more_images_move_hardly_any(groups: dict[str, float], most: float) -> None:
    size = int(groups.get("size", 1))
    several = int(groups.get("share", 0) * 6000 / size)
    images = images_of({"cat": [size] * several + [1] * (6000 - several * size)})
    names = images["duplicate_group"].fillna(images["path"])
    new = names.map(lambda name: digest(f"new {name}")[0] == "0")  # one in 16, whole groups
    before = assign_splits(images[~new], EIGHTY_TEN_TEN, seed=1)
    after = assign_splits(images, EIGHTY_TEN_TEN, seed=1)
    assert 0 < moved(before, after) < most * len(before)
    assert all(abs(count - share) <= 1 for count, share in zip(counts_of(after, "cat"), [4800, 600, 600], strict=True))


def test_more_images_of_a_pattern_s_group_leave_it_where_it_is() -> None:
    def bursts(size: int) -> pd.DataFrame:
        paths = [f"cat/burst{burst}_{shot}.jpg" for burst in range(30) for shot in range(size if burst == 7 else 4)]
        images = pd.DataFrame({"path": paths, "label": "cat", "md5": [digest(path) for path in paths]})
        return images.assign(duplicate_group=None).astype("str")

    moves = []
    for seed in range(20):
        before = assign_splits(bursts(4), EIGHTY_TEN_TEN, seed, r"burst\d+")
        after = assign_splits(bursts(5), EIGHTY_TEN_TEN, seed, r"burst\d+")
        assert before["split"].groupby(before["pattern_group"]).nunique().eq(1).all()
        moves.append(moved(before, after))
    assert sum(moves) <= 4 * len(moves)  # a burst each, measured: half of one
    assert moves.count(0) >= len(moves) // 2


def test_images_with_equal_bytes_stay_together_though_nobody_named_a_group() -> None:
    images = images_of({"cat": [4] * 10, "dog": [1] * 9}).assign(duplicate_group=None)
    assigned = assign_splits(images, EIGHTY_TEN_TEN, seed=5)
    assert (assigned["split"].groupby(images["md5"]).nunique() == 1).all()
    assert certificate(assigned, images) == COPIES | {"groups": 10, "images_in_groups": 40}


def test_copies_under_two_labels_stay_together() -> None:
    images = images_of({"cat": [1] * 20, "dog": [1] * 20})
    images.loc[images["path"].isin(["cat/3-0.jpg", "dog/7-0.jpg"]), "duplicate_group"] = "shared"
    for seed in range(20):
        assigned = assign_splits(images, EIGHTY_TEN_TEN, seed)
        assert assigned[assigned["duplicate_group"].notna()]["split"].nunique() == 1
        assert counts_of(assigned, "cat") == counts_of(assigned, "dog") == [16, 2, 2]


def test_the_certificate_counts_groups_that_cross() -> None:
    images = images_of({"cat": [3, 2, 1, 1], "dog": [1, 1, 1]})
    assigned = assign_splits(images, EIGHTY_TEN_TEN, seed=1)
    assert certificate(assigned, images) == COPIES | {"groups": 2, "images_in_groups": 5}
    forged = assigned.assign(split=["train", "test", "test", *assigned["split"][3:]])
    assert certificate(forged, images)["groups_across_splits"] == 1
    assert certificate(forged.assign(duplicate_group=None), images)["groups_across_splits"] == 1


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        pytest.param(
            {"cat": [1] * 3, "lynx": [1, 1]},
            "class 'lynx' has 2 images after cleaning; a split into train, validation and test needs at least 3: add",
            id="two images",
        ),
        pytest.param({"cat": [1] * 3, "lynx": [1]}, "'lynx' has 1 image after", id="one image"),
        pytest.param({"lynx": [4, 3]}, "'lynx' has 7 images, only 2 of them different, after", id="copies"),
        pytest.param({"a": [1], "b": [1], "c": [1]}, r"'a' .* \(and 2 more classes are too small\)", id="several"),
    ],
)
def test_small_classes_are_refused(classes: dict[str, list[int]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        assign_splits(images_of(classes), EIGHTY_TEN_TEN, seed=1)


def test_classes_that_copies_tie_together_still_reach_every_split() -> None:
    images = images_of({"cat": [1] * 3, "dog": [1] * 3})
    images["duplicate_group"] = ["g", "h", "i", "g", "h", "i"]
    assigned = assign_splits(images, EIGHTY_TEN_TEN, seed=1)
    assert counts_of(assigned, "cat") == counts_of(assigned, "dog") == [1, 1, 1]


def test_classes_that_copies_tie_together_beyond_hope_are_refused() -> None:
    # Each class has three of the same four groups and needs them in three splits, so the four would need four.
    classes = {"a": "123", "b": "124", "c": "134", "d": "234"}
    rows = [(f"{label}/{group}.jpg", label, group, group) for label, groups in classes.items() for group in groups]
    images = pd.DataFrame(rows, columns=["path", "label", "md5", "duplicate_group"]).astype("str")
    with pytest.raises(UserError, match="let the cleaning drop conflicting_label"):
        assign_splits(images, EIGHTY_TEN_TEN, seed=1)


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        pytest.param((0.8, 0.1, 0.2), r"add up to 1.1, not 1 \(0.8 \+ 0.1 \+ 0.2\)", id="sum"),
        pytest.param((1.0, 0.1, 0.1), "train_fraction is 1.0: set it between 0 and 1", id="one"),
        pytest.param((0.9, 0.1, 0.0), "test_fraction is 0.0", id="zero"),
        pytest.param((0.9, -0.1, 0.2), "validation_fraction is -0.1", id="negative"),
        pytest.param((math.nan, 0.1, 0.1), "train_fraction is nan", id="not a number"),
    ],
)
def test_bad_fractions_are_refused(fractions: tuple[float, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_fractions(dict(zip(SPLIT_NAMES, fractions, strict=True)))


def test_fractions_may_be_rounded() -> None:
    check_fractions({"train": 0.6, "validation": 0.2, "test": 0.2 + 5e-7})


FRACTIONS = st.tuples(*[st.integers(1, 20)] * 3).map(
    lambda parts: {name: part / sum(parts) for name, part in zip(SPLIT_NAMES, parts, strict=True)}
)
CLASSES = st.dictionaries(
    st.sampled_from(["cat", "dog", "löwe"]),
    st.lists(st.sampled_from([1, 1, 1, 1, 2, 3, 9]), min_size=3, max_size=40),
    min_size=1,
)


@settings(deadline=None, max_examples=150)
@given(CLASSES, FRACTIONS, st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_what_holds_for_any_images(
    classes: dict[str, list[int]], fractions: dict[str, float], seed: int, random: Random
) -> None:
    images = images_of(classes)
    assigned = assign_splits(images, fractions, seed)

    assert certificate(assigned, images)["groups_across_splits"] == 0
    for label, sizes in classes.items():
        counts = counts_of(assigned, label)
        assert sum(counts) == sum(sizes)
        assert min(counts) >= 1
        singles, largest = sizes.count(1), max(sizes)
        shares = [fractions[name] * sum(sizes) for name in SPLIT_NAMES]
        if singles > 3 and (largest == 1 or singles >= 2 * largest) and min(shares) >= 1:
            assert all(abs(count - share) < 1 for count, share in zip(counts, shares, strict=True))

    order = list(range(len(images)))
    random.shuffle(order)
    reordered = assign_splits(images.iloc[order], fractions, seed)
    again = reordered.set_index("path").loc[assigned["path"]].reset_index()
    pd.testing.assert_frame_equal(again[assigned.columns], assigned)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("uvwxyz"), st.sampled_from(["g", "h", None])), max_size=12
    ),
    st.integers(0, 100),
)
def test_copies_tied_in_any_way_never_cross(tied: list[tuple[str, str, str | None]], seed: int) -> None:
    ties = pd.DataFrame(
        [(f"tied/{n}.jpg", *row) for n, row in enumerate(tied)], columns=["path", "label", "md5", "duplicate_group"]
    )
    images = pd.concat([images_of({"a": [1] * 5, "b": [1] * 5}), ties], ignore_index=True).astype("str")
    assert certificate(assign_splits(images, EIGHTY_TEN_TEN, seed), images)["groups_across_splits"] == 0
