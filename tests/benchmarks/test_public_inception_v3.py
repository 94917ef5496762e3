"""The weights out of a package, in the backbone: the same network, on the pixels that the backbone gives."""

from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks.public_inception_v3 import Arrays, read_weights, write_backbone


def test_another_package_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "nsfwjs-4.2.1.tgz"
    package.write_bytes(b"something else")
    with pytest.raises(ValueError, match="npm pack"):
        read_weights(package)


def test_the_backbone_sees_what_the_network_was_trained_on(tmp_path: Path) -> None:
    original = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(96, 96, 3))
    generator = np.random.default_rng(3)
    arrays: Arrays = {}
    for kind, prefix in ((keras.layers.Conv2D, "conv2d"), (keras.layers.BatchNormalization, "batch_normalization")):
        # Keras lists layers by their depth in the graph; they were made, and are packed, in the order of their numbers.
        layers = [layer for layer in original.layers if isinstance(layer, kind)]
        first = min(_number(layer.name) for layer in layers)
        for layer in layers:
            drawn = layer.get_weights()
            if len(drawn) > 1:  # offsets and means that are not all 0, variances that are not all 1
                drawn = [array + generator.uniform(0, 0.1, array.shape) for array in drawn]
                layer.set_weights(drawn)
            packed = f"{prefix}_{_number(layer.name) - first + 1}"
            arrays |= {f"{packed}/{variable.name}": array for variable, array in zip(layer.weights, drawn, strict=True)}
    write_backbone(arrays, tmp_path / "backbone.weights.h5")

    backbone = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(96, 96, 3))
    backbone.load_weights(tmp_path / "backbone.weights.h5")
    pixels = generator.uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    expected = original.predict(pixels / 255, verbose=0)
    np.testing.assert_allclose(backbone.predict(pixels / 127.5 - 1, verbose=0), expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.01


def _number(name: str) -> int:
    last = name.rpartition("_")[2]
    return int(last) if last.isdigit() else 0
