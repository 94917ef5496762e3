"""The classifier on top of a backbone, and the whole model from pixels to probabilities."""

from collections.abc import Sequence

import keras

from components.classifier.backbones import Backbone

SCALING_LAYER = "scale_pixels"
FEATURES = "pooled_features"
"""Name of what the whole backbone gives, averaged over the picture."""


def head_layers(class_count: int, head_units: int, dropout: float) -> list[keras.layers.Layer]:
    """Return fresh layers that turn pooled features into probabilities: Dense, Dropout, Dense with softmax.

    They compute in float32 whatever the backbone does, because a softmax in half precision loses small probabilities.
    """
    return [
        keras.layers.Dense(head_units, activation="relu", dtype="float32", name="head_dense"),
        keras.layers.Dropout(dropout, dtype="float32", name="head_dropout"),
        keras.layers.Dense(class_count, activation="softmax", dtype="float32", name="probabilities"),
    ]


def feature_extractor(backbone: Backbone, network: keras.Model) -> keras.Model:
    """Return a model from pixels in [0, 255], ``[batch, size, size, 3]``, to pooled float32 features."""
    images, features = _pooled_features(backbone, network)
    return keras.Model(images, features, name="features")


def head_model(layers: Sequence[keras.layers.Layer], feature_count: int) -> keras.Model:
    """Return a model of the head alone: pooled features ``[batch, feature_count]`` to probabilities."""
    features = keras.Input((feature_count,), name=FEATURES)
    return keras.Model(features, _chain(features, layers), name="head")


def whole_model(backbone: Backbone, network: keras.Model, layers: Sequence[keras.layers.Layer]) -> keras.Model:
    """Join scaling, backbone, pooling and head; weights are shared with the given network and layers.

    Returns:
        A model from uint8 or float pixels in [0, 255], ``[batch, size, size, 3]``, to float32 probabilities
        ``[batch, classes]``. The backbone is the layer ``backbone.name``.
    """
    images, features = _pooled_features(backbone, network)
    return keras.Model(images, _chain(features, layers), name="classifier")


def head_of(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers of the head of a whole model, in order."""
    names = [layer.name for layer in model.layers]
    return list(model.layers[names.index(FEATURES) + 1 :])


def scaling_layer(backbone: Backbone) -> keras.layers.Layer:
    """Return the layer that turns pixels in [0, 255] into what the backbone was pretrained on, always in float32."""
    return keras.layers.Rescaling(backbone.scale, backbone.offset, dtype="float32", name=SCALING_LAYER)


def _pooled_features(backbone: Backbone, network: keras.Model) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    images = keras.Input(network.input_shape[1:], name="image")
    # Calling it with training=False would not keep BatchNormalization in inference mode: in Keras 3.15 the
    # training=True of fit() overrides what was said here. Only layers whose trainable is False stay.
    maps = network(scaling_layer(backbone)(images))
    return images, keras.layers.GlobalAveragePooling2D(dtype="float32", name=FEATURES)(maps)


def _chain(tensor: keras.KerasTensor, layers: Sequence[keras.layers.Layer]) -> keras.KerasTensor:
    for layer in layers:
        tensor = layer(tensor)
    return tensor
