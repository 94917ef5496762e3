"""Keras comes without scikit-learn, which is there all the same for whoever asks."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALONE = "from components.classifier.keras_alone import import_keras_alone\nimport_keras_alone()\n"
TOLD = "import sys\nprint(sorted({'keras', 'sklearn'} & set(sys.modules)))\n"


def told_by(program: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return ran.stdout.splitlines()


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        pytest.param("", "['keras']", id="alone"),
        pytest.param("import sklearn\n", "['sklearn']", id="where scikit-learn is there already"),
    ],
)
def test_scikit_learn_is_left_out_and_can_be_had_later(first: str, expected: str) -> None:
    later = "import keras\nimport sklearn.base\nassert keras.Model and sklearn.base.BaseEstimator\n"
    assert told_by(first + ALONE + TOLD + later + TOLD) == [expected, "['keras', 'sklearn']"]


def test_training_and_exports_do_without_it() -> None:
    modules = ("train_frozen.frozen_phase", "fine_tune.fine_tune_phase", "classifier.export_process")
    assert told_by(ALONE + "".join(f"import components.{module}\n" for module in modules) + TOLD) == ["['keras']"]
