"""The backbones that can be trained on: how each is built, and how it wants its pixels.

Each pretrained network expects the scaling it was trained with. ImageNet's InceptionV3 wants [-1, 1]; feeding it
x / 255 shifts every normalization statistic in it. So the scaling belongs to the backbone and is part of every model
built here.

Importing this module loads no TensorFlow, which comes with the first network that is built: a launcher checks names and
sizes without.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from components.failures import UserError

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Backbone:
    """One pretrained network without its classifier.

    Attributes:
        name: What the user writes, and the name of the layer that holds the network in a model.
        build: Takes height and width in pixels; returns the network with random weights, scaled pixels to feature maps.
        scale: Pixels are multiplied by it,
        offset: and this is added.
        preprocessing: The same in words.
        minimum_size_px: Smallest height and width the network can take.
        pretrained_size_px: Height and width it was pretrained with; larger or smaller ones work.
        layers: How many it has, at any size.
        fewest_unfrozen_layers: So many of its last layers hold one that can learn; normalization never does.
        h5_file: File name of the HDF5 export.
    """

    name: str
    build: Callable[[int], "keras.Model"]
    scale: float
    offset: float
    preprocessing: str
    minimum_size_px: int
    pretrained_size_px: int
    layers: int
    fewest_unfrozen_layers: int
    h5_file: str


def _build_inception_v3(image_size_px: int) -> "keras.Model":
    import keras  # noqa: PLC0415

    shape = (image_size_px, image_size_px, 3)
    return keras.applications.InceptionV3(include_top=False, weights=None, input_shape=shape, name="inception_v3")


def _build_efficientnet_lite0(image_size_px: int) -> "keras.Model":
    from components.classifier.efficientnet_lite0 import build_efficientnet_lite0  # noqa: PLC0415

    return build_efficientnet_lite0(image_size_px)


BACKBONES: Mapping[str, Backbone] = MappingProxyType(
    {
        backbone.name: backbone
        for backbone in (
            Backbone(
                name="inception_v3",
                build=_build_inception_v3,
                scale=1.0 / 127.5,
                offset=-1.0,
                preprocessing="RGB in [0, 255] becomes x / 127.5 - 1, in [-1, 1], inside the model",
                minimum_size_px=75,
                pretrained_size_px=299,
                layers=311,
                fewest_unfrozen_layers=12,
                h5_file="Inception_V3_Animals_Classification.h5",
            ),
            Backbone(
                name="efficientnet_lite0",
                build=_build_efficientnet_lite0,
                scale=1.0 / 128.0,
                offset=-127.0 / 128.0,
                preprocessing="RGB in [0, 255] becomes (x - 127) / 128, in [-0.992, 1], inside the model",
                minimum_size_px=32,
                pretrained_size_px=224,
                layers=141,
                fewest_unfrozen_layers=3,
                h5_file="EfficientNet_Lite0_Animals_Classification.h5",
            ),
        )
    }
)


def known_backbone(name: str) -> Backbone:
    """Return the backbone of that name.

    Raises:
        UserError: When there is none.
    """
    backbone = BACKBONES.get(name)
    if backbone is None:
        raise UserError(f"backbone '{name}' is unknown; choose one of {', '.join(sorted(BACKBONES))}")
    return backbone


def find_backbone(name: str, image_size_px: int) -> Backbone:
    """Return the backbone of that name, able to take images of that size.

    Raises:
        UserError: When there is none, or images are too small for it.
    """
    backbone = known_backbone(name)
    if image_size_px < backbone.minimum_size_px:
        raise UserError(
            f"images are {image_size_px} px wide and {name} needs at least {backbone.minimum_size_px} px: "
            f"split with an image_size_px of {backbone.minimum_size_px} or more"
        )
    return backbone
