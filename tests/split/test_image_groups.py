"""What ties images together: shared keys, and what a pattern finds in their paths."""

from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.failures import UserError
from components.formats.splits import SPLIT_NAMES
from components.split.image_groups import check_group_pattern, pattern_groups, tied_images
from components.split.split_assignment import assign_splits, certificate

PATHS = pd.Series(["cat/burst7_1.jpg", "dog/burst7_2.jpg", "cat/burst8_1.jpg", "cat/löwe 9.jpg"], dtype="str")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        pytest.param("", [None] * 4, id="no pattern"),
        pytest.param(r"burst\d+", ["burst7", "burst7", "burst8", None], id="the whole match"),
        pytest.param(r"burst(\d+)_", ["7", "7", "8", None], id="the first capture group"),
        pytest.param(r"(?P<id>\d+)_(\d)", ["7", "7", "8", None], id="a named group"),
        pytest.param(r"^(.*/burst\d+)", ["cat/burst7", "dog/burst7", "cat/burst8", None], id="the folder too"),
        pytest.param(r"(?i)BURST\d|löwe", ["burst7", "burst7", "burst8", "löwe"], id="either, whatever the case"),
        pytest.param(r"(\d+)", ["7", "7", "8", "9"], id="the first match"),
        pytest.param(r"(x)?burst7|(9)", None, id="a group that takes part in no match"),
    ],
)
def test_what_a_pattern_finds(pattern: str, found: list[str | None] | None) -> None:
    if found is None:
        with pytest.raises(UserError, match="is found in none of the 4 paths"):
            pattern_groups(PATHS, pattern)
    else:
        groups = pattern_groups(PATHS, pattern)
        assert [None if pd.isna(group) else group for group in groups] == found


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        pytest.param("(", r"group_pattern '\(' is no regular expression .*\(missing \): \(\)", id="parenthesis"),
        pytest.param(r"(?<=a)b", "invalid perl operator", id="look-around"),
        pytest.param(r"(a)\1", "invalid escape", id="back-reference"),
        pytest.param(r"a{1001}", "invalid repetition size", id="repeated too often"),
        pytest.param("a" * 1001, "has 1001 characters", id="long"),
        pytest.param("a\ud800", "no regular expression", id="half a letter"),
    ],
)
def test_wrong_patterns_are_refused_in_a_sentence(pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_group_pattern(pattern)


def test_a_pattern_in_no_path_is_refused() -> None:
    with pytest.raises(UserError, match=r"'animal\\\\d\+' is found in none of the 4 paths, 'cat/burst7_1.jpg' for ex"):
        pattern_groups(PATHS, r"animal\d+")


@pytest.mark.timeout(300)
def test_no_pattern_can_hang_the_step() -> None:
    paths = pd.Series(["a" * 1024 + "!/7.jpg"] * 2000, dtype="str")
    # Each takes a backtracking matcher longer than the universe is old: it would run into the limit of a test.
    for pattern in (r"(a+)+$|(\d)", r"(a|aa)+$|(\d)", r"(.*a){20}$|(\d)"):
        with pytest.raises(UserError, match="found in none"):
            pattern_groups(paths, pattern)


def test_ties_reach_through_others() -> None:
    digests = pd.Series(["d", "c", "c", "b", "a", "z"])
    groups = pd.Series(["g1", "g1", "g2", "g2", None, None])
    assert tied_images(digests, groups).tolist() == [0, 0, 0, 0, 1, 2]


def test_a_long_chain_of_ties_is_one_group_soon() -> None:
    order = np.random.default_rng(1).permutation(200_000)
    assert tied_images(pd.Series(order // 2), pd.Series((order + 1) // 2)).max() == 0


@given(
    st.lists(st.tuples(st.sampled_from([None, *"abcdefgh"]), st.sampled_from([None, *"stuvwxyz"])), max_size=30),
    st.randoms(use_true_random=False),
)
def test_ties_are_the_components_of_the_graph(keys: list[tuple[str | None, str | None]], random: Random) -> None:
    expected = list(range(len(keys)))
    for _ in keys:
        for one, left in enumerate(keys):
            for two, right in enumerate(keys):
                if any(a is not None and a == b for a, b in zip(left, right, strict=True)):
                    expected[one] = expected[two] = min(expected[one], expected[two])
    columns = [pd.Series([row[column] for row in keys], dtype="str") for column in (0, 1)]
    ties = tied_images(*columns)
    assert ties.tolist() == np.unique(expected, return_inverse=True)[1].tolist()


def images(paths: list[str]) -> pd.DataFrame:
    labels = [path.split("/")[0] for path in paths]
    digests = [f"{index:032x}" for index in range(len(paths))]
    return pd.DataFrame({"path": paths, "label": labels, "md5": digests, "duplicate_group": None}).astype("str")


THIRDS = dict.fromkeys(SPLIT_NAMES, 1 / 3)


def test_bursts_stay_together_across_classes_unless_the_folder_is_captured() -> None:
    shots = images(
        [f"{label}/burst{burst}_{shot}.jpg" for label in ("cat", "dog") for burst in range(6) for shot in "ab"]
    )
    together = assign_splits(shots, THIRDS, 3, r"burst(\d+)")
    assert together["split"].groupby(together["pattern_group"]).nunique().eq(1).all()
    assert certificate(together, shots) == {
        "groups": 0,
        "images_in_groups": 0,
        "pattern_groups": 6,
        "images_in_pattern_groups": 24,
        "groups_across_splits": 0,
    }
    apart = assign_splits(shots, THIRDS, 3, r"^(.*burst\d+)")
    assert apart["pattern_group"].nunique() == 12
    assert certificate(apart.assign(split=["train", "test"] * 12), shots)["groups_across_splits"] == 12


def test_copies_and_bursts_are_tied_through_each_other() -> None:
    shots = images([f"cat/burst{burst}_{shot}.jpg" for burst in range(9) for shot in "ab"])
    shots.loc[[1, 2], "duplicate_group"] = "copies"  # of burst 0 and burst 1
    for seed in range(10):
        assigned = assign_splits(shots, THIRDS, seed, r"burst\d+")
        assert assigned["split"][:4].nunique() == 1
        assert list(assigned["duplicate_group"].dropna().index) == [1, 2]


def test_a_pattern_that_ties_a_class_into_too_few_groups_is_named() -> None:
    with pytest.raises(UserError, match="class 'cat' has 8 images, only 2 different groups .*correct group_pattern"):
        assign_splits(images([f"cat/burst{n // 4}_{n}.jpg" for n in range(8)]), THIRDS, 1, r"burst\d+")


def test_a_pattern_that_ties_classes_beyond_hope_is_named() -> None:
    classes = {"a": "123", "b": "124", "c": "134", "d": "234"}
    paths = [f"{label}/{burst}.jpg" for label, bursts in classes.items() for burst in bursts]
    with pytest.raises(UserError, match="let group_pattern capture the class folder too"):
        assign_splits(images(paths), THIRDS, 1, r"\d")
