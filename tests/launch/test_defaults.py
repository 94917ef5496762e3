from components.formats.check_names import CHECK_MEANINGS
from pipeline import CLEANING_POLICY


def test_the_default_policy_decides_every_check() -> None:
    assert list(CLEANING_POLICY.keys() - CHECK_MEANINGS.keys()) == []
    assert list(CHECK_MEANINGS.keys() - CLEANING_POLICY.keys()) == []
