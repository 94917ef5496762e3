"""A model beside a champion of whose test images some are its own: compared on those, or on none and why."""

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.formats.champion import LEAST_SHARED_IMAGES, Champion, shared_answers
from components.formats.evaluation import PREDICTIONS_FILE, read_evaluation, write_evaluation
from components.formats.model_bundle import Manifest, describe_files, write_bundle
from components.register.beside_champion import beside_champion, paired_interval
from components.register.command_line import main
from components.register.promotion_gate import Difference, Gate, NotCompared
from tests.register.conftest import EvaluatedProject, Register
from tests.register.test_registration import retrained


def answers(first: int, images: int, right: int) -> pd.DataFrame:
    """Return predictions of images numbered from ``first``, of which the first ``right`` are right."""
    numbers = np.arange(first, first + images)
    return pd.DataFrame(
        {
            "path": [f"ash/{number}.jpg" for number in numbers],
            "md5": [f"{number:032x}" for number in numbers],
            "true_class": "ash",
            "predicted_class": np.where(np.arange(images) < right, "ash", "birch"),
            "probability": 0.9,
        }
    )


def champion_with(table: pd.DataFrame, directory: Path) -> Champion:
    table.to_parquet(directory / PREDICTIONS_FILE)
    files = {PREDICTIONS_FILE: directory / PREDICTIONS_FILE}
    write_bundle(str(directory / "bundle"), Manifest("trees", "A", describe_files(files)), files)
    return Champion("A", str(directory / "bundle"), "d1")


def test_one_image_that_is_not_shared_changes_next_to_nothing(tmp_path: Path) -> None:
    """A champion that is right on 99 % of 2,000 images, and a model on 81 %: one image was taken away, one added."""
    champion = champion_with(answers(0, 2000, 1980), tmp_path)
    beside = beside_champion(answers(1, 2000, 1620), "d2", champion)
    assert isinstance(beside, Difference)
    assert (beside.images, beside.test_images) == (1999, 2000)
    assert beside.difference == pytest.approx((1620 - 1979) / 1999)
    assert beside.is_worse


@pytest.mark.parametrize(
    ("first", "images", "champion_images", "compared"),
    [
        (10, 40, 40, LEAST_SHARED_IMAGES),
        (11, 40, 40, None),
        (0, 5, 5, 5),
        (0, 5, 6, None),
        (1, 6, 6, None),
        (40, 40, 40, None),
    ],
    ids=["just enough", "one too few", "few and the same", "fewer", "one of few is another", "none"],
)
def test_how_many_images_are_enough(
    tmp_path: Path, first: int, images: int, champion_images: int, compared: int | None
) -> None:
    champion = champion_with(answers(0, champion_images, champion_images), tmp_path)
    shared, reason = shared_answers(answers(first, images, images), "d1", champion)
    assert (None if shared is None else len(shared)) == compared
    assert bool(reason) == (compared is None)


def test_an_image_with_another_class_or_other_bytes_is_another_one(tmp_path: Path) -> None:
    table = answers(0, 40, 40)
    champion = champion_with(table, tmp_path)
    ours = table.assign(
        true_class=["oak", *table["true_class"][1:]], md5=[*table["md5"][:-1], "f" * 32], predicted_class="birch"
    )
    shared, _ = shared_answers(ours.sample(frac=1.0, random_state=0), "d2", champion)
    assert shared is not None
    assert len(shared) == 38
    assert set(shared["champion_class"]) == {"ash"}
    assert set(shared["predicted_class"]) == {"birch"}


def test_a_damaged_champion_is_not_compared_with(tmp_path: Path) -> None:
    champion = champion_with(answers(0, 40, 40), tmp_path)
    (tmp_path / "bundle" / PREDICTIONS_FILE).write_bytes(b"other")
    beside = beside_champion(answers(0, 40, 40), "d1", champion)
    assert isinstance(beside, NotCompared)
    assert "predictions.parquet differs" in beside.reason
    (tmp_path / "bundle" / "manifest.json").unlink()
    beside = beside_champion(answers(0, 40, 40), "d1", champion)
    assert isinstance(beside, NotCompared)
    assert "it has no manifest" in beside.reason


@pytest.mark.parametrize(
    ("counts", "interval"),
    [((36, 12, 2, 0), (0.0569, 0.3404)), ((1, 1, 7, 12), (-0.507, -0.026)), ((54, 0, 0, 0), (-0.0664, 0.0664))],
    ids=["Newcombe 1998, table II", "Fagerland, Lydersen and Laake 2014, table 3", "no difference"],
)
def test_the_interval_of_a_paired_difference(counts: tuple[int, int, int, int], interval: tuple[float, float]) -> None:
    assert paired_interval(*counts) == pytest.approx(interval, abs=5e-4)


def with_predictions(project: EvaluatedProject, table: pd.DataFrame) -> EvaluatedProject:
    """Let a copied project's evaluation be of other images."""
    table.to_parquet(project.evaluation / PREDICTIONS_FILE)
    right = int((table["true_class"] == table["predicted_class"]).sum())
    scores = read_evaluation(project.evaluation)
    scores = dataclasses.replace(scores, accuracy=right / len(table), correct_images=right, test_images=len(table))
    write_evaluation(scores, project.evaluation)
    return project


def test_a_worse_model_is_rejected_though_one_test_image_is_another(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    first = register(with_predictions(retrained(evaluated, tmp_path / "first", 17), answers(0, 100, 99)))
    second = register(with_predictions(retrained(evaluated, tmp_path / "second", 16), answers(1, 100, 81)))
    (reason,) = second.rejected
    assert reason.startswith("on the 99 of its 100 test images that the champion was tested on too it is worse than")
    assert first.version in reason
    equal = register(with_predictions(retrained(evaluated, tmp_path / "third", 15), answers(1, 100, 98)))
    assert equal.champion


def test_a_model_tested_on_other_images_waits_for_a_person(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = register()
    second = register(with_predictions(retrained(evaluated, tmp_path / "second", 17), answers(0, 100, 99)))
    assert (second.champion, second.rejected) == (False, ())
    out = capsys.readouterr().out
    reason = "0 of the 100 test images are among the 17 that the champion"
    assert f"stays a candidate, not compared with champion {first.version}: {reason}" in out
    index = json.loads((tmp_path / "registry" / "trees" / "index.json").read_text())
    assert index["aliases"] == {"candidate": second.version, "champion": first.version}
    command = next(line for line in out.splitlines() if "to make it the champion all the same: " in line)
    words = shlex.split(command.partition("all the same: ")[2])
    assert words[:3] == ["python", "-m", "components.register"]
    assert main(words[3:]) == 0
    assert f"champion {second.version}" in capsys.readouterr().out


def test_the_champion_of_now_is_compared_with_and_not_the_one_of_the_evaluation(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    """Between a model's evaluation and its registration a better one became the champion."""
    register()
    better = register(retrained(evaluated, tmp_path / "better", 17))
    assert better.champion
    worse = register(retrained(evaluated, tmp_path / "worse", 10), gate=Gate(0.5))
    assert worse.rejected[0].startswith(f"on the same 17 images it is worse than champion {better.version} by 0.4118")
