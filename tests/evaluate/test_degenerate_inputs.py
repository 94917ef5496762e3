"""Splits and models at the edge of what can be evaluated: a clear outcome each, and every number is one."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from components.evaluate.pipeline_metrics import scalar_metrics
from components.failures import UserError
from components.formats.evaluation import Evaluation, read_evaluation
from components.formats.trained_model import KERAS_FILE
from tests.evaluate.tiny_project import TinyProject, evaluate_project, write_project

Outputs = tuple[Path, Path]


def evaluated(project: TinyProject, outputs: Outputs) -> tuple[Evaluation, str]:
    evaluate_project(project, *outputs, batch_size=32)
    json.loads((outputs[0] / "metrics.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    page = outputs[1].read_text(encoding="utf-8")
    assert not re.search(r">\s*(nan|None|inf)\s*<", page, re.IGNORECASE)
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower().split()
    return read_evaluation(outputs[0]), " ".join(page.split())


def test_one_image_of_each_class(tmp_path: Path, outputs: Outputs) -> None:
    found, page = evaluated(write_project(tmp_path, test_labels=[0, 1, 2], looks_like=[0, 1, 1], shards=1), outputs)
    assert (found.correct_images, found.test_images) == (2, 3)
    assert found.macro_recall == pytest.approx(2 / 3)
    assert "The test set is small: with 3 images the true accuracy lies between 0.21 and 0.94" in page
    assert "The difference could be chance." in page
    assert "The only mistake" in page


@pytest.mark.parametrize(("answer", "sentence"), [(1, "1 of 1 test image right"), (0, "0 of 1 test image right")])
def test_a_single_test_image(tmp_path: Path, outputs: Outputs, answer: int, sentence: str) -> None:
    found, page = evaluated(write_project(tmp_path, test_labels=[1], looks_like=[answer], shards=1), outputs)
    assert sentence in page
    assert (found.auc_macro, found.majority_baseline) == (None, 1.0)
    assert "No test image of 2 of 3 classes (ash, cedar)" in page


def test_a_perfect_model(tmp_path: Path, outputs: Outputs) -> None:
    labels = [number % 3 for number in range(60)]
    found, page = evaluated(write_project(tmp_path, test_labels=labels, looks_like=labels), outputs)
    assert (found.accuracy, found.macro_f1, found.auc_macro) == (1.0, 1.0, 1.0)
    assert found.accuracy_low < 0.95
    assert found.macro_f1_low is found.macro_f1_high is found.accuracy_bootstrap_low is None
    assert not {"macro_f1_low", "macro_f1_high"} & scalar_metrics(found).keys()
    assert "Resamples of answers that are all right know no other outcome" in page
    assert "<h2>Mistakes</h2> <p>None.</p>" in page
    assert "Most confused pairs" not in page


def test_a_model_that_always_says_the_same(tmp_path: Path, outputs: Outputs) -> None:
    labels = [number % 3 for number in range(60)]
    found, page = evaluated(write_project(tmp_path, test_labels=labels, looks_like=[2] * 60), outputs)
    assert found.accuracy == found.majority_baseline == pytest.approx(1 / 3)
    assert "The model is no better than always answering “ash”." in page
    assert [row[2] for row in found.confusion_matrix] == [20, 20, 20]


def test_a_model_whose_probabilities_are_all_equal(tmp_path: Path, outputs: Outputs) -> None:
    project = write_project(tmp_path)
    set_head(project, np.zeros_like)
    found, page = evaluated(project, outputs)
    assert found.auc_macro == pytest.approx(0.5)
    assert found.log_loss == pytest.approx(np.log(3))
    assert "probabilities for the validation images are all but equal." in page


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, outputs: Outputs, value: float) -> None:
    project = write_project(tmp_path)
    set_head(project, lambda values: np.full_like(values, value))
    with pytest.raises(UserError, match="the model gives NaN for some images: its training diverged"):
        evaluate_project(project, *outputs)
    assert not any(path.exists() for path in outputs)


def test_two_classes(tmp_path: Path, outputs: Outputs) -> None:
    labels = [number % 2 for number in range(50)]
    project = write_project(tmp_path, ["cat", "dog"], labels, [*labels[:-1], 0])
    found, page = evaluated(project, outputs)
    assert found.confusion_matrix == [[25, 0], [1, 24]]
    assert found.calibration.fitted
    assert "49 of 50 test images right" in page


def test_names_that_look_like_nothing_can_be_told_apart(tmp_path: Path, outputs: Outputs) -> None:
    names = [" ", "\u200b", "\u00a0", "naïve 鳥 🦉"]
    labels = [number % 4 for number in range(40)]
    _, page = evaluated(write_project(tmp_path, names, labels, [*labels[:-3], 0, 0, 0]), outputs)
    for shown in ("⟨0020⟩", "⟨200B⟩", "⟨00A0⟩", "naïve 鳥 🦉"):
        assert shown in page


def set_head(project: TinyProject, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the weights of the answering layer."""
    model = keras.saving.load_model(project.model / KERAS_FILE)
    head = model.get_layer("head")
    head.set_weights([change(values) for values in head.get_weights()])
    model.save(project.model / KERAS_FILE)
