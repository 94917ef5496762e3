"""Fine-tuning changes the layers it says and no others, and keeps the better model."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from components.classifier import training_figures
from components.failures import UserError
from components.fine_tune.unfreezing import unfreeze_last_layers
from components.formats.splits import read_splits, write_splits
from components.formats.trained_model import read_training_record
from tests.classifier.small_splits import drawn_shapes, write_small_splits
from tests.classifier.step_runs import changed_layers, run_fine_tune, run_train_frozen, trained_model

SIZE_PX = 96
# 18 images to train on and 9 to choose by: batches without a tail, for which TensorFlow would trace the model again.
SETTINGS = {"batch_size": 9, "class_weights": "balanced"}
IMAGENET_FILE = Path(__file__).parents[2] / "samples" / "efficientnet_lite0" / "imagenet_float16.npz"


@dataclasses.dataclass(frozen=True)
class Run:
    """Both phases' outputs."""

    splits: Path
    frozen: Path
    tuned: Path
    metrics: dict[str, Any]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shapes") / "splits"
    write_small_splits(directory, drawn_shapes({"train": 6, "validation": 3, "test": 1}, seed=1), SIZE_PX, shards=2)
    return directory


@pytest.fixture(scope="module")
def lite0(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Both phases of EfficientNet-Lite0 with real weights."""
    frozen, tuned = tmp_path_factory.mktemp("frozen"), tmp_path_factory.mktemp("tuned")
    run_train_frozen(shapes, frozen, weights=str(IMAGENET_FILE), epochs=3)
    metrics = run_fine_tune(shapes, frozen / "model", tuned, export_h5=True, **SETTINGS)
    return Run(shapes, frozen, tuned, metrics)


@pytest.fixture(scope="module")
def frozen_model(lite0: Run) -> keras.Model:
    return trained_model(lite0.frozen)


@pytest.fixture(scope="module")
def tuned_model(lite0: Run) -> keras.Model:
    return trained_model(lite0.tuned)


def test_the_older_format_holds_the_same_model(lite0: Run, tuned_model: keras.Model) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE_PX, SIZE_PX, 3)).astype(np.float32)
    h5 = lite0.tuned / "model" / "EfficientNet_Lite0_Animals_Classification.h5"

    again = keras.saving.load_model(h5, compile=False)

    np.testing.assert_allclose(again(pixels), tuned_model(pixels), atol=1e-5)


def test_fine_tuning_beats_the_frozen_phase_and_is_kept(lite0: Run) -> None:
    record = read_training_record(lite0.tuned / "model")
    history = pd.read_csv(lite0.tuned / "model" / "history.csv")
    frozen_record = read_training_record(lite0.frozen / "model")

    assert lite0.metrics["fine_tuned_val_loss"] < lite0.metrics["frozen_val_loss"]
    assert lite0.metrics["frozen_val_loss"] == pytest.approx(frozen_record.best_val_loss, rel=1e-4)
    assert (record.phase, record.best_phase) == ("fine_tune", "fine_tune")
    assert record.best_val_loss == lite0.metrics["val_loss"] == lite0.metrics["fine_tuned_val_loss"]
    assert history["phase"].tolist() == ["frozen"] * 3 + ["fine_tune"] * 2
    assert history["epoch"].tolist() == [1, 2, 3, 1, 2]
    assert set(record.settings) == {"frozen", "fine_tune"}
    assert {path.name for path in (lite0.tuned / "model").iterdir()} == {
        "model.keras", "training.json", "history.csv", "curves.png", "tensorboard",
        "EfficientNet_Lite0_Animals_Classification.h5",
    }  # fmt: skip
    page = (lite0.tuned / "report").read_text()
    assert f"Kept: epoch {record.best_epoch} of fine-tuning" in page
    assert (record.frozen_val_loss, record.frozen_val_accuracy) == pytest.approx(
        (lite0.metrics["frozen_val_loss"], frozen_record.best_val_accuracy)
    )
    assert "validation before fine-tuning" in page
    assert f'<td>before</td><td class="number">{record.frozen_val_loss:.4f}</td>' in page


def test_batch_normalization_and_early_layers_stay_as_they_were(
    frozen_model: keras.Model, tuned_model: keras.Model
) -> None:
    before, after = (model.get_layer("efficientnet_lite0") for model in (frozen_model, tuned_model))

    changed = changed_layers(before, after)

    first = len(after.layers) - 30
    convolutions = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    assert changed == [i for i in range(first, len(after.layers)) if isinstance(after.layers[i], convolutions)]


def test_the_frozen_model_is_kept_when_fine_tuning_makes_it_worse(
    lite0: Run,
    frozen_model: keras.Model,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In batches that leave a tail. The one warning is true of the model that is kept."""
    monkeypatch.setattr(training_figures, "_LEAST_SECONDS", math.inf)  # of a slow machine nothing is said
    metrics = run_fine_tune(lite0.splits, lite0.frozen / "model", tmp_path, epochs=1, learning_rate=0.5, batch_size=8)

    record = read_training_record(tmp_path / "model")
    assert metrics["fine_tuned_model_kept"] == 0
    assert metrics["fine_tuned_val_loss"] > metrics["frozen_val_loss"] == metrics["val_loss"]
    assert (record.phase, record.best_phase) == ("fine_tune", "frozen")
    assert record.best_epoch == read_training_record(lite0.frozen / "model").best_epoch
    kept, frozen = trained_model(tmp_path).get_weights(), frozen_model.get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(kept, frozen, strict=True))
    assert "No epoch of fine-tuning was better" in (tmp_path / "report").read_text()
    assert pd.read_csv(tmp_path / "model" / "history.csv")["val_accuracy"].iloc[-1] <= 1 / 3 < metrics["val_accuracy"]
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning: " in line]
    assert warnings == [
        "fine_tune: warning: fine-tuning made the model no better: lower fine_tune_learning_rate, or let fewer layers "
        "learn"
    ]
    assert metrics["warnings"] == 1


def test_the_same_seed_gives_the_same_weights(lite0: Run, tuned_model: keras.Model, tmp_path: Path) -> None:
    """Though what was handed over is computed here, and without the features that train_frozen computes with it."""
    frozen_model, kept = tmp_path / "frozen" / "model", tmp_path / "kept"
    shutil.copytree(lite0.frozen / "model", frozen_model)

    metrics = run_fine_tune(lite0.splits, frozen_model, tmp_path, cache_directory=str(kept), **SETTINGS)

    again, first = trained_model(tmp_path).get_weights(), tuned_model.get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(again, first, strict=True))
    assert metrics["val_loss"] == lite0.metrics["val_loss"]
    handed_over, computed = (
        {str(path.relative_to(cache)): path.read_bytes() for path in cache.glob("boundary-*/[!.]*.shard")}
        for cache in (lite0.frozen / "cache", kept)
    )
    assert computed == handed_over != {}


def test_streaming_ends_in_the_weights_of_cached_training(shapes: Path, tmp_path: Path) -> None:
    """Bit for bit in both phases, though TensorFlow joins layers whose outputs nobody asks for."""
    settings = {"epochs": 1, "batch_size": 9, "cache_precision": "float32"}
    weights = {}
    for mode in ("cached", "streaming"):
        frozen, tuned = tmp_path / f"frozen-{mode}", tmp_path / f"tuned-{mode}"
        run_train_frozen(shapes, frozen, weights=str(IMAGENET_FILE), training_mode=mode, **settings)
        metrics = run_fine_tune(shapes, frozen / "model", tuned, training_mode=mode, **settings)
        assert metrics["fine_tuned_model_kept"] == 1, "nothing to compare: choose other settings"
        assert (metrics["forward_share"] > 0.0) == (mode == "streaming")
        weights[mode] = [*trained_model(frozen).get_weights(), *trained_model(tuned).get_weights()]

    assert all(np.array_equal(*pair) for pair in zip(*weights.values(), strict=True))


def refusal(splits: Path, frozen_model: Path, output: Path, capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    with pytest.raises(SystemExit) as stop:
        run_fine_tune(splits, frozen_model, output, **changes)
    assert stop.value.code == 2
    assert not (output / "model").exists()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fine_tune: error: ")]
    return line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"unfrozen_layers": 0}, "unfrozen_layers is 0: set it to at least 1", id="none"),
        pytest.param({"unfrozen_layers": 500}, "has 141 layers: set it between 3 and 141", id="too many"),
        pytest.param(
            {"unfrozen_layers": 2}, "the last 2 layers of efficientnet_lite0 hold no weights", id="no weights"
        ),
        pytest.param(
            {"unfrozen_layers": 2, "train_batch_normalization": True},
            "but those of normalization, which never learns alone: set it to at least 3",
            id="normalization alone",
        ),
        pytest.param({"learning_rate": -1e-5}, "learning_rate is -1e-05", id="learning rate"),
        pytest.param({"augmentation": -0.1}, "augmentation is -0.1", id="augmentation"),
        pytest.param({"gpu_count": 64}, "64 GPU(s) were asked for", id="gpus"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    lite0: Run, tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(lite0.splits, lite0.frozen / "model", tmp_path, capsys, **changes)


def test_a_model_of_other_splits_is_refused(lite0: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(lite0.splits, tmp_path / "splits")
    write_splits(dataclasses.replace(read_splits(lite0.splits), dataset_digest="0" * 64), tmp_path / "splits")

    line = refusal(tmp_path / "splits", lite0.frozen / "model", tmp_path, capsys)

    assert "the frozen model was trained on other splits" in line


@pytest.mark.parametrize(
    ("policy", "seed", "differ"),
    [("pad", 1, "resize_policy stretch, these have pad"), ("stretch", 2, "their shards differ")],
    ids=["resize policy", "pixels"],
)
def test_other_pixels_of_the_same_images_are_refused(
    lite0: Run, tmp_path: Path, policy: str, seed: int, differ: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dataset's digest is of source images, and says nothing of how they were prepared."""
    counts = {"train": 6, "validation": 3, "test": 1}
    others = write_small_splits(tmp_path / "splits", drawn_shapes(counts, seed), SIZE_PX, shards=2)
    digest = read_splits(lite0.splits).dataset_digest
    same_source = dataclasses.replace(others, dataset_digest=digest, resize_policy=policy)
    write_splits(same_source, tmp_path / "splits")

    line = refusal(tmp_path / "splits", lite0.frozen / "model", tmp_path, capsys)

    assert f"the frozen model was trained on other pixels of the same images ({differ}): give the splits" in line


def test_a_model_of_before_shards_were_recorded_is_fine_tuned(lite0: Run, tmp_path: Path) -> None:
    shutil.copytree(lite0.frozen / "model", tmp_path / "frozen")
    record = read_training_record(lite0.frozen / "model")
    assert record.shards_digest == read_training_record(lite0.tuned / "model").shards_digest != ""
    file = tmp_path / "frozen" / "training.json"
    older = json.loads(file.read_text())
    del older["shards_digest"]
    file.write_text(json.dumps(older))

    run_fine_tune(lite0.splits, tmp_path / "frozen", tmp_path, **SETTINGS, epochs=1)

    assert (tmp_path / "model" / "model.keras").is_file()


def test_a_fine_tuned_model_is_refused(lite0: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(lite0.splits, lite0.tuned / "model", tmp_path, capsys)
    assert "written by phase 'fine_tune': give the output of train_frozen" in line


def test_a_damaged_model_is_refused(lite0: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(lite0.frozen / "model", tmp_path / "frozen")
    data = (tmp_path / "frozen" / "model.keras").read_bytes()
    (tmp_path / "frozen" / "model.keras").write_bytes(data[: len(data) // 2])

    line = refusal(lite0.splits, tmp_path / "frozen", tmp_path, capsys)
    assert "frozen is not a readable trained model (model.keras is cut short or damaged): give the output of" in line


def test_a_folder_of_something_else_is_refused(lite0: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a readable trained model" in refusal(lite0.splits, lite0.splits, tmp_path, capsys)


def test_unfreezing_names_what_learns() -> None:
    network = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(4, name="first"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(4, name="second"),
            keras.layers.ReLU(),
        ]
    )

    assert unfreeze_last_layers(network, 3, False) == ["second"]
    assert unfreeze_last_layers(network, 4, False) == ["first", "second"]
    assert [v.path.split("/")[-2] for v in network.trainable_variables] == ["first", "first", "second", "second"]
    with pytest.raises(UserError, match="no weights that can learn"):
        unfreeze_last_layers(network, 1, False)
