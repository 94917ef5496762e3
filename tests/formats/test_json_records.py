"""What somebody changed in a file of JSON is found, with its place, before anybody works with it."""

import dataclasses
import json
from typing import Any

import pytest

from components.formats.json_records import record_of


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    size: int = 0


@dataclasses.dataclass(frozen=True)
class Whole:
    share: float
    parts: dict[str, list[Part]]
    notes: dict[str, Any]
    whole: bool = True
    first: Part | None = None


GOOD: dict[str, Any] = {"share": 1, "parts": {"a": [{"name": "x", "size": 3}], "b": []}, "notes": {"n": [None]}}


def test_what_is_right_comes_back() -> None:
    expected = Whole(1, {"a": [Part("x", 3)], "b": []}, {"n": [None]})
    assert record_of(Whole, GOOD, "w.json") == expected
    again = json.loads(json.dumps(dataclasses.asdict(expected)))
    assert record_of(Whole, again, "w.json") == expected
    assert record_of(Whole, {**GOOD, "first": {"name": "y"}}, "w.json").first == Part("y")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "w.json is not an object"),
        (None, "w.json is not an object"),
        ({**GOOD, "share": "1"}, "w.json: share is not a number"),
        ({**GOOD, "share": True}, "w.json: share is not a number"),
        ({**GOOD, "share": None}, "w.json: share is not a number"),
        ({**GOOD, "whole": 1}, "w.json: whole is not true or false"),
        ({**GOOD, "notes": []}, "w.json: notes is not an object"),
        ({**GOOD, "parts": {"a": {}}}, "w.json: parts: a is not a list"),
        ({**GOOD, "parts": {"a": [{"name": "x"}, {"size": 1}]}}, r"w.json: parts: a\[1\] has no name"),
        ({**GOOD, "parts": {"a": [{"name": "x", "size": 1.5}]}}, r"w.json: parts: a\[0\]: size is not a whole number"),
        ({**GOOD, "first": "x"}, "w.json: first is not an object"),
        ({**GOOD, "colour": 1}, "w.json has colour, which is unknown"),
        ({"share": 1}, "w.json has no parts"),
    ],
)
def test_what_is_wrong_is_named(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        record_of(Whole, value, "w.json")
