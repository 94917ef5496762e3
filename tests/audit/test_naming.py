"""Names: what is irregular about them."""

import pandas as pd
import pytest

from components.audit import naming


def names(*values: str) -> pd.Series:
    return pd.Series(list(values), dtype="str")


@pytest.mark.parametrize(
    ("name", "contains"),
    [
        ("owl.jpg", ""),
        ("Owl_2-b+c=d,e@f.JPG", ""),
        ("red panda.jpg", "white space"),
        ("löffler.jpg", "letters outside ASCII"),
        ("jaguar(1).jpg", "shells"),
        ("a'b.jpg", "shells"),
        ("$HOME.jpg", "shells"),
        ("-rf.jpg", "leading hyphen"),
        ("ö ().jpg", "white space and letters outside ASCII and characters that shells treat specially"),
    ],
)
def test_odd_names(name: str, contains: str) -> None:
    (reason,) = naming.odd_names(names(name))
    assert contains in reason
    assert bool(reason) == bool(contains)


@pytest.mark.parametrize(
    ("name", "extension"),
    [("a.jpg", ".jpg"), ("a.tar.GZ", ".GZ"), ("none", ""), (".hidden", ""), ("dot.", "."), ("a b.JPeG", ".JPeG")],
)
def test_extensions(name: str, extension: str) -> None:
    assert naming.extensions(names(name)).tolist() == [extension]


def test_the_minority_spelling_is_named_with_the_usual_one() -> None:
    reasons = naming.minority_spellings(names("a.jpg", "b.jpg", "c.JPG", "d.jpeg", "e.png", "f.txt"))
    assert reasons.tolist() == [
        "",
        "",
        "its extension is .JPG where most files have .jpg",
        "its extension is .jpeg where most files have .jpg",
        "",
        "",
    ]


def test_name_patterns() -> None:
    given = names("IMG_0417.jpg", "fish12.jpg", "Red-fox.jpg", "0001.png", "no extension")
    assert naming.name_pattern(given).tolist() == ["A_9", "a9", "Aa-a", "9", "a a"]


def test_the_few_that_break_a_pattern_are_found() -> None:
    files = names(*[f"fish{number}.jpg" for number in range(19)], "reef.jpg")
    folders = pd.Series(["fish"] * 20, dtype="str")
    reasons = naming.pattern_breakers(files, folders, 0.9)
    assert (reasons != "").tolist() == [False] * 19 + [True]
    assert reasons.iloc[-1] == "95% of the names in its folder look like fish0.jpg, this one does not"


def test_few_files_and_mixed_files_have_no_pattern() -> None:
    few = names(*[f"fish{number}.jpg" for number in range(18)], "reef.jpg")
    assert (naming.pattern_breakers(few, pd.Series(["fish"] * 19, dtype="str"), 0.9) == "").all()
    mixed = names(*[f"fish{number}.jpg" for number in range(17)], "cat.jpg", "dog.jpg", "owl.jpg")
    assert (naming.pattern_breakers(mixed, pd.Series(["x"] * 20, dtype="str"), 0.9) == "").all()


def test_missing_numbers_of_a_series_are_named() -> None:
    numbers = [number for number in range(1, 31) if number not in {7, 21}]
    fish = names(*[f"fish{number:03}.jpg" for number in numbers], "reef.jpg")
    gaps = naming.index_gaps(fish, pd.Series(["fish"] * len(fish), dtype="str"), 0.9)
    assert gaps.to_dict() == {"fish": "of its 28 files numbered fish001 to fish030, 007, 021 are missing"}


def test_whole_series_and_scattered_numbers_have_no_gaps() -> None:
    whole = names(*[f"fish{number}.jpg" for number in range(30)])
    scattered = names(*[f"IMG_{number * number}.jpg" for number in range(30)])
    files = pd.concat([whole, scattered], ignore_index=True)
    classes = pd.Series(["fish"] * 30 + ["bird"] * 30, dtype="str")
    assert naming.index_gaps(files, classes, 0.9).empty
    assert naming.index_gaps(names("owl.jpg"), names("bird"), 0.9).empty
