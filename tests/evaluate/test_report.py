"""The page's first sentence and its choice of images."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from components.evaluate import mistakes, report
from components.evaluate.scores import wilson_interval
from tests.formats.test_evaluation import EVALUATION


@pytest.mark.parametrize(
    ("correct", "total", "baseline", "tone", "words", "small"),
    [
        (13, 16, 0.48, "good", "13 of 16 test images right: accuracy 0.81; a majority guess gets 0.48.", True),
        (18, 27, 0.48, "warn", "The difference could be chance.", True),
        (8, 16, 0.5, "bad", "no better than always answering “NA”", True),
        (1, 1, 0.0, "good", "1 of 1 test image right", True),
        (900, 1000, 0.5, "good", "900 of 1,000 test images right: accuracy 0.90;", False),
        (80_071, 100_000, 0.5, "good", "80,071 of 100,000 test images right: accuracy 0.801; a majority", False),
        (510, 1000, 0.5, "warn", "The difference could be chance.", False),
    ],
)
def test_verdict(correct: int, total: int, baseline: float, tone: str, words: str, small: bool) -> None:
    low, high = wilson_interval(correct, total)
    evaluation = dataclasses.replace(
        EVALUATION,
        correct_images=correct,
        test_images=total,
        accuracy=correct / total,
        accuracy_low=low,
        accuracy_high=high,
        majority_baseline=baseline,
    )
    verdict = report.judge(evaluation)
    assert verdict.tone == tone
    assert words in verdict.sentence
    assert ("The test set is small" in verdict.caution) is small


def predictions_of(right: int, wrong: int) -> pd.DataFrame:
    rows = [(f"{number:04d}.jpg", "a", "a", 0.9) for number in range(right)]
    rows += [(f"{number:04d}.jpg", "b", "a", 0.5 + number / 1e4) for number in range(right, right + wrong)]
    return pd.DataFrame(rows, columns=["path", "true_class", "predicted_class", "probability"])


def test_the_galleries_are_capped_and_show_confident_mistakes_and_hesitant_answers() -> None:
    table = predictions_of(500, 300)
    table.loc[17, "probability"] = 0.34
    examples = mistakes.choose_examples(table, seed=5)
    assert examples.mistakes == list(range(799, 799 - mistakes.MOST_MISTAKES_SHOWN, -1))
    assert examples.hesitant == [17, *(row for row in range(12) if row != 17)][: mistakes.MOST_HESITANT_SHOWN]
    assert len(set(examples.sampled)) == mistakes.MOST_SAMPLED_SHOWN
    assert max(examples.sampled) < 500
    assert examples == mistakes.choose_examples(table, seed=5)
    assert examples.sampled != mistakes.choose_examples(table, seed=6).sampled


@pytest.mark.parametrize(("right", "wrong"), [(0, 3), (3, 0), (1, 1)])
def test_few_images(right: int, wrong: int) -> None:
    examples = mistakes.choose_examples(predictions_of(right, wrong), seed=0)
    assert (len(examples.hesitant), len(examples.sampled), len(examples.mistakes)) == (right, right, wrong)


def test_the_most_frequent_confusions_come_first() -> None:
    confusions = np.array([[5, 1, 0], [3, 9, 0], [0, 2, 0]])
    assert mistakes.common_confusions(confusions, ["a", "b", "c"]) == [
        ("b", "a", 3, 12),
        ("c", "b", 2, 2),
        ("a", "b", 1, 6),
    ]
