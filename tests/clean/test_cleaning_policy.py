"""A policy says what to do; one that cannot be followed is refused with the fix."""

from pathlib import Path

import pytest

from components.clean.cleaning_policy import (
    UNDECODABLE,
    cleaning_policy,
    known_checks,
    read_policy_file,
    with_listed_files,
)
from components.failures import UserError


def test_a_check_that_is_not_mentioned_warns() -> None:
    policy = cleaning_policy({"dark": "drop", "bright": "keep"}, [], [])
    assert [policy.action(check) for check in ("dark", "bright", "tiny")] == ["drop", "keep", "warn"]


def test_unreadable_images_are_dropped_unasked() -> None:
    policy = cleaning_policy({}, [], [])
    assert policy.action("unreadable") == "drop"
    assert policy.dropping_checks() == sorted(UNDECODABLE)


def test_every_check_can_be_named() -> None:
    policy = cleaning_policy(dict.fromkeys(known_checks(), "drop"), [], [])
    assert policy.dropping_checks() == sorted(known_checks())


@pytest.mark.parametrize(
    ("actions", "allow", "deny", "message"),
    [
        pytest.param({"dark": "delete"}, [], [], "'delete': use one of drop, keep, warn, fix", id="unknown action"),
        pytest.param({"dark": None}, [], [], "None: use one of drop, keep, warn, fix", id="no action"),
        pytest.param({"exact_duplicates": "drop"}, [], [], "did you mean 'exact_duplicate'", id="misspelt check"),
        pytest.param({"zebra": "drop"}, [], [], "the checks are unreadable, ", id="no such check"),
        pytest.param({"dark": "fix"}, [], [], "no remedy: use drop, keep or warn", id="cannot be fixed"),
        pytest.param({"truncated": "warn"}, [], [], "set it to drop", id="truncated warned"),
        pytest.param({}, [""], [], "no path", id="empty entry"),
        pytest.param({}, [], [7], "deny_list holds 7", id="a number"),
        pytest.param({}, ["@keep.txt"], [], "its absolute path or gs:// URI", id="relative file"),
        pytest.param({"unreadable": "keep"}, [], [], "set it to drop", id="unreadable kept"),
        pytest.param({"unreadable": "warn"}, [], [], "set it to drop", id="unreadable warned"),
        pytest.param({}, ["a/1.jpg"], ["a/1.jpg"], "'a/1.jpg': in both allow_list and deny_list", id="in both lists"),
        pytest.param({}, list("edcba"), list("abcde"), "'a', 'b', 'c' and 2 more: in both", id="at most three named"),
    ],
)
def test_bad_policies_are_refused(actions: dict[str, str], allow: list[str], deny: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cleaning_policy(actions, allow, deny)


def test_every_remedy_can_be_asked_for() -> None:
    checks = ["exif_rotated", "animated", "cmyk", "alpha", "sixteen_bit", "palette", "wrong_extension"]
    policy = cleaning_policy(dict.fromkeys(checks, "fix"), [], [])
    assert [policy.action(check) for check in checks] == ["fix"] * 7


def test_lists_come_from_files_too(tmp_path: Path) -> None:
    file = tmp_path / "keep.txt"
    file.write_text("# seen on Monday\r\ncat/1.jpg\r\n\ncat/with space .jpg\ncat/night-*\n", encoding="utf-8")
    policy = with_listed_files(cleaning_policy({}, [f"@{file}", "cat/9.jpg"], []))
    assert policy.allow_list == {"cat/1.jpg", "cat/with space .jpg", "cat/night-*", "cat/9.jpg"}


def test_a_file_of_a_list_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="keep.txt does not exist"):
        with_listed_files(cleaning_policy({}, [f"@{tmp_path}/keep.txt"], []))
    (tmp_path / "keep.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="no UTF-8 text"):
        with_listed_files(cleaning_policy({}, [f"@{tmp_path}/keep.txt"], []))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("dark: keep\ntiny: drop\n", id="a table"),
        pytest.param("source: x.zip\ncleaning_policy: {dark: keep, tiny: drop}\ndeny_list: [a.jpg]\n", id="a run file"),
    ],
)
def test_a_policy_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    policy = read_policy_file(tmp_path / "policy.yaml")
    assert policy.actions == {"dark": "keep", "tiny": "drop"}
    assert policy.deny_list == ({"a.jpg"} if "deny" in text else frozenset())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("dark: [", "cannot read the policy", id="no YAML"),
        pytest.param("- dark", "is no table", id="a list"),
        pytest.param("", "is no table", id="empty"),
        pytest.param("cleaning_policy: drop", "cleaning_policy in .* is 'drop': write a table", id="no table inside"),
        pytest.param("allow_list: a.jpg", "allow_list in .* is 'a.jpg': write a list", id="no list"),
        pytest.param("darkk: drop", "did you mean 'dark'", id="misspelt"),
    ],
)
def test_bad_policy_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_policy_file(tmp_path / "policy.yaml")


def test_a_missing_policy_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the policy .*No such file"):
        read_policy_file(tmp_path / "policy.yaml")
