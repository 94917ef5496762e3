"""The defaults of pipeline.py, and what the README says of them."""

from pathlib import Path

from components.formats.check_names import CHECK_MEANINGS
from components.launch.command_line import parameter_table
from pipeline import CLEANING_POLICY, image_classification

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_default_policy_decides_every_check() -> None:
    assert CLEANING_POLICY.keys() == CHECK_MEANINGS.keys()


def test_every_parameter_is_explained() -> None:
    rows = parameter_table(image_classification).splitlines()[2:]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_readme_lists_every_parameter_as_it_is() -> None:
    assert parameter_table(image_classification) in README.read_text(encoding="utf-8"), (
        "put the output of `python pipeline.py --parameters` into the README"
    )
