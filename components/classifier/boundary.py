"""Where a backbone is cut between the layers that stay frozen and those that learn, found from its graph.

What crosses the cut does not change while the layers behind it learn, so it can be computed once: training what is
behind the cut on it gives the weights that training the whole model would. For the last 30 layers of InceptionV3 two
tensors cross: ``mixed9``, and ``conv2d_89``, a convolution whose normalization is the first of the thirty.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import keras

from components.classifier.backbones import Backbone
from components.classifier.head import FEATURES, scaling_layer


@dataclasses.dataclass(frozen=True)
class Cut:
    """A backbone, cut before its last layers.

    Attributes:
        tensors: What the last layers take from the layers before them, in the order of the graph.
        names: Of the layers that give them, for people: Keras numbers layers anew where there are several networks.
        keys: The same by the numbers of the layers, for machines.
        last_layers: How many layers are behind the cut.
    """

    tensors: tuple[keras.KerasTensor, ...]
    names: tuple[str, ...]
    keys: tuple[str, ...]
    last_layers: int

    @property
    def at_input(self) -> bool:
        """Whether pixels cross the cut, so that nothing is left to be computed once."""
        return any(isinstance(tensor._keras_history.operation, keras.layers.InputLayer) for tensor in self.tensors)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the tensors without the batch."""
        return tuple(tuple(tensor.shape[1:]) for tensor in self.tensors)

    @property
    def in_words(self) -> str:
        """What crosses the cut: ``mixed9 (6, 6, 2048) and conv2d_89 (6, 6, 448)`` for example."""
        return " and ".join(f"{name} {shape}" for name, shape in zip(self.names, self.shapes, strict=True))


def cut_before_last_layers(network: keras.Model, count: int) -> Cut:
    """Find what the last layers of a backbone take from the layers before them.

    Layers count by their place in ``network.layers``, which Keras sorts so that a layer comes after all it takes
    something from. With all of them behind the cut, what crosses it is the network's input.

    Args:
        network: A functional model.
        count: How many layers from the end, 1 to all of them.
    """
    behind = {id(layer) for layer in network.layers[len(network.layers) - count :]}
    crossing = {
        id(tensor): tensor
        for layer in network.layers
        if id(layer) in behind
        for tensor in _taken(network, layer)
        if id(tensor._keras_history.operation) not in behind
    }
    # With all layers behind the cut, the one that stands for the input is too, and takes nothing.
    crossing |= {id(tensor): tensor for tensor in network.inputs if id(tensor._keras_history.operation) in behind}
    sources = [tensor._keras_history for tensor in crossing.values()]
    place = {id(layer): number for number, layer in enumerate(network.layers)}
    return Cut(
        tensors=tuple(crossing.values()),
        names=tuple(source.operation.name for source in sources),
        keys=tuple(f"layer_{place[id(source.operation)]}_{source.tensor_index}" for source in sources),
        last_layers=count,
    )


def features_and_boundary(backbone: Backbone, network: keras.Model, cut: Cut | None) -> keras.Model:
    """Return a model from pixels in [0, 255] to all that both phases need be computed once for an image, in one pass.

    Args:
        backbone: Description of the network.
        network: The backbone, with all of its layers frozen.
        cut: Where to cut it; None for the pooled features alone.

    Returns:
        A model from ``[batch, size, size, 3]`` to a dictionary: by the keys of the cut its tensors, and by
        ``FEATURES`` the pooled features, float32 ``[batch, features]``.
    """
    taken = list(cut.tensors) if cut else []
    inside = keras.Model(network.inputs, [*taken, network.outputs[0]], name=f"{network.name}_with_boundary")
    images = keras.Input(network.input_shape[1:], name="image")
    *boundary, maps = inside([scaling_layer(backbone)(images)])
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name=FEATURES)(maps)
    named = dict(zip(cut.keys if cut else (), boundary, strict=True))
    return keras.Model(images, {**named, FEATURES: features}, name="extractor")


def boundary_alone(backbone: Backbone, network: keras.Model, cut: Cut) -> keras.Model:
    """Return ``layers_before`` with what crosses the cut in a dictionary, by the keys of the cut.

    It gives the very values that ``features_and_boundary`` does, and runs no layer behind the cut.
    """
    before = layers_before(backbone, network, cut)
    return keras.Model(before.inputs[0], dict(zip(cut.keys, before.outputs, strict=True)), name="extractor")


def layers_before(backbone: Backbone, network: keras.Model, cut: Cut) -> keras.Model:
    """Return a model of what is before the cut: from pixels in [0, 255] to what ``tail_model`` takes.

    Args:
        backbone: Description of the network.
        network: The backbone that was cut.
        cut: Where.
    """
    taken = cut.tensors[0] if len(cut.tensors) == 1 else cut.tensors
    inside = keras.Model(network.inputs, taken, name=f"{network.name}_first_layers")
    images = keras.Input(network.input_shape[1:], name="image")
    return keras.Model(images, inside([scaling_layer(backbone)(images)]), name="before")


def tail_model(network: keras.Model, cut: Cut, head: Sequence[keras.layers.Layer]) -> keras.Model:
    """Return a model of what is behind the cut: the last layers, pooling and head, which share their weights.

    Args:
        network: The backbone that was cut.
        cut: Where.
        head: Layers from pooled features to probabilities.

    Returns:
        A model from the tensors of the cut, in order, or the only one, to float32 probabilities ``[batch, classes]``.
    """
    last_layers = keras.Model(list(cut.tensors), network.outputs[0], name=f"{network.name}_last_layers")
    inputs = [keras.Input(shape, name=f"boundary_{number}") for number, shape in enumerate(cut.shapes)]
    tensor = keras.layers.GlobalAveragePooling2D(dtype="float32", name=FEATURES)(last_layers(inputs))
    for layer in head:
        tensor = layer(tensor)
    return keras.Model(inputs[0] if len(inputs) == 1 else tuple(inputs), tensor, name="tail")


def _taken(network: keras.Model, layer: keras.layers.Layer) -> Iterator[keras.KerasTensor]:
    """Yield what a layer takes in this network; it may take other things in other models."""
    own = {id(node) for nodes in network._nodes_by_depth.values() for node in nodes}
    for node in layer._inbound_nodes:
        if id(node) in own:
            yield from node.input_tensors
