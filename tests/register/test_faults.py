"""Kill -9 while registering, and many registering at once: every version is whole or absent, the index always valid."""

import dataclasses
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import storage
from components.register.registry import ModelRegistry
from components.register.version_index import Index
from tests.register.conftest import EvaluatedProject
from tests.register.killed_attempts import MOMENTS, Point
from tests.register.test_registration import retrained

SEED = 20260
POINTS = 20


@pytest.fixture(params=["folder", "bucket"])
def new_registry(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """A function that makes an empty registry: a folder, or a prefix in the Cloud Storage emulator."""
    if request.param == "bucket":
        new_bucket = request.getfixturevalue("new_bucket")
        return lambda: f"{new_bucket()}/models"
    numbers = iter(range(1000))
    return lambda: str(tmp_path / f"registry-{next(numbers)}")


def carry_out(points: list[Point], tmp_path: Path, *, at_once: bool = False) -> list[dict[str, Any]]:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"at_once": at_once, "points": [dataclasses.asdict(point) for point in points]}))
    command = [sys.executable, "-m", "tests.register.killed_attempts", str(plan)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def folders(project: EvaluatedProject) -> list[str]:
    return [str(folder) for folder in (project.model, project.evaluation, project.splits, project.exports)]


def whole(registry_uri: str) -> Index:
    """Check that all that is listed is whole, and each alias names one listed version; return the index."""
    registry = ModelRegistry(registry_uri, "trees")
    index = registry.read_index()
    for record in index.versions:
        registry.verify(record)
    versions = [record.version for record in index.versions]
    assert len(set(versions)) == len(versions)
    assert set(index.aliases.values()) <= set(versions)
    assert set(index.aliases) <= {"candidate", "champion", "previous"}
    return index


def deaths(count: int, attempt_seconds: float) -> list[dict[str, Any]]:
    """Half of them at seeded writes, before, amid or after it; half after seeded times."""
    chance = random.Random(SEED)
    at_writes: list[dict[str, Any]] = [
        {"write": chance.randint(1, 23), "moment": chance.choice(MOMENTS)} for _ in range(count // 2)
    ]
    at_times = [{"seconds": chance.uniform(0.0, attempt_seconds)} for _ in range(count - len(at_writes))]
    return [*at_writes, *at_times]


def test_kill_9_at_twenty_points(evaluated: EvaluatedProject, tmp_path: Path, new_registry: Callable[[], str]) -> None:
    better = retrained(evaluated, tmp_path / "better", 16)
    registries = [new_registry() for _ in range(POINTS)]
    first = [Point(folders(evaluated), registry, str(tmp_path / "entry")) for registry in registries]
    lived = carry_out(first, tmp_path)
    assert {outcome["exit_code"] for outcome in lived} == {0}
    second = [Point(folders(better), registry, str(tmp_path / "entry")) for registry in registries]

    usual = statistics.median(outcome["seconds"] for outcome in lived)
    killed = carry_out(
        [dataclasses.replace(point, **death) for point, death in zip(second, deaths(POINTS, usual), strict=True)],
        tmp_path,
    )

    # An attempt that is over before its time comes is not killed; most must be.
    assert sum(bool(outcome["killed"]) for outcome in killed) >= POINTS // 2
    print(f"{sum(bool(outcome['killed']) for outcome in killed)} of {POINTS} killed", end=", ")
    found = Counter(len(whole(registry).versions) for registry in registries)
    assert set(found) <= {1, 2}, "the second version is absent or whole"
    assert found[1] >= POINTS // 5, "too few were killed before they were listed to show anything"
    print(f"version absent in {found[1]}, whole in {found[2]}, damaged in 0")
    assert {outcome["exit_code"] for outcome in carry_out(second, tmp_path)} == {0}
    for registry in registries:
        index = whole(registry)
        assert len(index.versions) == 2
        before, after = (record.version for record in index.versions)
        assert index.aliases == {"candidate": after, "champion": after, "previous": before}
        bundles = {
            file.uri.split("/versions/")[1].split("/")[1] for file in storage.list_files(f"{registry}/trees/versions")
        }
        assert len(bundles) == 2, "an attempt that goes on writes the bytes of the one that was killed"


@pytest.mark.parametrize("kills", [False, True], ids=["all live", "four are killed"])
def test_sixteen_at_once(
    evaluated: EvaluatedProject, tmp_path: Path, new_registry: Callable[[], str], kills: bool
) -> None:
    rights = (13, 14, 15, 16)
    projects = [retrained(evaluated, tmp_path / f"model-{number}", right) for number, right in enumerate(rights)]
    registry = new_registry()
    chance = random.Random(SEED)
    points = [
        Point(
            folders(projects[number % len(projects)]),
            registry,
            str(tmp_path / f"entry-{number}"),
            seconds=chance.uniform(0.1, 1.0) if kills and number < 4 else 0.0,
        )
        for number in range(16)
    ]

    outcomes = carry_out(points, tmp_path, at_once=True)

    assert [outcome["exit_code"] for outcome in outcomes[4:]] == [0] * 12
    index = whole(registry)
    assert len(index.versions) == 4, "four models, however often each was registered"
    assert sorted(record.accuracy for record in index.versions) == [right / 17 for right in rights]
    champion = index.find(index.aliases["champion"])
    assert champion is not None
    assert champion.accuracy == 16 / 17
    shutil.rmtree(tmp_path / "model-0")
