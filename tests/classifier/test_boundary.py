"""A backbone is cut where its graph says, and both parts together give what the whole gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.classifier.backbones import BACKBONES
from components.classifier.boundary import (
    boundary_alone,
    cut_before_last_layers,
    features_and_boundary,
    tail_model,
)
from components.classifier.head import FEATURES, feature_extractor, head_layers, head_of, whole_model
from tests.classifier.stopped_attempts import tiny_backbone

SIZE_PX = {"inception_v3": 75, "efficientnet_lite0": 64}


@pytest.fixture(scope="module", params=list(SIZE_PX))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(name: str) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    network = BACKBONES[name].build(SIZE_PX[name])
    return whole_model(BACKBONES[name], network, head_layers(3, 8, 0.5))


@pytest.mark.parametrize("count", [1, 30, 31, 100, None])
def test_both_parts_give_what_the_whole_gives(name: str, whole: keras.Model, count: int | None) -> None:
    backbone, network = BACKBONES[name], whole.get_layer(name)
    cut = cut_before_last_layers(network, count or len(network.layers))
    pixels = np.random.default_rng(0).integers(0, 256, (2, *whole.input_shape[1:])).astype(np.float32)

    outputs = features_and_boundary(backbone, network, cut)(pixels)
    tensors = tuple(outputs[key] for key in cut.keys)
    tail = tail_model(network, cut, head_of(whole))

    assert np.array_equal(tail(tensors[0] if len(tensors) == 1 else tensors), whole(pixels))
    assert np.array_equal(outputs[FEATURES], feature_extractor(backbone, network)(pixels))
    assert [tuple(tensor.shape[1:]) for tensor in tensors] == list(cut.shapes)
    assert cut.at_input == (count is None)


@pytest.mark.parametrize("count", [30, 100])
def test_what_crosses_is_the_same_without_what_is_behind(name: str, whole: keras.Model, count: int) -> None:
    """Bit for bit as graphs too, in which TensorFlow joins layers: a cache may be filled by either."""
    backbone, network = BACKBONES[name], whole.get_layer(name)
    cut = cut_before_last_layers(network, count)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *whole.input_shape[1:])).astype(np.float32)
    both, alone = (make(backbone, network, cut) for make in (features_and_boundary, boundary_alone))

    expected, found = (tf.function(extractor)(pixels) for extractor in (both, alone))

    assert set(expected) == {*cut.keys, FEATURES}
    assert set(found) == set(cut.keys)
    assert all(np.array_equal(found[key], expected[key]) for key in cut.keys)
    run = {layer.name for layer in alone.get_layer(f"{name}_first_layers").layers}
    assert run.isdisjoint(layer.name for layer in network.layers[-count:])


def test_two_tensors_cross_to_the_last_30_layers_of_inception() -> None:
    keras.utils.clear_session()
    network = BACKBONES["inception_v3"].build(256)

    cut = cut_before_last_layers(network, 30)

    assert dict(zip(cut.names, cut.shapes, strict=True)) == {"mixed9": (6, 6, 2048), "conv2d_89": (6, 6, 448)}
    assert cut_before_last_layers(network, 31).in_words == "mixed9 (6, 6, 2048)"


def test_where_it_is_cut_does_not_depend_on_how_keras_numbers_layers() -> None:
    first, second = (cut_before_last_layers(BACKBONES["inception_v3"].build(75), 30) for _ in range(2))

    assert first.names != second.names
    assert first.keys == second.keys


def test_the_part_behind_the_cut_shares_its_weights() -> None:
    backbone = tiny_backbone()
    network = backbone.build(32)
    head = head_layers(2, 4, 0.0)
    whole = whole_model(backbone, network, head)
    tail = tail_model(network, cut_before_last_layers(network, 5), head)

    behind = [weight for layer in (*network.layers[-5:], *head) for weight in layer.weights]

    assert [id(weight) for weight in tail.weights] == [id(weight) for weight in behind]
    assert {id(weight) for weight in tail.weights} <= {id(weight) for weight in whole.weights}
