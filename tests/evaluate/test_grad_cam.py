"""Grad-CAM finds where in an image the class is."""

import base64

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.classifier.backbones import find_backbone
from components.classifier.head import SCALING_LAYER, head_layers, whole_model
from components.evaluate.grad_cam import explain
from components.evaluate.pictures import SIDE_PX, decoded, heat_thumbnail, thumbnail
from components.report.page import data_uri


@pytest.fixture(scope="module", params=["float32", "mixed_float16"])
def redness(request: pytest.FixtureRequest) -> keras.Model:
    """A model of the classes blue and red, whose first convolution passes on blue and red."""
    image = keras.Input((32, 32, 3))
    scaled = keras.layers.Rescaling(1 / 255)(image)
    maps = keras.layers.Conv2D(2, 4, strides=4, name="maps", dtype=request.param)(scaled)
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32")(maps)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax", name="answer")(pooled))
    kernel = np.zeros((4, 4, 3, 2), np.float32)
    kernel[..., 2, 0] = kernel[..., 0, 1] = 1 / 16
    model.get_layer("maps").set_weights([kernel, np.zeros(2, np.float32)])
    model.get_layer("answer").set_weights([np.diag([400.0, 400.0]).astype(np.float32), np.zeros(2, np.float32)])
    return model


def halves() -> np.ndarray:
    """Return three images, left half red and right half blue."""
    images = np.zeros((3, 32, 32, 3), np.uint8)
    images[:, :, :16, 0] = 255
    images[:, :, 16:, 2] = 255
    return images


def test_heat_lies_where_the_class_is_whatever_the_batch(redness: keras.Model) -> None:
    for batch_size in (1, 2, 8):
        heat = explain(redness, halves(), [1, 0, 1], batch_size)
        assert heat is not None
        for one, left in zip(heat, (1.0, 0.0, 1.0), strict=True):
            assert one.shape == (8, 8)
            assert one[:, :4] == pytest.approx(np.full((8, 4), left))
            assert one[:, 4:] == pytest.approx(np.full((8, 4), 1 - left))


def test_a_certain_answer_is_explained_too(redness: keras.Model) -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[:, 8:16, 8:16, 0] = 255
    assert float(redness.predict_on_batch(tf.constant(image))[0, 1]) == 1.0
    heat = explain(redness, image, [1], 1)
    assert heat is not None
    assert np.argwhere(heat[0] > 0.5).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


def test_where_nothing_speaks_for_the_class_there_is_no_heat(redness: keras.Model) -> None:
    heat = explain(redness, np.zeros((1, 32, 32, 3), np.uint8), [1], 1)
    assert heat is not None
    assert not heat[0].any()


@pytest.mark.parametrize(("name", "side"), [("inception_v3", 3), ("efficientnet_lite0", 5)])
def test_a_whole_classifier_is_asked_at_the_last_maps_of_its_backbone(name: str, side: int) -> None:
    """The maps' weights are gradients of the score, here by the chain rule through both layers of the head."""
    keras.utils.set_random_seed(3)
    backbone = find_backbone(name, 140)
    model = whole_model(backbone, backbone.build(140), head_layers(4, 16, 0.5))
    image = np.random.default_rng(3).integers(0, 256, (1, 140, 140, 3), np.uint8)
    heat = explain(model, image, [2], 1)
    assert heat is not None
    assert heat[0].shape == (side, side)
    maps = maps_of(model, name, image)
    (into, bias), (out, _) = (model.get_layer(layer).get_weights() for layer in ("head_dense", "probabilities"))
    is_on = maps.mean(axis=(1, 2))[0] @ into + bias > 0
    slopes = into @ (is_on * out[:, 2])
    expected = np.maximum((maps[0] * slopes).sum(axis=2), 0)
    assert heat[0] == pytest.approx(expected / expected.max(), abs=1e-3)


def maps_of(model: keras.Model, name: str, image: np.ndarray) -> np.ndarray:
    """Return the backbone's last feature maps."""
    scaled = model.get_layer(SCALING_LAYER)(image)
    return np.asarray(model.get_layer(name)(scaled, training=False), np.float64)


def test_a_model_without_feature_maps_is_not_asked() -> None:
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    assert explain(model, halves(), [0, 0, 0], 2) is None


def test_the_overlay_colours_what_is_hot_and_leaves_the_rest_gray() -> None:
    heat = np.zeros((8, 8), np.float32)
    heat[:, :4] = 1.0
    pixels = np.full((300, 300, 3), (30, 160, 60), np.uint8)
    shown = decoded(decoded_uri(heat_thumbnail(pixels, heat)))
    assert shown.shape == (SIDE_PX, SIDE_PX, 3)
    spread = np.ptp(shown.astype(int), axis=2)
    assert spread[:, : SIDE_PX // 3].mean() > 60
    assert spread[:, -SIDE_PX // 3 :].mean() < 8
    assert decoded(decoded_uri(thumbnail(pixels))).mean(axis=(0, 1)) == pytest.approx([30, 160, 60], abs=3)


def decoded_uri(uri: str) -> bytes:
    start = data_uri(b"", "image/jpeg")
    assert uri.startswith(start)
    return base64.b64decode(uri.removeprefix(start))
