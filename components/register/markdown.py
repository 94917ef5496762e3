"""Text from outside in Markdown: shown as it is, whatever it holds."""

import re

from components.report.shown_text import MESSAGE_CHARACTERS, NAME_CHARACTERS, shown

_MARKUP = re.compile(r"([\\`*_\[\]<>|~#$&!@])")
# Markdown as many places show it makes links of addresses without being asked.
_LINK = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp|www)([:.])")


def literal(text: str, limit: int = NAME_CHARACTERS) -> str:
    """Return text that Markdown shows as it is, in one line: neither markup nor a link, whatever it holds."""
    escaped = _MARKUP.sub(r"\\\1", " ".join(shown(text, limit).split()))
    return _LINK.sub(r"\1\\\2", escaped)


def literal_code(text: str, limit: int = MESSAGE_CHARACTERS) -> str:
    """Return text as code in a Markdown table: in a fence longer than any in it, and its bars escaped."""
    visible = shown(text, limit).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", visible)), default=0))
    space = " " if visible[:1] in ("`", " ") or visible[-1:] in ("`", " ") else ""
    return f"{fence}{space}{visible}{space}{fence}"
