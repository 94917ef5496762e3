"""Names and numbers as people can read them safely."""

import unicodedata

import pandas as pd

NAME_CHARACTERS = 96
MESSAGE_CHARACTERS = 320

# What turns the direction of the text around it, so that exe.gpj reads jpg.exe (Unicode standard annex 9).
_DIRECTION_MARKS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shown(name: str, limit: int = NAME_CHARACTERS) -> str:
    """Return a name as it can safely be looked at: control and direction marks made visible, the middle cut if long."""
    visible = "".join(_visible(character) for character in name)
    if len(visible) <= limit:
        return visible
    tail = limit // 2
    return f"{visible[: limit - tail - 1]}…{visible[-tail:]}"


def number(value: float) -> str:
    """Return a value with as many digits as a person wants to see; empty when there is none."""
    if pd.isna(value):
        return ""
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def counted(count: int, thing: str, things: str = "") -> str:
    """Return a count with its noun: ``1 image``, ``2,000 images``; ``things`` where the plural is not a mere s."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def _visible(character: str) -> str:
    if character in _DIRECTION_MARKS or unicodedata.category(character) in {"Cc", "Cs"}:
        return f"⟨{ord(character):04X}⟩"
    return character
