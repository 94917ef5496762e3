"""What the registry says of a version, put at the top of its card.

A bundle never changes, and the gate's verdict on it may: another gate judges it anew, another version becomes champion,
a person promotes it. So the card in a bundle holds none and says where to look, and every card that is shown, by the
step or by ``show --card``, is that card with the verdict of the moment.
"""

import dataclasses
from collections.abc import Collection

from markupsafe import Markup

from components.formats.champion import CHAMPION
from components.register.markdown import literal
from components.register.version_index import CANDIDATE, PREVIOUS, VersionRecord
from components.report.shown_text import MESSAGE_CHARACTERS, shown

_END_OF_TITLE = "</h1>"


@dataclasses.dataclass(frozen=True)
class GateVerdict:
    """What the registry says of a version.

    Attributes:
        tone: ``good``, ``warn`` or ``bad``.
        headline: In a sentence.
        reasons: Why, a sentence each.
    """

    tone: str
    headline: str
    reasons: tuple[str, ...]


def gate_verdict(record: VersionRecord, aliases: Collection[str]) -> GateVerdict:
    """Return what the registry says of a version.

    Args:
        record: Of the version.
        aliases: That name it now.
    """
    if not record.gate_passed:
        reasons = record.gate_rejections or (record.gate_reason,)
        if CHAMPION in aliases:
            return GateVerdict("bad", "Rejected by the gate, and champion all the same: a person decided so.", reasons)
        before = " A person had made it the champion." if record.promoted else ""
        return GateVerdict("bad", f"Rejected by the gate: not to be used.{before}", reasons)
    reasons = (record.gate_reason,)
    if CHAMPION in aliases:
        return GateVerdict("good", "Accepted by the gate, and the champion.", reasons)
    if PREVIOUS in aliases:
        return GateVerdict("warn", "Accepted by the gate, and the champion before the present one.", reasons)
    if CANDIDATE in aliases:
        return GateVerdict("warn", "A candidate only: accepted by the gate, but not the champion.", reasons)
    return GateVerdict("warn", "Accepted by the gate, but neither the champion nor the candidate now.", reasons)


def markdown_with_verdict(card: str, verdict: GateVerdict) -> str:
    """Return a card in Markdown with a verdict below its title, whichever version of this package wrote it."""
    title, end, rest = card.partition("\n")
    reasons = "".join(f"- {literal(reason, MESSAGE_CHARACTERS)}\n" for reason in verdict.reasons)
    return f"{title}{end}\n**{verdict.headline}**\n\n{reasons}{rest}"


def page_with_verdict(card: str, verdict: GateVerdict) -> str:
    """Return a card's page with a verdict below its title, whichever version of this package wrote it.

    Names are escaped on a page, so what ends the title is the page's own.
    """
    reasons = [Markup("<li>{}</li>").format(shown(reason, MESSAGE_CHARACTERS)) for reason in verdict.reasons]
    told = Markup('<div class="verdict {}"><b>{}</b><ul>{}</ul></div>')
    before, end, after = card.partition(_END_OF_TITLE)
    return f"{before}{end}\n{told.format(verdict.tone, verdict.headline, Markup().join(reasons))}{after}"
