"""A card that is shown says at its top what the registry says of the version; the one in the bundle never changes."""

import dataclasses
import re
from pathlib import Path

import pytest

from components.register.card_verdict import gate_verdict, markdown_with_verdict, page_with_verdict
from components.register.command_line import main
from components.register.promotion_gate import Gate
from components.register.version_index import VersionRecord
from tests.register.conftest import Register

RECORD = VersionRecord("abc", "versions/abc/0", "now", 0.9, "d", "run", gate_passed=True, gate_reason="good enough")
REJECTED = dataclasses.replace(
    RECORD, gate_passed=False, gate_reason="rejected: a; b", gate_rejections=("a|<i>", "class `x` is weak")
)


@pytest.mark.parametrize(
    ("record", "aliases", "tone", "words"),
    [
        (RECORD, ["candidate", "champion"], "good", "Accepted by the gate, and the champion."),
        (RECORD, ["candidate"], "warn", "A candidate only"),
        (RECORD, ["candidate", "previous"], "warn", "the champion before the present one"),
        (RECORD, [], "warn", "neither the champion nor the candidate now"),
        (REJECTED, [], "bad", "Rejected by the gate: not to be used."),
        (dataclasses.replace(REJECTED, promoted=True), ["champion"], "bad", "champion all the same: a person decided"),
        (dataclasses.replace(REJECTED, promoted=True), [], "bad", "A person had made it the champion."),
    ],
)
def test_what_the_registry_says(record: VersionRecord, aliases: list[str], tone: str, words: str) -> None:
    verdict = gate_verdict(record, aliases)
    assert verdict.tone == tone
    assert words in verdict.headline
    assert verdict.reasons == (record.gate_rejections or ("good enough",))


def test_reasons_stay_text_below_the_title() -> None:
    verdict = gate_verdict(REJECTED, [])
    text = markdown_with_verdict("# trees abc\n\nSays which.\n", verdict)
    assert text.startswith("# trees abc\n\n**Rejected by the gate: not to be used.**\n\n- a\\|\\<i\\>\n- class \\`x\\`")
    assert text.endswith("\n\nSays which.\n")
    page = page_with_verdict("<h1>&lt;/h1&gt;</h1><p>Says which.</p>", verdict)
    assert page.startswith('<h1>&lt;/h1&gt;</h1>\n<div class="verdict bad"><b>Rejected')
    assert "<li>a|&lt;i&gt;</li>" in page


def test_the_card_of_a_rejected_model_says_so_first(register: Register, tmp_path: Path) -> None:
    bundle = Path(register(gate=Gate(0.95, {"cedar": 0.9})).uri)
    page = (tmp_path / "card.html").read_text(encoding="utf-8")
    verdict = page[page.index('<div class="verdict bad">') : page.index("</header>")]
    assert "test accuracy 0.8824 is below the required 0.9500" in verdict
    assert "class cedar has a recall of 0.5000, below the required 0.9000" in verdict
    assert page.index("Rejected by the gate") < page.index("15 of 17 test images right")
    assert 'verdict good"' not in page
    own = (bundle / "model_card.html").read_text(encoding="utf-8")
    assert page.replace(re.search(r'\n<div class="verdict bad">.*?</div>', page)[0], "") == own  # type: ignore[index]
    assert "This file never changes" in own


def test_show_tells_the_verdict_of_today(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(register(gate=Gate(0.95)).uri)
    card = (bundle / "README.md").read_bytes()

    def top() -> str:
        capsys.readouterr()
        assert main(["show", str(tmp_path / "registry"), "trees", bundle.parent.name, "--card"]) == 0
        return capsys.readouterr().out.split("\n\n")[1]

    assert top() == "**Rejected by the gate: not to be used.**"
    register(gate=Gate(0.8))
    assert top() == "**Accepted by the gate, and the champion.**"
    assert (bundle / "README.md").read_bytes() == card
