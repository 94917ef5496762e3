"""EfficientNet-Lite0 without its classifier: EfficientNet-B0 less squeeze-and-excite, with ReLU6 for swish.

Architecture: Tan and Le, "EfficientNet" (ICML 2019), and the Lite variants of the TensorFlow TPU models. 4 M weights.
Built from standard Keras layers, so that a saved model loads with ``safe_mode`` and no custom objects.
"""

import dataclasses

import keras

STEM_CHANNELS = 32
TOP_CHANNELS = 1280

_BATCH_NORMALIZATION_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int  # of the first block; the others keep the size
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def build_efficientnet_lite0(image_size_px: int) -> keras.Model:
    """Return the network with fresh random weights.

    Args:
        image_size_px: Height and width of its input, float32 ``[batch, size, size, 3]``, scaled to (x - 127) / 128.

    Returns:
        A model that gives float32 feature maps ``[batch, ceil(size / 32), ceil(size / 32), 1280]``.
    """
    images = keras.Input((image_size_px, image_size_px, 3), name="image")
    tensor = _convolve(images, STEM_CHANNELS, 3, 2, "stem")
    for number, stage in enumerate(_STAGES, start=1):
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            tensor = _inverted_residual(tensor, stage, stride, f"block{number}{'abcd'[repeat]}")
    tensor = _convolve(tensor, TOP_CHANNELS, 1, 1, "top")
    return keras.Model(images, tensor, name="efficientnet_lite0")


def _inverted_residual(tensor: keras.KerasTensor, stage: _Stage, stride: int, name: str) -> keras.KerasTensor:
    """Expand, filter each channel alone, project; add the input where shapes allow."""
    inputs = tensor
    if stage.expansion != 1:
        tensor = _convolve(tensor, inputs.shape[-1] * stage.expansion, 1, 1, f"{name}_expand")
    depthwise = keras.layers.DepthwiseConv2D(
        stage.kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )
    tensor = _normalize(depthwise(tensor), f"{name}_depthwise")
    tensor = _relu6(tensor, f"{name}_depthwise")
    project = keras.layers.Conv2D(stage.channels, 1, padding="same", use_bias=False, name=f"{name}_project_conv")
    tensor = _normalize(project(tensor), f"{name}_project")
    if stride == 1 and inputs.shape[-1] == stage.channels:
        tensor = keras.layers.Add(name=f"{name}_add")([inputs, tensor])
    return tensor


def _convolve(tensor: keras.KerasTensor, channels: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    convolution = keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")
    return _relu6(_normalize(convolution(tensor), name), name)


def _normalize(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(epsilon=_BATCH_NORMALIZATION_EPSILON, name=f"{name}_bn")(tensor)


def _relu6(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.ReLU(max_value=6.0, name=f"{name}_relu6")(tensor)
