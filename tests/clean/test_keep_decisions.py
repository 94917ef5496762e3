"""What is kept, what is dropped, and with which reasons."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.clean.cleaning_policy import CleaningPolicy, cleaning_policy
from components.clean.keep_decisions import images_per_reason
from components.failures import UserError
from components.formats.decisions import DECISION_COLUMNS, DETAIL_COLUMNS, IMAGE_ACTIONS
from tests.clean.tables import catalog_of, decided, distinct_catalog, findings_of

NOTHING = cleaning_policy({}, [], [])
DROP_COPIES = {"exact_duplicate": "drop", "conflicting_label": "drop"}

COPIES = {"cat/long-name.jpg": "x", "cat/b.jpg": "x", "cat/a.jpg": "x", "cat/other.jpg": "y", "dog/1.jpg": "z"}
COPIES_FOUND = [(path, "exact_duplicate", "g1") for path in ("cat/long-name.jpg", "cat/b.jpg", "cat/a.jpg")]


def decisions_of(
    catalog: pd.DataFrame, findings: pd.DataFrame, policy: CleaningPolicy, **measured: Any
) -> pd.DataFrame:
    return decided(catalog, findings, policy, **measured).images


def of_path(decisions: pd.DataFrame, path: str) -> dict[str, Any]:
    row = decisions.set_index("path").loc[path, list(DECISION_COLUMNS)]
    return {name: None if pd.isna(row[name]) else row[name] for name in DECISION_COLUMNS}


def kept_paths(decisions: pd.DataFrame) -> list[str]:
    return list(decisions.loc[decisions["keep"], "path"])


def test_nothing_found_keeps_everything_in_catalog_order() -> None:
    catalog = distinct_catalog("dog/2.jpg", "cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    decisions = decisions_of(catalog, findings_of([]), NOTHING)
    pd.testing.assert_frame_equal(decisions[catalog.columns], catalog)
    assert decisions["keep"].all()
    assert (decisions["reasons"] == "").all()
    assert decisions["kept_twin"].isna().all()
    assert decisions["duplicate_group"].isna().all()
    assert list(decisions.columns) == [*catalog.columns, *DECISION_COLUMNS, *DETAIL_COLUMNS]


def test_reasons_are_sorted_and_only_checks_to_drop_by_decisions_of() -> None:
    catalog = distinct_catalog("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    found = findings_of([("cat/1.jpg", check) for check in ("tiny", "dark", "dark", "grayscale", "bright")])
    policy = cleaning_policy({"tiny": "drop", "dark": "drop", "grayscale": "keep"}, [], [])
    decisions = decisions_of(catalog, found, policy)
    assert of_path(decisions, "cat/1.jpg")["reasons"] == "dark,tiny"
    assert kept_paths(decisions) == ["cat/2.jpg", "dog/1.jpg"]


def test_of_copies_the_shortest_then_first_path_stays() -> None:
    decisions = decisions_of(catalog_of(COPIES), findings_of(COPIES_FOUND), cleaning_policy(DROP_COPIES, [], []))
    assert kept_paths(decisions) == ["cat/a.jpg", "cat/other.jpg", "dog/1.jpg"]
    assert of_path(decisions, "cat/b.jpg") == {
        "keep": False,
        "reasons": "exact_duplicate",
        "kept_twin": "cat/a.jpg",
        "duplicate_group": "g1",
    }
    assert of_path(decisions, "cat/a.jpg") == {
        "keep": True,
        "reasons": "",
        "kept_twin": None,
        "duplicate_group": "g1",
    }


def test_copies_that_are_all_kept_still_know_their_group() -> None:
    decisions = decisions_of(catalog_of(COPIES), findings_of(COPIES_FOUND), NOTHING)
    assert decisions["keep"].all()
    assert list(decisions["duplicate_group"].fillna("-")) == ["g1", "g1", "g1", "-", "-"]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(COPIES_FOUND[:2], id="one copy not named"),
        pytest.param([row[:2] for row in COPIES_FOUND], id="no group given"),
    ],
)
def test_the_digest_completes_a_group(found: list[tuple[str, str]]) -> None:
    decisions = decisions_of(catalog_of(COPIES), findings_of(found), cleaning_policy(DROP_COPIES, [], []))
    assert kept_paths(decisions) == ["cat/a.jpg", "cat/other.jpg", "dog/1.jpg"]
    assert decisions["duplicate_group"].iloc[:3].nunique() == 1


def test_a_copy_dropped_for_another_reason_is_not_the_one_that_stays() -> None:
    found = findings_of([*COPIES_FOUND, ("cat/a.jpg", "label_mismatch")])
    policy = cleaning_policy({**DROP_COPIES, "label_mismatch": "drop"}, [], [])
    decisions = decisions_of(catalog_of(COPIES), found, policy)
    assert kept_paths(decisions)[0] == "cat/b.jpg"
    assert of_path(decisions, "cat/a.jpg")["reasons"] == "exact_duplicate,label_mismatch"
    assert of_path(decisions, "cat/a.jpg")["kept_twin"] == "cat/b.jpg"


def test_a_denied_copy_is_replaced_by_another() -> None:
    policy = cleaning_policy(DROP_COPIES, [], ["cat/a.jpg", "cat/b.jpg"])
    decisions = decisions_of(catalog_of(COPIES), findings_of(COPIES_FOUND), policy)
    assert kept_paths(decisions)[0] == "cat/long-name.jpg"
    assert of_path(decisions, "cat/a.jpg")["reasons"] == "deny_list,exact_duplicate"


def test_copies_that_are_all_bad_leave_no_twin() -> None:
    found = findings_of([*COPIES_FOUND, *[(row[0], "dark") for row in COPIES_FOUND]])
    decisions = decisions_of(catalog_of(COPIES), found, cleaning_policy({**DROP_COPIES, "dark": "drop"}, [], []))
    assert kept_paths(decisions) == ["cat/other.jpg", "dog/1.jpg"]
    assert of_path(decisions, "cat/a.jpg") == {
        "keep": False,
        "reasons": "dark",
        "kept_twin": None,
        "duplicate_group": "g1",
    }


def test_an_allowed_copy_is_the_one_that_stays() -> None:
    policy = cleaning_policy(DROP_COPIES, ["cat/long-name.jpg"], [])
    decisions = decisions_of(catalog_of(COPIES), findings_of(COPIES_FOUND), policy)
    assert kept_paths(decisions)[0] == "cat/long-name.jpg"
    assert of_path(decisions, "cat/a.jpg")["kept_twin"] == "cat/long-name.jpg"


def test_two_allowed_copies_both_stay() -> None:
    policy = cleaning_policy(DROP_COPIES, ["cat/long-name.jpg", "cat/b.jpg"], [])
    decisions = decisions_of(catalog_of(COPIES), findings_of(COPIES_FOUND), policy)
    assert kept_paths(decisions)[:2] == ["cat/long-name.jpg", "cat/b.jpg"]
    assert of_path(decisions, "cat/long-name.jpg")["reasons"] == "allow_list"
    assert of_path(decisions, "cat/long-name.jpg")["kept_twin"] is None


CONFLICT = {"cat/1.jpg": "x", "dog/1.jpg": "x", "dog/copy.jpg": "x", "cat/2.jpg": "y", "dog/2.jpg": "z"}
CONFLICT_FOUND = findings_of(
    [(path, check, "g") for path in list(CONFLICT)[:3] for check in ("conflicting_label", "exact_duplicate")]
)


def test_images_with_two_labels_are_all_dropped() -> None:
    decisions = decisions_of(catalog_of(CONFLICT), CONFLICT_FOUND, cleaning_policy(DROP_COPIES, [], []))
    assert kept_paths(decisions) == ["cat/2.jpg", "dog/2.jpg"]
    assert set(decisions["reasons"][:3]) == {"conflicting_label"}


def test_dropping_copies_never_decides_about_a_label() -> None:
    policy = cleaning_policy({"exact_duplicate": "drop", "conflicting_label": "warn"}, [], [])
    decisions = decisions_of(catalog_of(CONFLICT), CONFLICT_FOUND, policy)
    assert kept_paths(decisions) == ["cat/1.jpg", "dog/1.jpg", "cat/2.jpg", "dog/2.jpg"]
    assert of_path(decisions, "dog/copy.jpg")["kept_twin"] == "dog/1.jpg"


def test_the_allow_list_settles_which_label_is_right() -> None:
    decisions = decisions_of(catalog_of(CONFLICT), CONFLICT_FOUND, cleaning_policy(DROP_COPIES, ["dog/1.jpg"], []))
    assert kept_paths(decisions) == ["dog/1.jpg", "cat/2.jpg", "dog/2.jpg"]
    assert of_path(decisions, "dog/1.jpg")["reasons"] == "allow_list"
    assert of_path(decisions, "cat/1.jpg")["reasons"] == "conflicting_label"
    assert of_path(decisions, "dog/copy.jpg")["reasons"] == "conflicting_label,exact_duplicate"


def test_lists_overrule_checks() -> None:
    catalog = distinct_catalog("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")
    found = findings_of([("cat/1.jpg", "dark"), ("dog/1.jpg", "dark")])
    policy = cleaning_policy({"dark": "drop"}, ["cat/1.jpg", "cat/2.jpg"], ["dog/2.jpg"])
    with pytest.raises(
        UserError, match=r"all 2 images of class 'dog', because of dark \(1\), deny_list \(1\): .*allow"
    ):
        decisions_of(catalog, found, policy)
    decisions = decisions_of(distinct_catalog(*catalog["path"], "dog/3.jpg"), found, policy)
    assert list(decisions["reasons"]) == ["allow_list", "", "dark", "deny_list", ""]
    assert images_per_reason(decisions) == {"dark": 1, "deny_list": 1}


@pytest.mark.parametrize(
    ("found", "policy", "message"),
    [
        pytest.param([], cleaning_policy({}, ["cat/9.jpg"], []), "allow_list names 'cat/9.jpg', not in", id="allow"),
        pytest.param([], cleaning_policy({}, [], list("abcd")), "deny_list names 'a', 'b', 'c' and 1 more", id="deny"),
        pytest.param(
            [("cat/1.jpg", "unreadable")],
            cleaning_policy({}, ["cat/1.jpg"], []),
            "allow_list names 'cat/1.jpg', which cannot be decoded",
            id="unreadable allowed",
        ),
        pytest.param(
            [("cat/1.jpg", "unreadable"), ("cat/2.jpg", "unreadable")],
            NOTHING,
            r"all 2 images of class 'cat', because of unreadable \(2\): replace its files or remove",
            id="class of unreadable files",
        ),
        pytest.param(
            [(path, "dark") for path in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")],
            cleaning_policy({"dark": "drop"}, [], []),
            r"class 'cat' \(and of 1 more\), because of dark \(2\): set these checks to warn",
            id="everything dropped",
        ),
        pytest.param(
            [("dog", "near_empty_class")],
            cleaning_policy({"near_empty_class": "drop"}, [], []),
            "'near_empty_class', which was found for the folder 'dog'",
            id="a folder is no image",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(found: list[tuple[str, str]], policy: CleaningPolicy, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decisions_of(distinct_catalog("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"), findings_of(found), policy)


def test_one_class_is_not_a_classification() -> None:
    with pytest.raises(UserError, match="only class 'cat' is left to learn"):
        decisions_of(distinct_catalog("cat/1.jpg", "cat/2.jpg"), findings_of([]), NOTHING)
    with pytest.raises(UserError, match="no class is left to learn"):
        decisions_of(distinct_catalog(), findings_of([]), NOTHING)


def test_findings_about_folders_and_files_outside_the_catalog_decide_nothing() -> None:
    catalog = distinct_catalog("cat/1.jpg", "dog/1.jpg")
    found = findings_of([("cat", "class_imbalance"), ("cat/notes.txt", "unreadable")])
    assert decisions_of(catalog, found, NOTHING)["keep"].all()


def copies_of_any_size(names: list[str]) -> pd.DataFrame:
    """Different bytes throughout: copies only by what findings say."""
    return distinct_catalog(*names, "cat/other.jpg", "dog/other.jpg")


def group_of(names: list[str], check: str, group: str = "g") -> list[tuple[str, ...]]:
    return [(name, check, group) for name in names]


NEAR = ["cat/a.jpg", "cat/bb.jpg", "cat/ccc.jpg"]


@pytest.mark.parametrize("check", ["exact_duplicate", "identical_pixels", "near_duplicate"])
@pytest.mark.parametrize(
    ("measured", "sizes", "kept"),
    [
        pytest.param({"width_px": [9, 9, 10, 9, 9], "height_px": 9}, [1] * 5, "cat/ccc.jpg", id="resolution"),
        pytest.param(
            {"width_px": [6, 9, 4, 9, 9], "height_px": [6, 4, 8, 9, 9]}, [1, 2, 9, 1, 1], "cat/bb.jpg", id="size"
        ),
        pytest.param({"width_px": 9}, [5, 5, 5, 5, 5], "cat/a.jpg", id="path"),
    ],
)
def test_which_copy_stays(check: str, measured: dict[str, Any], sizes: list[int], kept: str) -> None:
    catalog = copies_of_any_size(NEAR).assign(size_bytes=sizes)
    decisions = decisions_of(
        catalog, findings_of(group_of(NEAR, check)), cleaning_policy({check: "drop"}, [], []), **measured
    )
    assert kept_paths(decisions) == [kept, "cat/other.jpg", "dog/other.jpg"]
    assert list(decisions["kept_twin"].dropna()) == [kept, kept]


def test_an_allowed_copy_stays_though_it_is_small() -> None:
    catalog = copies_of_any_size(NEAR)
    policy = cleaning_policy({"near_duplicate": "drop"}, ["cat/bb.jpg"], [])
    decisions = decisions_of(
        catalog, findings_of(group_of(NEAR, "near_duplicate")), policy, width_px=[100, 10, 100, 9, 9]
    )
    assert kept_paths(decisions)[0] == "cat/bb.jpg"


@pytest.mark.parametrize("action", ["warn", "keep"])
def test_a_sharp_copy_wins_over_a_larger_blurred_one_unless_blur_is_fine(action: str) -> None:
    catalog = copies_of_any_size(NEAR)
    largest, sharp, smallest = list(catalog["path"][:3])
    found = [*group_of(NEAR, "near_duplicate"), (largest, "blurry")]
    policy = cleaning_policy({"near_duplicate": "drop", "blurry": action}, [], [])
    decisions = decisions_of(catalog, findings_of(found), policy, width_px=[100, 50, 10, 9, 9])
    assert kept_paths(decisions)[0] == (sharp if action == "warn" else largest)
    assert smallest not in kept_paths(decisions)


def test_groups_of_different_checks_that_overlap_are_one() -> None:
    names = [f"cat/{letter}.jpg" for letter in "abcd"]
    found = findings_of(
        [
            *group_of(names[:2], "exact_duplicate", "g1"),
            *group_of(names[1:3], "near_duplicate", "g2"),
            (names[2], "identical_pixels", None, names[3]),
        ]
    )
    drop = dict.fromkeys(("exact_duplicate", "near_duplicate", "identical_pixels"), "drop")
    decisions = decisions_of(copies_of_any_size(names), found, cleaning_policy(drop, [], []))
    assert kept_paths(decisions) == ["cat/a.jpg", "cat/other.jpg", "dog/other.jpg"]
    assert list(decisions["reasons"][:4]) == [
        "",
        "exact_duplicate,near_duplicate",
        "identical_pixels,near_duplicate",
        "identical_pixels",
    ]
    assert set(decisions["duplicate_group"][:4]) == {"g1"}


def test_groups_that_the_policy_keeps_stay_together_and_drop_nothing() -> None:
    names = [f"cat/{letter}.jpg" for letter in "abcd"]
    found = findings_of([*group_of(names[:2], "exact_duplicate", "g1"), *group_of(names[1:], "near_duplicate", "g2")])
    policy = cleaning_policy({"exact_duplicate": "drop", "near_duplicate": "keep"}, [], [])
    decisions = decisions_of(copies_of_any_size(names), found, policy)
    assert kept_paths(decisions)[:3] == ["cat/a.jpg", "cat/c.jpg", "cat/d.jpg"]
    assert set(decisions["duplicate_group"][:4]) == {"g1"}


def test_near_copies_under_two_labels_are_all_in_quarantine() -> None:
    catalog = catalog_of(
        {"cat/1.jpg": "x", "cat/1 copy.jpg": "x", "dog/1.jpg": "y", "cat/2.jpg": "z", "dog/2.jpg": "w"}
    )
    found = findings_of(group_of(["cat/1.jpg", "dog/1.jpg"], "near_conflicting_label"))
    both = {"near_conflicting_label": "drop", "near_duplicate": "drop"}
    decisions = decisions_of(catalog, found, cleaning_policy(both, [], []))
    assert list(decisions["action"]) == ["quarantine", "quarantine", "quarantine", "keep", "keep"]
    settled = decisions_of(catalog, found, cleaning_policy(both, ["dog/1.jpg"], []))
    assert list(settled["action"]) == ["quarantine", "quarantine", "keep", "keep", "keep"]
    warned = decisions_of(catalog, found, cleaning_policy({"near_conflicting_label": "warn"}, [], []))
    assert warned["keep"].all()
    assert warned["duplicate_group"].iloc[:3].nunique() == 1, "split still keeps them together"


def test_a_conflict_of_the_same_bytes_leaves_near_copies_alone() -> None:
    catalog = catalog_of({"cat/1.jpg": "x", "dog/1.jpg": "x", "cat/2.jpg": "y", "cat/3.jpg": "z", "dog/2.jpg": "w"})
    found = findings_of(
        [
            *group_of(["cat/1.jpg", "dog/1.jpg"], "conflicting_label", "x"),
            *group_of(["cat/1.jpg", "cat/2.jpg"], "near_duplicate", "n"),
        ]
    )
    policy = cleaning_policy({"conflicting_label": "drop", "near_duplicate": "drop"}, [], [])
    assert kept_paths(decisions_of(catalog, found, policy)) == ["cat/2.jpg", "cat/3.jpg", "dog/2.jpg"]


def test_fixes_are_noted_on_kept_images_only() -> None:
    catalog = distinct_catalog("cat/1.jpg", "cat/2.png", "cat/3.jpg", "dog/1.jpg", "dog/2.jpg")
    found = findings_of(
        [
            *[("cat/1.jpg", check) for check in ("exif_rotated", "cmyk", "grayscale")],
            ("cat/2.png", "wrong_extension"),
            ("cat/3.jpg", "alpha"),
            ("dog/1.jpg", "exif_rotated"),
            ("dog/1.jpg", "dark"),
        ]
    )
    actions = {"exif_rotated": "fix", "cmyk": "fix", "wrong_extension": "fix", "alpha": "warn", "dark": "drop"}
    both = decided(catalog, found, cleaning_policy(actions, [], []))
    assert list(both.images["action"]) == ["fix", "fix", "keep", "drop", "keep"]
    assert list(both.images["fixes"]) == ["cmyk,exif_rotated", "wrong_extension", "", "", ""]
    assert (both.images["reasons"] == ["", "", "", "dark", ""]).all()
    remedies = both.reasons.set_index(["path", "check"])["remedy"].dropna().to_dict()
    assert remedies == {
        ("cat/1.jpg", "exif_rotated"): "turned upright",
        ("cat/1.jpg", "cmyk"): "converted to RGB",
        ("cat/2.png", "wrong_extension"): "read as JPEG, as cat/2.jpg would say",
    }
    effects = both.reasons.set_index(["path", "check"])["effect"]
    assert effects[("cat/3.jpg", "alpha")] == "warn"
    assert effects[("dog/1.jpg", "exif_rotated")] == "none"


def test_every_reason_has_its_row_with_what_was_measured() -> None:
    found = findings_of([*COPIES_FOUND, ("cat/b.jpg", "dark"), ("cat/other.jpg", "tiny"), ("cat/other.jpg", "dark")])
    found = found.assign(measured=[3.0, 3.0, 3.0, 31.5, 20.0, 12.0], threshold=[1.0, 1.0, 1.0, 40.0, 32.0, 40.0])
    policy = cleaning_policy({**DROP_COPIES, "dark": "drop"}, ["cat/other.jpg"], [])
    both = decided(catalog_of(COPIES | {"cat/fine.jpg": "q"}), found, policy)
    columns = ["path", "check", "policy", "effect", "measured", "threshold", "kept_twin"]
    rows = both.reasons[columns].astype(object).where(both.reasons[columns].notna(), None)
    assert [tuple(row) for row in rows.itertuples(index=False, name=None)] == [
        ("cat/long-name.jpg", "exact_duplicate", "drop", "drop", 3.0, 1.0, "cat/a.jpg"),
        ("cat/b.jpg", "exact_duplicate", "drop", "drop", 3.0, 1.0, "cat/a.jpg"),
        ("cat/b.jpg", "dark", "drop", "drop", 31.5, 40.0, None),
        ("cat/a.jpg", "exact_duplicate", "drop", "kept_copy", 3.0, 1.0, None),
        ("cat/other.jpg", "allow_list", "keep", "keep", None, None, None),
        ("cat/other.jpg", "dark", "drop", "overruled", 12.0, 40.0, None),
        ("cat/other.jpg", "tiny", "warn", "warn", 20.0, 32.0, None),
    ]
    row = both.images.set_index("path").loc["cat/b.jpg"]
    assert (row["check"], row["measured"], row["threshold"]) == ("exact_duplicate", 3.0, 1.0)
    assert both.images.set_index("path").loc["cat/other.jpg", "check"] == "allow_list"


def test_lists_take_globs_and_a_path_wins_over_a_glob() -> None:
    catalog = distinct_catalog("cat/1.jpg", "cat/2.jpg", "cat/deep/3.jpg", "cat/[4].jpg", "cat/5.jpg", "dog/1.jpg")
    found = findings_of([("cat/2.jpg", "dark"), ("cat/[4].jpg", "dark"), ("cat/5.jpg", "truncated")])
    policy = cleaning_policy({"dark": "drop"}, ["cat/*", "cat/[4].jpg"], ["cat/1.jpg", "*/deep/*"])
    with pytest.raises(UserError, match="'cat/deep/3.jpg': in both allow_list and deny_list"):
        decisions_of(catalog, found, policy)
    policy = cleaning_policy({"dark": "drop"}, ["cat/*", "cat/[4].jpg"], ["cat/1.jpg"])
    decisions = decisions_of(catalog, found, policy)
    assert list(decisions["keep"]) == [False, True, True, True, False, True], "no glob keeps what cannot be decoded"


def test_a_damaged_image_comes_back_by_its_path_alone() -> None:
    catalog = distinct_catalog("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    found = findings_of([("cat/1.jpg", "corrupt")])
    assert not decisions_of(catalog, found, cleaning_policy({"corrupt": "drop"}, ["cat/*"], []))["keep"].all()
    assert decisions_of(catalog, found, cleaning_policy({"corrupt": "drop"}, ["cat/1.jpg"], []))["keep"].all()


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        pytest.param("CAT/1.jpg", "did you mean 'cat/1.jpg'", id="case"),
        pytest.param("1.jpg", "did you mean 'cat/1.jpg', 'dog/1.jpg'", id="no folder"),
        pytest.param("dog/lakelnd.jpg", "did you mean 'dog/lakeland.jpg'", id="misspelt"),
        pytest.param("bird/*", "names 'bird/\\*', not in the catalog: write paths", id="glob of nothing"),
    ],
)
def test_unknown_paths_are_told_with_their_neighbours(entry: str, hint: str) -> None:
    catalog = distinct_catalog("cat/1.jpg", "dog/1.jpg", "dog/lakeland.jpg")
    with pytest.raises(UserError, match=hint):
        decisions_of(catalog, findings_of([]), cleaning_policy({}, [entry], []))


# Few enough that copies often have other findings too.
CHECKS = [
    "unreadable", "exact_duplicate", "conflicting_label", "near_duplicate", "near_conflicting_label",
    "identical_pixels", "dark", "cmyk", "a_check_of_the_future",
]  # fmt: skip


@st.composite
def cleanings(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame, CleaningPolicy]:
    """Any catalog, any findings about it, and any policy with any lists."""
    paths = draw(st.lists(st.sampled_from([f"{c}/{n}.jpg" for c in "ab" for n in range(8)]), unique=True, min_size=2))
    digests = draw(st.lists(st.sampled_from("uvwxyz"), min_size=len(paths), max_size=len(paths)))
    # One image per class that nothing is said about: decide refuses to empty a class.
    catalog = catalog_of(dict(zip(paths, digests, strict=True)) | {"a/safe.jpg": "safe-a", "b/safe.jpg": "safe-b"})
    row = st.tuples(
        st.sampled_from([*paths, "a", "elsewhere/1.jpg"]),
        st.sampled_from(CHECKS),
        st.sampled_from(["g1", "g2", "g3", None]),
        st.sampled_from([*paths, None, None, None, None]),
    )
    findings = findings_of(draw(st.lists(row, max_size=40)))
    wishes = st.sampled_from(["drop", "drop", "keep", "warn"])
    actions = draw(st.dictionaries(st.sampled_from(CHECKS[1:-1]), wishes))
    if draw(st.booleans()):
        actions["cmyk"] = "fix"
    about_folder = set(findings.loc[findings["path"] == "a", "check"])
    actions = {check: action for check, action in actions.items() if check not in about_folder}
    unreadable = set(findings.loc[findings["check"] == "unreadable", "path"])
    allow = draw(st.sets(st.sampled_from(paths)))
    deny = draw(st.sets(st.sampled_from(paths)))
    return catalog, findings, cleaning_policy(actions, allow - unreadable, deny - allow)


@settings(deadline=None, max_examples=60)
@given(cleanings())
def test_what_holds_for_any_findings(cleaning: tuple[pd.DataFrame, pd.DataFrame, CleaningPolicy]) -> None:
    catalog, findings, policy = cleaning
    if (findings.query("path == 'a'")["check"] == "unreadable").any():
        return
    both = decided(catalog, findings, policy)
    decisions, reasons = both.images, both.reasons
    kept, dropped = decisions[decisions["keep"]], decisions[~decisions["keep"]]

    assert list(decisions["path"]) == list(catalog["path"])
    actions = decisions["action"].value_counts()
    assert sum(int(actions.get(action, 0)) for action in IMAGE_ACTIONS) == len(catalog)
    assert decisions["keep"].equals(decisions["action"].isin(["keep", "fix"]))
    assert (dropped["reasons"] != "").all()
    assert all(joined == ",".join(sorted(set(joined.split(",")))) for joined in decisions["reasons"])
    assert kept["reasons"].isin(["", "allow_list"]).all()
    assert set(policy.allow_list) <= set(kept["path"])
    assert not set(policy.deny_list) & set(kept["path"])
    assert dropped["kept_twin"].dropna().isin(set(kept["path"])).all()
    assert kept["kept_twin"].isna().all()

    of_images = findings[findings["path"].isin(catalog["path"])]
    assert set(zip(of_images["path"], of_images["check"], strict=True)) <= set(
        zip(reasons["path"], reasons["check"], strict=True)
    ), "every finding about an image has its row"
    assert not reasons[["path", "check"]].duplicated().any()
    against = reasons[reasons["effect"].isin(["drop", "quarantine"])].groupby("path")["check"]
    joined = against.agg(lambda checks: ",".join(sorted(checks)))
    assert joined.to_dict() == dropped.set_index("path")["reasons"].to_dict()

    for check in ("exact_duplicate", "identical_pixels", "near_duplicate"):
        if policy.action(check) != "drop":
            continue
        rows = of_images[(of_images["check"] == check) & of_images["group"].notna()]
        copies = kept[~kept["path"].isin(policy.allow_list)].merge(rows[["path", "group"]].drop_duplicates())
        assert not copies[["group", "label"]].duplicated().any(), "one of a group and label stays"
    tied = of_images[of_images["check"].isin(CHECKS[1:6]) & of_images["group"].notna()]
    groups = tied.merge(decisions[["path", "duplicate_group"]]).groupby("group")["duplicate_group"]
    assert groups.agg(lambda names: names.nunique(dropna=False)).eq(1).all(), "a group stays whole for the split"
    digests = decisions[decisions["md5"].duplicated(keep=False)].groupby("md5")["duplicate_group"]
    assert digests.nunique(dropna=False).eq(1).all()
    if policy.action("near_conflicting_label") == "drop":
        disputed = set(of_images.loc[of_images["check"] == "near_conflicting_label", "path"])
        named = decisions.loc[decisions["path"].isin(disputed), "duplicate_group"]
        assert not (
            set(decisions.loc[decisions["duplicate_group"].isin(named) & decisions["keep"], "path"]) - policy.allow_list
        )

    shuffled = findings.sample(frac=1, random_state=0).reset_index(drop=True)
    again = decided(catalog, shuffled, policy)
    pd.testing.assert_frame_equal(again.images, decisions)
    pd.testing.assert_frame_equal(again.reasons, reasons)
