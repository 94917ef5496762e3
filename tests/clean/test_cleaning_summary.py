"""The summary says what was dropped and why, and shows any name as it is."""

import re
from pathlib import Path

import pandas as pd
import pytest

from components.clean.cleaning_policy import CleaningPolicy, cleaning_policy, with_listed_files
from components.clean.cleaning_summary import LISTED_CLASSES, dropped_lines, escape, summary_markdown
from components.clean.keep_decisions import Decided
from tests.clean.tables import catalog_of, decided, distinct_catalog, findings_of


def summary_of(decision: Decided, findings: pd.DataFrame, policy: CleaningPolicy) -> str:
    return summary_markdown(decision, findings, policy, earlier=None, changes=None, earlier_findings=None)


def test_it_counts_classes_checks_and_names_twins() -> None:
    catalog = catalog_of({"cat/1.jpg": "x", "cat/2.jpg": "x", "cat/3.jpg": "y", "dog/1.jpg": "z", "dog/2.jpg": "q"})
    found = findings_of(
        [("cat/1.jpg", "exact_duplicate", "g"), ("cat/2.jpg", "exact_duplicate", "g"), ("dog/1.jpg", "dark")]
    )
    policy = cleaning_policy({"exact_duplicate": "drop", "bright": "keep"}, ["dog/1.jpg"], ["dog/2.jpg"])
    text = summary_of(decided(catalog, found, policy), found, policy)
    assert "**3 of 5 images are kept, 2 are dropped.**" in text
    assert "| keep | 3 | 60.0% | kept as they are |" in text
    assert "| all | 5 | 100.0% |" in text
    assert "| cat | 3 | 2 | 1 | 33.3% |" in text
    row = r"\| exact\\_duplicate \| drop \| 2 \| 1 \|  \|  \|  \|  \| another image of the class has the same bytes"
    assert re.search(row, text)
    assert re.search(r"\| dark \| warn \\?\(not in the policy\\?\) \| 1 \|  \|  \|  \| 1 \|  \|", text)
    assert "Found nothing: unreadable" not in text
    assert re.search(r"Found nothing: .*bright", text)
    assert r"| exact\_duplicate | cat/2.jpg |  | kept: cat/1.jpg |" in text
    assert r"| deny\_list | dog/2.jpg |  |  |" in text


def test_examples_are_few_and_the_closest_calls() -> None:
    paths = [f"cat/{number:03d}.jpg" for number in range(60)]
    catalog = distinct_catalog("cat/fine.jpg", "dog/fine.jpg", *paths)
    found = findings_of([(path, "dark") for path in paths])
    found = found.assign(measured=[39.5 if path == "cat/047.jpg" else 3.0 for path in paths], threshold=40.0)
    policy = cleaning_policy({"dark": "drop"}, [], [])
    text = summary_of(decided(catalog, found, policy), found, policy)
    examples = re.findall(r"\| dark \| (\S+) \| (\S+) \\\(limit 40\\\) \|", text)
    assert examples == [("cat/047.jpg", "39.5"), ("cat/000.jpg", "3"), ("cat/001.jpg", "3")]


def test_fixes_and_quarantine_are_told() -> None:
    catalog = catalog_of({"cat/1.jpg": "x", "dog/1.jpg": "x", "cat/2.jpg": "y", "cat/3.jpg": "u", "dog/2.jpg": "z"})
    found = findings_of(
        [("cat/1.jpg", "conflicting_label", "x"), ("dog/1.jpg", "conflicting_label", "x"), ("cat/2.jpg", "cmyk")]
    )
    policy = cleaning_policy({"conflicting_label": "drop", "cmyk": "fix"}, [], [])
    text = summary_of(decided(catalog, found, policy), found, policy)
    assert re.search(r"\| quarantine \| 2 \| 40.0% \| in quarantine", text)
    assert re.search(r"\| fix \| 1 \| 20.0% \| kept, and mended", text)
    assert "| cmyk | cat/2.jpg |  | converted to RGB |" in text


def test_it_is_no_longer_for_many_classes_and_images() -> None:
    paths = [f"class {number:04d}/{one}.jpg" for number in range(300) for one in range(3)]
    catalog = distinct_catalog(*paths)
    found = findings_of([(path, "dark") for path in paths[::3]])
    policy = cleaning_policy({"dark": "drop"}, [], [])
    text = summary_of(decided(catalog, found, policy), found, policy)
    assert text.count("\n| class ") == LISTED_CLASSES + 1
    assert f"and {300 - LISTED_CLASSES} more classes" in text


def test_the_file_of_dropped_images_brings_them_back(tmp_path: Path) -> None:
    names = ["cat/1.jpg", "cat/2 [x].jpg", "cat/3.jpg", "cat/a\nb.jpg", "@cat/1.jpg", "#cat/1.jpg"]
    catalog = distinct_catalog(*names, "cat/fine.jpg", "dog/fine.jpg", "@cat/fine.jpg", "#cat/fine.jpg")
    found = findings_of([*[(name, "dark") for name in names], ("cat/3.jpg", "tiny"), ("cat/1.jpg", "truncated")])
    policy = cleaning_policy({"dark": "drop", "tiny": "drop"}, [], [])
    before = decided(catalog, found, policy)
    file = tmp_path / "dropped.txt"
    file.write_text("".join(f"{line}\n" for line in dropped_lines(before)), encoding="utf-8")
    after = decided(catalog, found, with_listed_files(cleaning_policy(policy.actions, [f"@{file}"], [])))
    assert list(before.images.loc[~before.images["keep"], "path"]) == names
    assert list(after.images.loc[~after.images["keep"], "path"]) == ["cat/1.jpg"], "nobody can decode it"
    assert "# dark, tiny (1): hardly any light in the image; too few pixels" in file.read_text()


def test_it_is_short_when_nothing_was_found() -> None:
    catalog = distinct_catalog("cat/1.jpg", "dog/1.jpg")
    policy = cleaning_policy({}, [], [])
    text = summary_of(decided(catalog, findings_of([]), policy), findings_of([]), policy)
    assert "No check found anything." in text
    assert "## Examples" not in text


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
    text = summary_of(decided(catalog, found, policy), found, policy)
    assert not re.search(r"(?<!\\)<", text)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {5, 6, 10}
