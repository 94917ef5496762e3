"""The scorer of the quality benchmark, on tables made by hand."""

import pandas as pd
import pytest

from benchmarks.audit_quality import FAMILIES, Tally, complaint, pairs_reported, score
from benchmarks.planted_defects import PlantedDataset, PlantedDefect
from components.formats.check_names import CHECK_MEANINGS


def dataset(*truth: tuple[str, str] | tuple[str, str, str], clean: int = 4) -> PlantedDataset:
    """Return a data set of (path, check) or (path, check, cluster), and some files without defects."""
    rows = [PlantedDefect(one[0], one[1], one[2] if len(one) > 2 else "", "how", "drawn") for one in truth]
    paths = {row.path for row in rows} | {f"clean{number}" for number in range(clean)}
    return PlantedDataset(dict.fromkeys(sorted(paths), b"x"), rows)


def findings(*rows: tuple[str, str] | tuple[str, str, str]) -> pd.DataFrame:
    table = [(one[0], one[1], one[2] if len(one) > 2 else None) for one in rows]
    return pd.DataFrame(table, columns=["path", "check", "group"])


def counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.planted, tally.found, tally.otherwise, tally.false


def test_every_check_of_a_family_exists_and_gets_a_tally() -> None:
    named = [check for family in FAMILIES.values() for check in family]
    assert len(named) == len(set(named))
    assert set(named) <= set(CHECK_MEANINGS)
    assert set(score(dataset(), findings())) == set(named)


def test_found_missed_and_false_are_told_apart() -> None:
    data = dataset(("a", "dark"), ("b", "dark"), ("c", "tiny"))
    tallies = score(data, findings(("a", "dark"), ("clean0", "dark"), ("c", "dark")))
    assert counts(tallies["dark"]) == (2, 1, 0, 2)
    assert tallies["dark"].missed == ["b (drawn, how)"]
    assert tallies["dark"].wrong == ["c", "clean0"]
    assert tallies["dark"].others == 7 - 2
    assert counts(tallies["tiny"]) == (1, 0, 0, 0)


def test_damage_counts_under_another_name_of_its_family_and_is_then_not_false() -> None:
    data = dataset(("a", "truncated"), ("b", "truncated"), ("c", "corrupt"))
    tallies = score(data, findings(("a", "corrupt"), ("b", "unreadable"), ("c", "dark")))
    assert counts(tallies["truncated"]) == (2, 0, 2, 0)
    assert counts(tallies["corrupt"]) == (1, 0, 0, 0)
    assert tallies["dark"].wrong == ["c"]


def test_what_a_defect_implies_is_neither_asked_for_nor_false() -> None:
    tallies = score(dataset(("a", "dark")), findings(("a", "dark"), ("a", "blurry"), ("a", "tiny")))
    assert counts(tallies["blurry"]) == (0, 0, 0, 0)
    assert counts(tallies["tiny"]) == (0, 0, 0, 1)


def test_copies_are_counted_by_pairs() -> None:
    three = [(name, "near_duplicate", "one") for name in "abc"]
    data = dataset(*three, ("d", "near_duplicate", "two"), ("e", "near_duplicate", "two"))
    found = findings(("a", "near_duplicate", "g"), ("b", "near_duplicate", "g"), ("d", "near_duplicate", "g"))
    tally = score(data, found)["near_duplicate"]
    assert counts(tally) == (3 + 1, 1, 0, 2)
    assert (tally.reported, tally.wrong) == (3, ["a d", "b d"])


def test_a_pair_is_right_whatever_the_kind_of_copy_and_found_by_its_own_check_alone() -> None:
    """An exact copy is a near copy too, which is not false; but it was to be found as what it is."""
    data = dataset(("a", "identical_pixels", "one"), ("b", "identical_pixels", "one"))
    tallies = score(data, findings(("a", "near_duplicate", "g"), ("b", "near_duplicate", "g")))
    assert counts(tallies["near_duplicate"]) == (0, 0, 0, 0)
    assert counts(tallies["identical_pixels"]) == (1, 0, 0, 0)


def test_findings_without_a_group_and_of_other_checks_make_no_pairs() -> None:
    found = findings(("a", "dark", "g"), ("b", "dark", "g"), ("a", "near_duplicate"), ("b", "near_duplicate"))
    assert pairs_reported(found, ("near_duplicate",)) == set()
    assert pairs_reported(found, ("dark",)) == {("a", "b")}
    assert pairs_reported(found, ()) == set()


@pytest.mark.parametrize(
    ("check", "tally", "missed"),
    [
        ("truncated", Tally(planted=10, found=9, otherwise=1), ""),
        ("truncated", Tally(planted=10, found=9), "found < 100%"),
        ("truncated", Tally(planted=10, found=10, false=1, others=5000), "false > 0"),
        ("corrupt", Tally(planted=10, found=9), ""),
        ("corrupt", Tally(planted=10, found=8), "found < 90%"),
        ("identical_pixels", Tally(planted=100, found=99), "found < 100%"),
        ("near_duplicate", Tally(planted=100, found=95, reported=100, false=1), ""),
        ("near_duplicate", Tally(planted=100, found=94, reported=100, false=2), "found < 95%, precision < 99%"),
        ("near_duplicate", Tally(), ""),
        ("blurry", Tally(planted=20, found=19, false=2, others=1000), ""),
        ("blurry", Tally(planted=20, found=18, false=3, others=1000), "found < 95%, false > 0.2%"),
        ("label_mismatch", Tally(planted=3, found=3, false=1), "false > 0"),
    ],
)
def test_bars(check: str, tally: Tally, missed: str) -> None:
    assert complaint(check, tally) == missed


def test_a_check_that_is_gone_is_said_to_be() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(CHECK_MEANINGS, "dark")
        assert complaint("dark", Tally()) == "no such check"


def test_tallies_add_up() -> None:
    total = Tally(planted=2, found=1, missed=["a"])
    total.add(Tally(planted=3, found=3, false=1, wrong=["b"], others=5))
    assert total == Tally(planted=5, found=4, false=1, others=5, missed=["a"], wrong=["b"])
