"""What a backbone is, and how images become probabilities."""

from pathlib import Path

import keras
import numpy as np
import pytest

from components.classifier.backbones import BACKBONES, find_backbone
from components.classifier.head import feature_extractor, head_layers, head_model, scaling_layer, whole_model
from components.failures import UserError


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        pytest.param("inception_v3", -1.0, 1.0, id="inception_v3"),
        pytest.param("efficientnet_lite0", -127 / 128, 1.0, id="efficientnet_lite0"),
    ],
)
def test_pixels_are_scaled_as_in_pretraining(name: str, lowest: float, highest: float) -> None:
    scaled = np.asarray(scaling_layer(BACKBONES[name])(np.array([[[[0.0, 127.0, 255.0]]]], np.float32))).ravel()

    assert scaled[[0, 2]] == pytest.approx([lowest, highest], abs=1e-6)


def test_an_unknown_backbone_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="'resnet' is unknown; choose one of efficientnet_lite0, inception_v3"):
        find_backbone("resnet", 256)


@pytest.mark.parametrize(("name", "size_px"), [("inception_v3", 74), ("efficientnet_lite0", 31)])
def test_images_too_small_for_a_backbone_are_refused(name: str, size_px: int) -> None:
    with pytest.raises(UserError, match=f"{name} needs at least {size_px + 1} px"):
        find_backbone(name, size_px)
    assert find_backbone(name, size_px + 1).name == name


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_what_is_said_of_its_layers_is_what_it_has(name: str) -> None:
    backbone = BACKBONES[name]
    network = backbone.build(backbone.minimum_size_px)
    able = [bool(layer.weights) and not isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers]

    assert len(network.layers) == backbone.layers
    assert able[-backbone.fewest_unfrozen_layers]
    assert not any(able[1 - backbone.fewest_unfrozen_layers :])


def test_the_older_export_has_the_name_its_readers_expect() -> None:
    assert BACKBONES["inception_v3"].h5_file == "Inception_V3_Animals_Classification.h5"


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(1)
    backbone = BACKBONES["efficientnet_lite0"]
    return whole_model(backbone, backbone.build(32), head_layers(3, 8, 0.5))


def test_a_model_takes_bytes_and_floats_and_gives_probabilities(model: keras.Model) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    probabilities = model.predict(pixels, verbose=0)

    assert probabilities.shape == (5, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(model.predict(pixels.astype(np.float32), verbose=0), probabilities, atol=1e-6)


def test_features_and_head_make_the_whole_model(model: keras.Model) -> None:
    backbone = BACKBONES["efficientnet_lite0"]
    layers = [model.get_layer(name) for name in ("head_dense", "head_dropout", "probabilities")]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)

    features = feature_extractor(backbone, model.get_layer(backbone.name))(pixels)

    np.testing.assert_allclose(head_model(layers, 1280)(features), model(pixels), atol=1e-6)


def test_batch_normalization_of_a_frozen_backbone_stays_in_inference_mode(model: keras.Model, tmp_path: Path) -> None:
    """Also when the model is called in training mode, and after it was saved."""
    model.get_layer("efficientnet_lite0").trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    network = loaded.get_layer("efficientnet_lite0")
    before = [np.asarray(layer.moving_mean) for layer in network.layers if hasattr(layer, "moving_mean")]

    loaded(np.full((4, 32, 32, 3), 200.0, np.float32), training=True)

    after = [np.asarray(layer.moving_mean) for layer in network.layers if hasattr(layer, "moving_mean")]
    assert len(after) == 49
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
