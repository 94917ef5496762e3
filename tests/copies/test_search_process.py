import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from components.copies.pair_search import Pairs, SearchLimits, fastest_engine, find_pairs
from components.copies.search_process import SearchProcess, pair_search
from components.failures import TransientError

pytestmark = pytest.mark.skipif(fastest_engine(10**6) != "numba", reason="numba is an extra: fast")

LIMITS = SearchLimits(compared_per_bucket=4096, pairs_per_hash=32)


def near_hashes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 300 hashes, each one bit from another, and in two orientations."""
    random = np.random.default_rng(seed)
    first = random.integers(1, 2**63, 150, dtype=np.uint64)
    hashes = np.concatenate([first, first ^ np.uint64(1 << 40)])
    return hashes, np.stack([hashes, hashes[::-1]], axis=1)


def as_lists(pairs: Pairs) -> list[object]:
    return [column.tolist() if isinstance(column, np.ndarray) else column for column in vars(pairs).values()]


def test_a_process_finds_what_a_search_in_this_one_finds_one_search_after_another() -> None:
    with pair_search("numba") as search:
        for seed in (1, 2):
            references, queries = near_hashes(seed)
            here = find_pairs(references, queries, 8, LIMITS, "numpy")
            assert as_lists(search(references, queries, 8, LIMITS)) == as_lists(here)
            assert len(here.first) >= 300


def test_the_compiler_never_comes_into_the_process_that_holds_the_data_set() -> None:
    program = """
        import sys
        import numpy as np
        from components.copies.copy_groups import find_copies
        from components.copies.fingerprints import Fingerprints
        from components.copies.likeness import CopyRules

        fingerprints = Fingerprints.on_disk(40)
        half = np.random.default_rng(1).integers(0, 256, (20, 16, 16), dtype=np.uint8)
        fingerprints.thumbnails[:] = np.concatenate([half, half])
        names = [f"{row:02}" for row in range(40)]
        groups = find_copies(names, fingerprints, np.ones(40), CopyRules(10, 0.85, 0.8, crops=True), "numba")
        print(int((groups.group >= 0).sum()), "numba" in sys.modules)
    """
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["40", "False"]


def test_a_process_that_the_system_kills_is_said_to_need_memory() -> None:
    references, queries = near_hashes(1)
    with SearchProcess() as process:
        process.find_pairs(references, queries, 8, LIMITS)
        assert process._process is not None
        os.kill(process._process.pid, signal.SIGKILL)
        with pytest.raises(TransientError, match="more memory"):
            process.find_pairs(references, queries, 8, LIMITS)


def test_a_process_that_fails_is_a_defect_and_leaves_nothing_behind() -> None:
    references, queries = near_hashes(1)
    with SearchProcess() as process:
        with pytest.raises(RuntimeError, match="ended with 1"):
            process.find_pairs(references, queries, 99, LIMITS)
        assert process._process is not None
        assert process._process.poll() == 1
