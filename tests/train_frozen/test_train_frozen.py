"""The frozen phase learns real photographs with real weights, repeats itself exactly, and refuses what cannot work."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from components.classifier.backbones import BACKBONES
from components.classifier.head import feature_extractor
from components.classifier.input_pipeline import Batching, open_splits, read_labels, stored_batches, view_batches
from components.classifier.step_time import duration
from components.classifier.weights import load_weights
from components.formats.trained_model import HISTORY_COLUMNS, read_training_record
from components.formats.training_features import (
    TRAINING_FEATURES_FILE,
    of_length_1,
    read_training_features,
    training_shards_digest,
)
from tests.classifier.small_splits import drawn_shapes, sample_photos, write_small_splits
from tests.classifier.step_runs import run_train_frozen

IMAGENET_FILE = Path(__file__).parents[2] / "samples" / "efficientnet_lite0" / "imagenet_float16.npz"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample photographs, with a class name that a page must escape."""
    directory = tmp_path_factory.mktemp("photos") / "splits"
    images = {
        split: {"<b>bird</b>" if name == "bird" else name: images for name, images in classes.items()}
        for split, classes in sample_photos(seed=1).items()
    }
    write_small_splits(directory, images, 128)
    return directory


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("trained")
    metrics = run_train_frozen(
        photos,
        output,
        weights=str(IMAGENET_FILE),
        epochs=6,
        head_units=64,
        augmentation=0.3,
        augmented_views=2,
        class_weights="balanced",
    )
    return output, metrics


def test_photographs_are_learned(trained: tuple[Path, dict[str, Any]]) -> None:
    _, metrics = trained

    assert metrics["val_accuracy"] >= 0.7  # always saying mammal gives 7 of 15
    assert metrics["training_images"] == 47
    assert metrics["validation_images"] == 15
    assert metrics["epochs_run"] == 6
    json.dumps(metrics, allow_nan=False)


def test_the_report_says_that_training_stopped_early(photos: Path, tmp_path: Path) -> None:
    steps_too_large = {"optimizer": "sgd", "learning_rate": 1.0, "epochs": 9, "early_stopping_patience": 1}
    metrics = run_train_frozen(photos, tmp_path, weights=str(IMAGENET_FILE), **steps_too_large)

    ran = metrics["epochs_run"]
    assert ran < 9
    told = f"The frozen phase stopped after epoch {ran} of 9: no better for 1 epoch."
    assert told in (tmp_path / "report").read_text()


def test_the_model_loads_safely_and_scores_what_was_recorded(
    photos: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    output, metrics = trained
    model = keras.saving.load_model(output / "model" / "model.keras", safe_mode=True)
    validation = open_splits(photos)[2]

    probabilities = model.predict(stored_batches(validation, Batching(4, 1)), verbose=0)

    labels = read_labels(validation)
    assert (probabilities.argmax(axis=1) == labels).mean() == pytest.approx(metrics["val_accuracy"])
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(metrics["val_loss"], abs=1e-4)


def test_the_backbone_keeps_its_pretrained_weights(trained: tuple[Path, dict[str, Any]]) -> None:
    backbone = BACKBONES["efficientnet_lite0"]
    network = backbone.build(128)
    load_weights(network, backbone, str(IMAGENET_FILE))
    model = keras.saving.load_model(trained[0] / "model" / "model.keras", safe_mode=True)

    kept = model.get_layer(backbone.name).get_weights()

    assert all(np.array_equal(one, other) for one, other in zip(kept, network.get_weights(), strict=True))


def test_record_and_history_tell_what_happened(trained: tuple[Path, dict[str, Any]]) -> None:
    output, metrics = trained
    record = read_training_record(output / "model")
    history = pd.read_csv(output / "model" / "history.csv")

    assert (record.backbone, record.phase, record.best_phase) == ("efficientnet_lite0", "frozen", "frozen")
    assert record.class_names == ["<b>bird</b>", "fish", "mammal"]
    assert record.images_per_class == {"<b>bird</b>": 8, "fish": 16, "mammal": 23}
    assert record.weights_sha256 == "04ce2cb2a30d2f438712260a5da77972f9d398d3838fe8b1adcec4684ae1394a"
    assert record.settings["frozen"]["learning_rate"] == 1e-3
    assert tuple(history.columns) == HISTORY_COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert history["val_loss"].min() == pytest.approx(record.best_val_loss)
    assert record.best_epoch == metrics["best_epoch"] == history["val_loss"].argmin() + 1
    assert (output / "model" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_what_the_backbone_saw_is_kept_for_evaluate(photos: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    kept = read_training_features(trained[0] / "model")
    assert kept is not None
    splits, training, _ = open_splits(photos)
    backbone = BACKBONES["efficientnet_lite0"]
    network = backbone.build(128)
    load_weights(network, backbone, str(IMAGENET_FILE))
    extractor = feature_extractor(backbone, network)

    views = [extractor.predict(view_batches(training, Batching(8, 1), 0.3, 3, view), verbose=0) for view in range(2)]

    np.testing.assert_allclose(
        kept.features.astype(np.float64), of_length_1(np.mean(views, axis=0)).astype(np.float64), atol=1e-3
    )
    assert kept.features.shape == (47, 1280)
    assert kept.positions.tolist() == list(range(47))
    assert kept.views == 2
    assert (kept.dataset_digest, kept.shards_digest) == (splits.dataset_digest, training_shards_digest(splits))


def test_the_report_says_what_was_kept_and_escapes_names(trained: tuple[Path, dict[str, Any]]) -> None:
    output, metrics = trained
    page = (output / "report").read_text()

    assert f"Kept: epoch {metrics['best_epoch']} of the frozen phase" in page
    assert "&lt;b&gt;bird&lt;/b&gt;" in page
    assert "<b>bird</b>" not in page
    assert page.count("data:image/jpeg") == 4 * (1 + 2)  # a sample as stored and in the two views training made
    assert "With 15 validation images" in page
    assert "Where the time went" in page
    assert f'until the model was ready</th><th class="number">{duration(metrics["seconds"])}</th>' in page
    assert all(f"<figcaption>{name}</figcaption>" in page for name in ("&lt;b&gt;bird&lt;/b&gt;", "fish", "mammal"))
    assert {
        "images_per_second",
        "input_share",
        "forward_share",
        "cpu_cores",
        "peak_memory_mb",
        "warnings",
    } <= metrics.keys()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shapes") / "splits"
    write_small_splits(directory, drawn_shapes({"train": 5, "validation": 2, "test": 1}, seed=1), 64)
    return directory


def test_the_same_seed_gives_the_same_weights_over_leftovers(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "leftover").touch()
    weights, features = [], []
    for _ in range(2):
        run_train_frozen(shapes, tmp_path, seed=5, augmentation=0.5, augmented_views=2)
        weights.append(keras.saving.load_model(tmp_path / "model" / "model.keras").get_weights())
        features.append((tmp_path / "model" / TRAINING_FEATURES_FILE).read_bytes())

    assert features[0] == features[1]
    assert all(np.array_equal(one, other) for one, other in zip(weights[0], weights[1], strict=True))
    assert not (tmp_path / "model" / "leftover").exists()
    assert "it was never trained" in (tmp_path / "report").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"backbone": "vgg"}, "backbone 'vgg' is unknown", id="backbone"),
        pytest.param(
            {"backbone": "inception_v3"}, "images are 64 px wide and inception_v3 needs at least 75", id="size"
        ),
        pytest.param({"weights": "missing.npz"}, "missing.npz", id="weights"),
        pytest.param({"epochs": 0}, "epochs is 0", id="epochs"),
        pytest.param({"head_units": 0}, "head_units is 0: set it between 1 and 16384", id="head"),
        pytest.param({"dropout": 1.0}, "dropout is 1.0", id="dropout"),
        pytest.param({"augmentation": 1.2}, "augmentation is 1.2: set it between 0 and 1", id="augmentation"),
        pytest.param({"augmented_views": 0}, "augmented_views is 0", id="views"),
        pytest.param({"training_mode": "fast"}, "training_mode is 'fast': choose one of auto", id="mode"),
        pytest.param(
            {"training_mode": "cached", "cache_limit_gb": 1e-6}, "cache_limit_gb is 1e-06: raise it", id="cache limit"
        ),
        pytest.param({"class_weights": "auto"}, "class_weights is 'auto'", id="class weights"),
        pytest.param({"gpu_count": -1}, "gpu_count is -1", id="negative gpus"),
        pytest.param({"gpu_count": 64}, "64 GPU(s) were asked for", id="gpus"),
    ],
)
def test_what_cannot_work_ends_with_a_sentence_and_exit_code_2(
    shapes: Path, tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train_frozen(shapes, tmp_path, **changes)

    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train_frozen: error: ")]
    assert message in line
    assert not (tmp_path / "model").exists()
