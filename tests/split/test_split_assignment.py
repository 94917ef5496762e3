"""Where images go: by the fractions, each class in each split, copies together, the same every time."""

import hashlib
import math
from random import Random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.failures import UserError
from components.formats.splits import SPLIT_NAMES
from components.split.split_assignment import assign_splits, certificate, check_fractions, exact_counts, group_images

EIGHTY_TEN_TEN = {"train": 0.8, "validation": 0.1, "test": 0.1}


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
    ("images", "expected"),
    [
        pytest.param(100, [80, 10, 10], id="exact"),
        pytest.param(10, [8, 1, 1], id="ten"),
        pytest.param(3, [1, 1, 1], id="the fewest"),
        pytest.param(5, [3, 1, 1], id="one each comes first"),
        pytest.param(14, [11, 1, 2], id="remainder to the first in order of ties"),
        pytest.param(17, [13, 2, 2], id="both remainders"),
    ],
)
def test_exact_counts(images: int, expected: list[int]) -> None:
    assert exact_counts(images, EIGHTY_TEN_TEN.values(), ["c", "b", "a"]) == expected


def test_images_go_by_the_fractions_in_the_order_given() -> None:
    images = images_of({"cat": [1] * 40, "dog": [1] * 100})
    assigned = assign_splits(images, EIGHTY_TEN_TEN, seed=1)
    assert list(assigned["path"]) == list(images["path"])
    assert counts_of(assigned, "cat") == [32, 4, 4]
    assert counts_of(assigned, "dog") == [80, 10, 10]
    assert assigned["duplicate_group"].isna().all()


def test_equal_remainders_do_not_always_favour_the_same_split() -> None:
    # 14 images: 11.2 + 1.4 + 1.4, so validation and test compete for the fourteenth in every class.
    assigned = assign_splits(images_of({f"class{n}": [1] * 14 for n in range(40)}), EIGHTY_TEN_TEN, seed=1)
    counts = assigned["split"].value_counts()
    assert counts["train"] == 440
    assert 45 <= counts["validation"] <= 75


def test_copies_are_found_in_every_split() -> None:
    assigned = assign_splits(images_of({"cat": [2] * 100 + [1] * 100, "dog": [1] * 9}), EIGHTY_TEN_TEN, seed=3)
    copies = assigned[assigned["duplicate_group"].notna()]
    assert set(copies["split"]) == set(SPLIT_NAMES)
    assert counts_of(assigned, "cat") == [240, 30, 30]


def test_another_seed_gives_another_assignment() -> None:
    images = images_of({"cat": [1] * 40, "dog": [1] * 40})
    first, second = (assign_splits(images, EIGHTY_TEN_TEN, seed)["split"] for seed in (1, 2))
    assert not first.equals(second)


def test_a_new_image_moves_few_others() -> None:
    images = images_of({"cat": [1] * 200, "dog": [1] * 200})
    before = assign_splits(images[1:], EIGHTY_TEN_TEN, seed=1).set_index("path")["split"]
    after = assign_splits(images, EIGHTY_TEN_TEN, seed=1).set_index("path")["split"]
    assert (after[before.index] != before).sum() <= 2


def test_images_with_equal_bytes_stay_together_though_nobody_named_a_group() -> None:
    images = images_of({"cat": [4] * 10, "dog": [1] * 9}).assign(duplicate_group=None)
    assigned = assign_splits(images, EIGHTY_TEN_TEN, seed=5)
    assert (assigned["split"].groupby(images["md5"]).nunique() == 1).all()
    assert certificate(assigned, images) == {"groups": 10, "images_in_groups": 40, "groups_across_splits": 0}


def test_groups_are_joined_through_digests_and_names() -> None:
    images = pd.DataFrame(
        {
            "md5": ["d", "c", "c", "b", "a", "z"],
            "duplicate_group": ["g1", "g1", "g2", "g2", None, None],
        }
    ).astype("str")
    assert list(group_images(images)) == ["b", "b", "b", "b", "a", "z"]


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
    assert certificate(assigned, images) == {"groups": 2, "images_in_groups": 5, "groups_across_splits": 0}
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
