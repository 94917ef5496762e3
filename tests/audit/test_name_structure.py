"""What the names of a data set look like: extensions, shapes, numbered series and their gaps."""

from typing import Any

import pandas as pd
import pytest

from components.audit.name_structure import GAPS_NAMED, name_structure


def structure(*paths: str, content: str | None = "JPEG") -> dict[str, Any]:
    table = pd.DataFrame({"path": paths, "filename": [path.rpartition("/")[2] for path in paths], "format": content})
    return name_structure(table.astype("str"))


def test_a_series_names_what_is_missing() -> None:
    (series,) = structure(*(f"fish/fish{number}.jpg" for number in (1, 2, 3, 5, 9, 10)))["series"]
    assert series == {
        "folder": "fish",
        "name": "fish#",
        "images": 6,
        "first": 1,
        "last": 10,
        "missing": 4,
        "gaps": [[4, 4], [6, 8]],
    }


def test_a_series_of_many_gaps_names_the_first() -> None:
    (series,) = structure(*(f"fish/IMG_{number:04d}.jpg" for number in range(0, 100, 2)))["series"]
    assert series["missing"] == 49
    assert series["gaps"] == [[number, number] for number in range(1, 2 * GAPS_NAMED, 2)]


@pytest.mark.parametrize(
    "names",
    [
        ["a1.jpg", "a2.jpg", "a3.jpg", "a4.jpg"],  # too few
        [f"{number:016d}.jpg" for number in range(9)],  # too long for an index
        ["owl.jpg", "duck.jpg", "hen.jpg", "goose.jpg", "crow.jpg"],
    ],
)
def test_what_is_no_series(names: list[str]) -> None:
    assert structure(*(f"bird/{name}" for name in names))["series"] == []


def test_series_of_different_folders_and_spellings_are_apart() -> None:
    names = [f"{folder}/{before}{number}.jpg" for folder in "ab" for before in ("x", "X") for number in range(5)]
    assert [(row["folder"], row["name"]) for row in structure(*names)["series"]] == [
        ("a", "X#"),
        ("a", "x#"),
        ("b", "X#"),
        ("b", "x#"),
    ]


def test_extensions_are_counted_by_content() -> None:
    found = structure("a/1.jpg", "a/2.JPG", "a/b/3.png", "a/4")
    assert found["upper_case_extensions"] == 1
    assert found["without_extension"] == 1
    assert found["depths"] == {"1": 3, "2": 1}
    assert {row["extension"]: row["fits"] for row in found["extensions"]} == {
        ".jpg": True,
        ".JPG": True,
        ".png": False,
        "": False,
    }
    (unreadable,) = structure("a/1.jpg", content=None)["extensions"]
    assert (unreadable["content"], unreadable["fits"]) == ("unreadable", True)


def test_names_have_shapes() -> None:
    patterns = structure("a/IMG_1.jpg", "a/IMG_2.jpg", "b/Red fox.jpg")["patterns"]
    assert patterns == [
        {"pattern": "A_9", "example": "IMG_1.jpg", "images": 2},
        {"pattern": "Aa a", "example": "Red fox.jpg", "images": 1},
    ]
