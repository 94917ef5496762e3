"""What the audit knows decides who takes part, and who is a copy of whom."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.audit_embeddings.audited_images import copy_groups, joined, taking_part
from tests.clean.tables import distinct_catalog, findings_of, measurements_of


def test_unreadable_images_and_those_that_show_nothing_take_no_part() -> None:
    catalog = distinct_catalog("a/1", "a/2", "a/3", "a/4", "a/5")
    found = findings_of([("a/2", "dark"), ("a/3", "blurry"), ("a/4", "tiny")])
    measurements = measurements_of(catalog, error=[None, None, None, None, "cut short"])
    assert taking_part(measurements, found).tolist() == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], [0, 1, 2, 3]),
        ([("a/1", "exact_duplicate", "x"), ("a/3", "exact_duplicate", "x")], [0, 1, 0, 2]),
        (
            # Two checks whose groups overlap make one group.
            [
                ("a/1", "exact_duplicate", "x"),
                ("a/2", "exact_duplicate", "x"),
                ("a/2", "near_duplicate", "near"),
                ("a/4", "near_duplicate", "near"),
            ],
            [0, 0, 1, 0],
        ),
        ([("a/1", "near_conflicting_label", "y"), ("a/4", "near_conflicting_label", "y")], [0, 1, 2, 0]),
        ([("a/1", "dark"), ("a", "class_imbalance")], [0, 1, 2, 3]),
    ],
    ids=["none", "one group", "overlapping groups", "two classes", "no copies"],
)
def test_images_with_a_group_in_common_are_copies(found: Any, expected: list[int]) -> None:
    groups = copy_groups(pd.Series(["a/1", "a/2", "a/3", "a/4"]), findings_of(found))
    assert pd.factorize(groups)[0].tolist() == expected


def test_more_ties_join_groups() -> None:
    groups = joined(np.array([7, 7, 2, 3, 4]), np.array([[1, 3]]))
    assert pd.factorize(groups)[0].tolist() == [0, 0, 1, 0, 2]
