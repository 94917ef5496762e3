"""Names are shown so that no two look alike and none turns the text around it."""

import pytest

from components.report.shown_text import shown, sureness


@pytest.mark.parametrize(
    ("name", "visible"),
    [
        ("owl", "owl"),
        ("鳥 été", "鳥 été"),
        ("a\tb\n", "a⟨0009⟩b⟨000A⟩"),
        ("exe\u202egpj", "exe⟨202E⟩gpj"),
        ("cat\u200b", "cat⟨200B⟩"),
        ("ca\u00adt", "ca⟨00AD⟩t"),
        ("cat\ufeff", "cat⟨FEFF⟩"),
        ("cat\u200d", "cat⟨200D⟩"),
        ("c\u200cat", "c⟨200C⟩at"),
        ("cat\u2028dog", "cat⟨2028⟩dog"),
        ("cat\U000e0041", "cat⟨E0041⟩"),
        ("\u3164", "⟨3164⟩"),
        ("\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u200c\u062e\u0648"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("鳥\u200d\u200d鳥", "鳥⟨200D⟩⟨200D⟩鳥"),
    ],
)
def test_what_is_seen(name: str, visible: str) -> None:
    assert shown(name) == visible


def test_the_middle_of_a_long_name_is_cut() -> None:
    assert shown("a" * 60 + "\u200b" * 60, 20) == "aaaaaaaaa…⟩⟨200B⟩⟨200B⟩"[:10] + shown("\u200b" * 2, 20)[-10:]
    assert len(shown("x" * 1000)) == 96


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.93124, "0.9312"),
        (0.99976, "0.9998"),
        (0.99998, "0.99998"),
        (0.999_999_9, "0.9999999"),
        (1.0, "1"),
        (0.34, "0.3400"),
        (0.0, "0.0000"),
    ],
)
def test_sure_answers_are_never_rounded_to_certain_ones(probability: float, text: str) -> None:
    assert sureness(probability) == text
