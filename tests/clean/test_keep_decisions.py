"""What is kept, what is dropped, and with which reasons."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.clean.cleaning_policy import CleaningPolicy, cleaning_policy
from components.clean.keep_decisions import decide, images_per_reason
from components.failures import UserError
from components.formats.decisions import DECISION_COLUMNS
from tests.clean.tables import catalog_of, distinct_catalog, findings_of

NOTHING = cleaning_policy({}, [], [])
DROP_COPIES = {"exact_duplicate": "drop", "conflicting_label": "drop"}

COPIES = {"cat/long-name.jpg": "x", "cat/b.jpg": "x", "cat/a.jpg": "x", "cat/other.jpg": "y", "dog/1.jpg": "z"}
COPIES_FOUND = [(path, "exact_duplicate", "g1") for path in ("cat/long-name.jpg", "cat/b.jpg", "cat/a.jpg")]


def of_path(decisions: pd.DataFrame, path: str) -> dict[str, Any]:
    row = decisions.set_index("path").loc[path, list(DECISION_COLUMNS)]
    return {name: None if pd.isna(row[name]) else row[name] for name in DECISION_COLUMNS}


def kept_paths(decisions: pd.DataFrame) -> list[str]:
    return list(decisions.loc[decisions["keep"], "path"])


def test_nothing_found_keeps_everything_in_catalog_order() -> None:
    catalog = distinct_catalog("dog/2.jpg", "cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    decisions = decide(catalog, findings_of([]), NOTHING)
    pd.testing.assert_frame_equal(decisions[catalog.columns], catalog)
    assert decisions["keep"].all()
    assert (decisions["reasons"] == "").all()
    assert decisions["kept_twin"].isna().all()
    assert decisions["duplicate_group"].isna().all()
    assert list(decisions.columns[-4:]) == list(DECISION_COLUMNS)


def test_reasons_are_sorted_and_only_checks_to_drop_by_decide() -> None:
    catalog = distinct_catalog("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    found = findings_of([("cat/1.jpg", check) for check in ("tiny", "dark", "dark", "grayscale", "bright")])
    policy = cleaning_policy({"tiny": "drop", "dark": "drop", "grayscale": "keep"}, [], [])
    decisions = decide(catalog, found, policy)
    assert of_path(decisions, "cat/1.jpg")["reasons"] == "dark,tiny"
    assert kept_paths(decisions) == ["cat/2.jpg", "dog/1.jpg"]


def test_of_copies_the_shortest_then_first_path_stays() -> None:
    decisions = decide(catalog_of(COPIES), findings_of(COPIES_FOUND), cleaning_policy(DROP_COPIES, [], []))
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
    decisions = decide(catalog_of(COPIES), findings_of(COPIES_FOUND), NOTHING)
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
    decisions = decide(catalog_of(COPIES), findings_of(found), cleaning_policy(DROP_COPIES, [], []))
    assert kept_paths(decisions) == ["cat/a.jpg", "cat/other.jpg", "dog/1.jpg"]
    assert decisions["duplicate_group"].iloc[:3].nunique() == 1


def test_a_copy_dropped_for_another_reason_is_not_the_one_that_stays() -> None:
    found = findings_of([*COPIES_FOUND, ("cat/a.jpg", "label_mismatch")])
    policy = cleaning_policy({**DROP_COPIES, "label_mismatch": "drop"}, [], [])
    decisions = decide(catalog_of(COPIES), found, policy)
    assert kept_paths(decisions)[0] == "cat/b.jpg"
    assert of_path(decisions, "cat/a.jpg")["reasons"] == "exact_duplicate,label_mismatch"
    assert of_path(decisions, "cat/a.jpg")["kept_twin"] == "cat/b.jpg"


def test_a_denied_copy_is_replaced_by_another() -> None:
    policy = cleaning_policy(DROP_COPIES, [], ["cat/a.jpg", "cat/b.jpg"])
    decisions = decide(catalog_of(COPIES), findings_of(COPIES_FOUND), policy)
    assert kept_paths(decisions)[0] == "cat/long-name.jpg"
    assert of_path(decisions, "cat/a.jpg")["reasons"] == "deny_list,exact_duplicate"


def test_copies_that_are_all_bad_leave_no_twin() -> None:
    found = findings_of([*COPIES_FOUND, *[(row[0], "dark") for row in COPIES_FOUND]])
    decisions = decide(catalog_of(COPIES), found, cleaning_policy({**DROP_COPIES, "dark": "drop"}, [], []))
    assert kept_paths(decisions) == ["cat/other.jpg", "dog/1.jpg"]
    assert of_path(decisions, "cat/a.jpg") == {
        "keep": False,
        "reasons": "dark",
        "kept_twin": None,
        "duplicate_group": "g1",
    }


def test_an_allowed_copy_is_the_one_that_stays() -> None:
    policy = cleaning_policy(DROP_COPIES, ["cat/long-name.jpg"], [])
    decisions = decide(catalog_of(COPIES), findings_of(COPIES_FOUND), policy)
    assert kept_paths(decisions)[0] == "cat/long-name.jpg"
    assert of_path(decisions, "cat/a.jpg")["kept_twin"] == "cat/long-name.jpg"


def test_two_allowed_copies_both_stay() -> None:
    policy = cleaning_policy(DROP_COPIES, ["cat/long-name.jpg", "cat/b.jpg"], [])
    decisions = decide(catalog_of(COPIES), findings_of(COPIES_FOUND), policy)
    assert kept_paths(decisions)[:2] == ["cat/long-name.jpg", "cat/b.jpg"]
    assert of_path(decisions, "cat/long-name.jpg")["reasons"] == "allow_list"
    assert of_path(decisions, "cat/long-name.jpg")["kept_twin"] is None


CONFLICT = {"cat/1.jpg": "x", "dog/1.jpg": "x", "dog/copy.jpg": "x", "cat/2.jpg": "y", "dog/2.jpg": "z"}
CONFLICT_FOUND = findings_of(
    [(path, check, "g") for path in list(CONFLICT)[:3] for check in ("conflicting_label", "exact_duplicate")]
)


def test_images_with_two_labels_are_all_dropped() -> None:
    decisions = decide(catalog_of(CONFLICT), CONFLICT_FOUND, cleaning_policy(DROP_COPIES, [], []))
    assert kept_paths(decisions) == ["cat/2.jpg", "dog/2.jpg"]
    assert set(decisions["reasons"][:3]) == {"conflicting_label"}


def test_dropping_copies_never_decides_about_a_label() -> None:
    policy = cleaning_policy({"exact_duplicate": "drop", "conflicting_label": "warn"}, [], [])
    decisions = decide(catalog_of(CONFLICT), CONFLICT_FOUND, policy)
    assert kept_paths(decisions) == ["cat/1.jpg", "dog/1.jpg", "cat/2.jpg", "dog/2.jpg"]
    assert of_path(decisions, "dog/copy.jpg")["kept_twin"] == "dog/1.jpg"


def test_the_allow_list_settles_which_label_is_right() -> None:
    decisions = decide(catalog_of(CONFLICT), CONFLICT_FOUND, cleaning_policy(DROP_COPIES, ["dog/1.jpg"], []))
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
        decide(catalog, found, policy)
    decisions = decide(distinct_catalog(*catalog["path"], "dog/3.jpg"), found, policy)
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
        decide(distinct_catalog("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"), findings_of(found), policy)


def test_one_class_is_not_a_classification() -> None:
    with pytest.raises(UserError, match="only class 'cat' is left to learn"):
        decide(distinct_catalog("cat/1.jpg", "cat/2.jpg"), findings_of([]), NOTHING)
    with pytest.raises(UserError, match="no class is left to learn"):
        decide(distinct_catalog(), findings_of([]), NOTHING)


def test_findings_about_folders_and_files_outside_the_catalog_decide_nothing() -> None:
    catalog = distinct_catalog("cat/1.jpg", "dog/1.jpg")
    found = findings_of([("cat", "class_imbalance"), ("cat/notes.txt", "unreadable")])
    assert decide(catalog, found, NOTHING)["keep"].all()


# Few enough that copies often have other findings too.
CHECKS = ["unreadable", "exact_duplicate", "conflicting_label", "dark", "tiny", "a_check_of_the_future"]


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
        st.sampled_from(["g1", "g2", None]),
    )
    findings = findings_of(draw(st.lists(row, max_size=40)))
    actions = draw(st.dictionaries(st.sampled_from(CHECKS[1:-1]), st.sampled_from(["drop", "drop", "keep", "warn"])))
    about_folder = set(findings.loc[findings["path"] == "a", "check"])
    actions = {check: action for check, action in actions.items() if check not in about_folder}
    unreadable = set(findings.loc[findings["check"] == "unreadable", "path"])
    allow = draw(st.sets(st.sampled_from(paths)))
    deny = draw(st.sets(st.sampled_from(paths)))
    return catalog, findings, cleaning_policy(actions, allow - unreadable, deny - allow)


@settings(deadline=None, max_examples=150)
@given(cleanings())
def test_what_holds_for_any_findings(cleaning: tuple[pd.DataFrame, pd.DataFrame, CleaningPolicy]) -> None:
    catalog, findings, policy = cleaning
    if (findings.query("path == 'a'")["check"] == "unreadable").any():
        return
    decisions = decide(catalog, findings, policy)
    kept, dropped = decisions[decisions["keep"]], decisions[~decisions["keep"]]

    assert list(decisions["path"]) == list(catalog["path"])
    assert len(kept) + len(dropped) == len(catalog)
    assert (dropped["reasons"] != "").all()
    assert all(reasons == ",".join(sorted(set(reasons.split(",")))) for reasons in decisions["reasons"])
    assert kept["reasons"].isin(["", "allow_list"]).all()
    assert set(policy.allow_list) <= set(kept["path"])
    assert not set(policy.deny_list) & set(kept["path"])
    assert dropped["kept_twin"].dropna().isin(set(kept["path"])).all()
    assert kept["kept_twin"].isna().all()
    if policy.action("exact_duplicate") == "drop":
        flagged = decisions["path"].isin(findings.query("check == 'exact_duplicate'")["path"])
        groups = decisions.loc[flagged, ["duplicate_group", "label"]].dropna().drop_duplicates()
        copies = kept[~kept["path"].isin(policy.allow_list)].merge(groups)
        assert not copies[["duplicate_group", "label"]].duplicated().any()

    shuffled = findings.sample(frac=1, random_state=0).reset_index(drop=True)
    pd.testing.assert_frame_equal(decide(catalog, shuffled, policy), decisions)
