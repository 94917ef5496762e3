"""The card shows names as they are and says what is not known."""

from pathlib import Path

from components.register.model_card import literal
from tests.evaluate.tiny_project import write_project
from tests.register.conftest import Register, evaluate_project


def test_names_stay_text() -> None:
    assert literal("a|b <i>*c*</i>\n# d") == r"a\|b \<i\>\*c\*\</i\> \# d"


def test_card_of_hostile_and_untested_classes(register: Register, tmp_path: Path) -> None:
    project = write_project(tmp_path, ["<b>|", "a\tb", "unseen"], [0, 0, 1, 1], [0, 0, 1, 1])
    bundle = Path(register(evaluate_project(project, tmp_path)).uri)
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert "<b>" not in card
    assert r"\<b\>\|" in card
    assert "Without any test image, so unknown: unseen." in card
    assert "| unseen | n/a | n/a | n/a | n/a | 0 | 20 |" in card
    assert (bundle / "labels.txt").read_text(encoding="utf-8").splitlines() == ["<b>|", "a\tb", "unseen"]


def test_a_perfect_small_test_is_not_praised(register: Register, tmp_path: Path) -> None:
    project = write_project(tmp_path, test_labels=[0, 1, 2], looks_like=[0, 1, 2], shards=1)
    card = (Path(register(evaluate_project(project, tmp_path)).uri) / "README.md").read_text(encoding="utf-8")
    assert "With 3 test images the accuracy is known to within 0.44 to 1.00." in card
