"""The converted ImageNet weights name animals in photographs."""

from pathlib import Path

import numpy as np
from PIL import Image

from samples.efficientnet_lite0.check import SIZE_PX, imagenet_classifier

PHOTOS = Path(__file__).parents[2] / "samples" / "photos"

IMAGENET_CLASSES = {
    "bird/scarlet-macaw.jpg": 88,
    "bird/spoonbills.jpg": 129,
    "bird/toucan.jpg": 96,
    "mammal/alpaca.jpg": 355,  # llama; ImageNet has no alpaca
    "mammal/bison.jpg": 347,
    "mammal/cheetah.jpg": 293,
    "mammal/gorilla.jpg": 366,
    "mammal/hedgehog.jpg": 334,  # porcupine; ImageNet has no hedgehog
    "mammal/jaguar.jpg": 290,
    "mammal/kangaroo.jpg": 104,
    "mammal/koala.jpg": 105,
    "mammal/panda.jpg": 388,
    "mammal/polar-bear.jpg": 296,
    "mammal/red-panda.jpg": 387,
}


def test_converted_weights_recognise_animals() -> None:
    images = [Image.open(PHOTOS / name).convert("RGB") for name in IMAGENET_CLASSES]
    resized = [image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR) for image in images]
    pixels = np.stack([np.asarray(image, np.float32) for image in resized])

    guesses = imagenet_classifier().predict((pixels - 127.0) / 128.0, verbose=0).argmax(axis=1)

    assert dict(zip(IMAGENET_CLASSES, guesses.tolist(), strict=True)) == IMAGENET_CLASSES
