"""Dataclasses from JSON that somebody may have changed: every value is of the type that its field says."""

import dataclasses
import types
import typing
from typing import Any, TypeVar

_Record = TypeVar("_Record")

_IN_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def record_of(kind: type[_Record], value: Any, name: str) -> _Record:
    """Return a dataclass of what JSON says.

    Args:
        kind: The dataclass, of fields that are ``str``, ``int``, ``float``, ``bool``, ``Any``, other dataclasses, or
            lists and dicts of these, or None besides. A field with a default may be missing.
        value: What the JSON holds.
        name: Of the file, for messages.

    Raises:
        ValueError: When a field is missing, is unknown or has a value of another type, with its place.
    """
    record: _Record = _checked(kind, value, name)
    return record


def _checked(hint: Any, value: Any, place: str) -> Any:
    parts = typing.get_args(hint)
    if hint is Any:
        return value
    if isinstance(hint, types.UnionType):  # with None
        return None if value is None else _checked(parts[0], value, place)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint, _of_type(value, dict, place, "an object"), place)
    if typing.get_origin(hint) is list:
        items = _of_type(value, list, place, "a list")
        return [_checked(parts[0], item, f"{place}[{number}]") for number, item in enumerate(items)]
    if typing.get_origin(hint) is dict:
        pairs = _of_type(value, dict, place, "an object").items()
        return {key: _checked(parts[1], item, f"{place}: {key}") for key, item in pairs}
    return _of_type(value, (int, float) if hint is float else hint, place, _IN_WORDS[hint])


def _dataclass(kind: Any, value: dict[str, Any], place: str) -> Any:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        optional = (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
        if field.name not in value and not optional:
            raise ValueError(f"{place} has no {field.name}")
    if unknown := sorted(value.keys() - hints.keys()):
        raise ValueError(f"{place} has {unknown[0]}, which is unknown")
    return kind(**{name: _checked(hints[name], item, f"{place}: {name}") for name, item in value.items()})


def _of_type(value: Any, kinds: Any, place: str, in_words: str) -> Any:
    # True is a whole number to Python.
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise ValueError(f"{place} is not {in_words}")
    return value
