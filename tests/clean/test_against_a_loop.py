"""The benchmark's plain loop over rows, written apart from the step, keeps the same images."""

import pytest

from benchmarks.clean import ACTIONS, loop, made_up
from components.clean.cleaning_policy import cleaning_policy
from components.clean.keep_decisions import decide


@pytest.mark.parametrize("seed", range(4))
def test_a_loop_over_rows_keeps_the_same_images(seed: int) -> None:
    catalog, findings, measurements = made_up(2_000, 0.4, seed)
    policy = cleaning_policy(ACTIONS, [], [])
    decisions = decide(catalog, findings, measurements, policy).images
    assert set(decisions.loc[decisions["keep"], "path"]) == loop(catalog, findings, measurements, policy)
    assert set(decisions["action"]) == {"keep", "fix", "drop", "quarantine"}
