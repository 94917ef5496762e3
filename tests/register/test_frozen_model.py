"""What train_frozen keeps for evaluate beside its model is no part of a version."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np

from components.formats.training_features import TRAINING_FEATURES_FILE, TrainingFeatures, write_training_features
from tests.register.conftest import EvaluatedProject, Register


def test_features_of_training_images_change_no_version_and_go_into_none(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    model = shutil.copytree(evaluated.model, tmp_path / "model")
    kept = TrainingFeatures(np.zeros((4, 2), np.float16), np.arange(4), 1, "d" * 64, "5" * 64)
    write_training_features(kept, model)
    with_features = register(dataclasses.replace(evaluated, model=model))
    without = register()
    assert with_features.uri == without.uri
    assert not list(Path(without.uri).rglob(TRAINING_FEATURES_FILE))
