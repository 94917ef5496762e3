"""Count how many images the converted weights classify as their file name says.

    python samples/efficientnet_lite0/check.py FOLDER

Each image is named by its ImageNet class, 0 to 999, after the last underscore: ``imagenet_00_243.jpg``.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from components.classifier.efficientnet_lite0 import build_efficientnet_lite0

WEIGHTS = Path(__file__).with_name("imagenet_float16.npz")
SIZE_PX = 224


def imagenet_classifier() -> keras.Model:
    """Return the network with its 1,000-class layer; it takes pixels scaled to (x - 127) / 128."""
    backbone = build_efficientnet_lite0(SIZE_PX)
    with np.load(WEIGHTS, allow_pickle=False) as arrays:
        for layer in backbone.layers:
            if layer.weights:
                layer.set_weights([arrays[f"{layer.name}/{weight.name}"] for weight in layer.weights])
        pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
        classes = keras.layers.Dense(1000, name="fc")
        model = keras.Model(backbone.input, classes(pooled))
        classes.set_weights([arrays["fc/kernel"], arrays["fc/bias"]])
    return model


def main() -> None:
    """Print the guess for each image, and the count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    paths = sorted(parser.parse_args().folder.glob("imagenet_*_*.jpg"))
    images = [Image.open(path).convert("RGB").resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR) for path in paths]
    pixels = np.stack([np.asarray(image, np.float32) for image in images])
    guesses = imagenet_classifier().predict((pixels - 127.0) / 128.0, verbose=0).argmax(axis=1)
    right = 0
    for path, guess in zip(paths, guesses, strict=True):
        wanted = int(path.stem.rsplit("_", 1)[1])
        right += int(guess == wanted)
        print(f"{path.name}: {guess}{'' if guess == wanted else f', not {wanted}'}")
    print(f"{right} of {len(paths)} right")


if __name__ == "__main__":
    main()
