"""Names and numbers as people can read them safely."""

import re
import unicodedata

import pandas as pd

NAME_CHARACTERS = 96
MESSAGE_CHARACTERS = 320

# Control characters; surrogates; format characters: those of no width, and those that turn the direction of the text
# around them, so that exe.gpj reads jpg.exe (Unicode standard annex 9); separators of lines and paragraphs.
_INVISIBLE = frozenset({"Cc", "Cs", "Cf", "Zl", "Zp"})

# Letters without a shape, which names that look alike can differ by (Unicode standard, Default_Ignorable_Code_Point).
_BLANKS = set("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")

# Joiners are part of how words are written in Persian or Malayalam, and of what makes one picture of several emoji.
_JOINER = re.compile(r"(?<=[^\x00-\u024f\u200b-\u200f])([\u200c\u200d])(?=[^\x00-\u024f\u200b-\u200f])")


def shown(name: str, limit: int = NAME_CHARACTERS) -> str:
    """Return a name as it can safely be looked at: what is invisible or turns text around is named, a long middle cut.

    Control and direction marks, characters of no width and line separators become ``⟨200B⟩`` and the like; so does all
    of a name of nothing but spaces and such.
    """
    if all(unicodedata.category(character)[0] in "ZC" for character in name):
        visible = "".join(map(_spelt, name))
    else:
        parts = _JOINER.split(name)
        visible = "".join(part if at % 2 else "".join(map(_visible, part)) for at, part in enumerate(parts))
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


def sureness(probability: float) -> str:
    """Return a probability so that the order of sure answers shows: ``0.9312``, ``0.99998``; 1 only where it is 1.

    Four digits, and as many more as keep it from being rounded to 1: float32 knows of 7 below it.
    """
    for digits in range(4, 9):
        text = f"{probability:.{digits}f}"
        if float(text) < 1.0:
            return text
    return "1"


def counted(count: int, thing: str, things: str = "") -> str:
    """Return a count with its noun: ``1 image``, ``2,000 images``; ``things`` where the plural is not a mere s."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def _visible(character: str) -> str:
    if character in _BLANKS or unicodedata.category(character) in _INVISIBLE:
        return _spelt(character)
    return character


def _spelt(character: str) -> str:
    return f"⟨{ord(character):04X}⟩"
