"""Both phases of InceptionV3, untrained but whole: fine-tuning changes the layers the usual recipe means.

And it changes them alike on what crosses from the frozen layers, computed once, and on pixels in every epoch.
"""

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.classifier.small_splits import drawn_shapes, write_small_splits
from tests.classifier.step_runs import changed_layers, run_fine_tune, run_train_frozen, trained_model

SIZE_PX = 75  # the smallest InceptionV3 takes


def test_inception_learns_in_the_convolutions_of_its_last_30_layers_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits, frozen, tuned = tmp_path / "splits", tmp_path / "frozen", tmp_path / "tuned"
    write_small_splits(splits, drawn_shapes({"train": 4, "validation": 2, "test": 1}, seed=2), SIZE_PX)
    # Batches without a tail, for which TensorFlow would trace the model again.
    run_train_frozen(splits, frozen, backbone="inception_v3", epochs=1, batch_size=6, cache_precision="float32")
    settings = {"epochs": 2, "batch_size": 6, "cache_precision": "float32"}
    metrics = run_fine_tune(splits, frozen / "model", tuned, **settings)
    assert "training mode cached: nothing more to compute" in capsys.readouterr().out
    assert metrics["fine_tuned_model_kept"] == 1, "nothing to compare: choose another seed for the shapes"

    before, after = (trained_model(output).get_layer("inception_v3") for output in (frozen, tuned))

    changed = changed_layers(before, after)
    assert len(after.layers) == 311
    assert changed == [i for i in range(281, 311) if isinstance(after.layers[i], keras.layers.Conv2D)]
    assert len(changed) == 8
    assert after.layers[280].name == "conv2d_89"  # just outside, and consumed by what is inside
    assert after.layers[281].name == "batch_normalization_89"
    assert after.layers[310].name == "mixed10"

    run_fine_tune(splits, frozen / "model", tmp_path / "streamed", **settings, training_mode="streaming")
    streamed = trained_model(tmp_path / "streamed").get_weights()
    assert all(np.array_equal(*pair) for pair in zip(trained_model(tuned).get_weights(), streamed, strict=True))
