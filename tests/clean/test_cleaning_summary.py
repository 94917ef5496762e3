"""The summary says what was dropped and why, and shows any name as it is."""

import re

import pytest

from components.clean.cleaning_policy import cleaning_policy
from components.clean.cleaning_summary import LISTED_IMAGES, escape, summary_markdown
from components.clean.keep_decisions import decide
from tests.clean.tables import catalog_of, distinct_catalog, findings_of


def test_it_counts_classes_checks_and_names_twins() -> None:
    catalog = catalog_of({"cat/1.jpg": "x", "cat/2.jpg": "x", "cat/3.jpg": "y", "dog/1.jpg": "z", "dog/2.jpg": "q"})
    found = findings_of(
        [("cat/1.jpg", "exact_duplicate", "g"), ("cat/2.jpg", "exact_duplicate", "g"), ("dog/1.jpg", "dark")]
    )
    policy = cleaning_policy({"exact_duplicate": "drop", "bright": "keep"}, ["dog/1.jpg"], ["dog/2.jpg"])
    text = summary_markdown(decide(catalog, found, policy), found, policy)
    assert "**3 of 5 images are kept, 2 are dropped.**" in text
    assert "| cat | 3 | 2 | 1 |" in text
    assert re.search(
        r"\| exact\\_duplicate \| drop \| 2 \| 1 \| another image of the class has the same bytes \|", text
    )
    assert re.search(r"\| dark \| warn \\?\(not in the policy\\?\) \| 1 \| 0 \|", text)
    assert re.search(r"\| bright \| keep \| 0 \| 0 \|", text)
    assert r"| cat/2.jpg | exact\_duplicate | cat/1.jpg |" in text
    assert r"| dog/2.jpg | deny\_list |  |" in text


def test_it_lists_the_first_dropped_images_only() -> None:
    paths = [f"cat/{number:03d}.jpg" for number in range(60)]
    catalog = distinct_catalog("cat/fine.jpg", "dog/fine.jpg", *paths)
    found = findings_of([(path, "dark") for path in paths])
    policy = cleaning_policy({"dark": "drop"}, [], [])
    text = summary_markdown(decide(catalog, found, policy), found, policy)
    assert f"(first {LISTED_IMAGES} of 60)" in text
    assert text.count("| dark |  |") == LISTED_IMAGES


def test_it_is_short_when_nothing_was_found() -> None:
    catalog = distinct_catalog("cat/1.jpg", "dog/1.jpg")
    policy = cleaning_policy({}, [], [])
    text = summary_markdown(decide(catalog, findings_of([]), policy), findings_of([]), policy)
    assert "No check found anything." in text
    assert "Dropped images" not in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("plain-name/1.jpg", "plain-name/1.jpg", id="plain"),
        pytest.param("a|b", r"a\|b", id="pipe"),
        pytest.param("`x`", r"\`x\`", id="backticks"),
        pytest.param("<img src=x onerror=y>", r"\<img src\=x onerror\=y\>", id="html"),
        pytest.param("[a](http://b)", r"\[a\]\(http://b\)", id="link"),
        pytest.param("a\nb\tc", "a\\\\nb\\\\tc", id="newline and tab"),
        pytest.param("*_~\\", r"\*\_\~\\", id="emphasis and backslash"),
        pytest.param("löwe/猫.jpg", "löwe/猫.jpg", id="other alphabets"),
        pytest.param("a\u202egpj", "a\\\\u202egpj", id="text direction override"),
    ],
)
def test_hostile_names_are_shown_as_they_are(name: str, shown: str) -> None:
    assert escape(name) == shown


def test_a_hostile_name_cannot_break_the_table() -> None:
    catalog = distinct_catalog("cat/a|b\n<script>`.jpg", "cat/1.jpg", "dog|x/1.jpg")
    found = findings_of([("cat/a|b\n<script>`.jpg", "dark")])
    policy = cleaning_policy({"dark": "drop"}, [], [])
    text = summary_markdown(decide(catalog, found, policy), found, policy)
    assert not re.search(r"(?<!\\)<", text)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {4, 5, 6}
