"""Which layers of a backbone learn in the fine-tuning phase."""

import keras

from components.fine_tune.fine_tune_settings import check_unfrozen_layers


def unfreeze_last_layers(network: keras.Model, count: int, train_batch_normalization: bool) -> list[str]:
    """Let the last layers of a backbone learn, all others stay as they are.

    Layers count by their place in ``network.layers``, as the usual recipe has it. In InceptionV3 the last 30 of 311 are
    281 ``batch_normalization_89`` to 310 ``mixed10``: the last block, except one convolution that comes just before in
    the list. BatchNormalization layers among them stay frozen unless asked for, and so in inference mode: statistics of
    small batches would wreck what pretraining gathered over a million images.

    Args:
        network: The backbone.
        count: How many layers from the end, 1 to all of them. Layers without weights count too.
        train_batch_normalization: Whether normalization among them learns, and normalizes by the statistics of batches.

    Returns:
        Names of the layers that have weights and learn.

    Raises:
        UserError: When the backbone has fewer layers, or none of the last ones can learn.
    """
    able = [bool(layer.weights) and not isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers]
    check_unfrozen_layers(count, network.name, len(able), able[::-1].index(True) + 1)
    network.trainable = True
    first = len(network.layers) - count
    for number, layer in enumerate(network.layers):
        normalizes = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = number >= first and (train_batch_normalization or not normalizes)
    return [layer.name for layer in network.layers if layer.trainable_variables]
