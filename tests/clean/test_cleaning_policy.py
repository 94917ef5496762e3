"""A policy says what to do; one that cannot be followed is refused with the fix."""

import pytest

from components.clean.cleaning_policy import cleaning_policy
from components.failures import UserError
from components.formats.check_names import CHECK_MEANINGS


def test_a_check_that_is_not_mentioned_warns() -> None:
    policy = cleaning_policy({"dark": "drop", "bright": "keep"}, [], [])
    assert [policy.action(check) for check in ("dark", "bright", "tiny")] == ["drop", "keep", "warn"]


def test_unreadable_images_are_dropped_unasked() -> None:
    policy = cleaning_policy({}, [], [])
    assert policy.action("unreadable") == "drop"
    assert policy.dropping_checks() == ["unreadable"]


def test_every_check_can_be_named() -> None:
    policy = cleaning_policy(dict.fromkeys(CHECK_MEANINGS, "drop"), [], [])
    assert policy.dropping_checks() == sorted(CHECK_MEANINGS)


@pytest.mark.parametrize(
    ("actions", "allow", "deny", "message"),
    [
        pytest.param({"dark": "delete"}, [], [], "'delete': use one of drop, keep, warn", id="unknown action"),
        pytest.param({"dark": None}, [], [], "None: use one of drop, keep, warn", id="no action"),
        pytest.param({"exact_duplicates": "drop"}, [], [], "did you mean 'exact_duplicate'", id="misspelt check"),
        pytest.param({"zebra": "drop"}, [], [], "the checks are unreadable, ", id="no such check"),
        pytest.param({"unreadable": "keep"}, [], [], "set it to drop", id="unreadable kept"),
        pytest.param({"unreadable": "warn"}, [], [], "set it to drop", id="unreadable warned"),
        pytest.param({}, ["a/1.jpg"], ["a/1.jpg"], "'a/1.jpg': in both allow_list and deny_list", id="in both lists"),
        pytest.param({}, list("edcba"), list("abcde"), "'a', 'b', 'c' and 2 more: in both", id="at most three named"),
    ],
)
def test_bad_policies_are_refused(actions: dict[str, str], allow: list[str], deny: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cleaning_policy(actions, allow, deny)
