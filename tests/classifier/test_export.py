"""The SavedModel takes image files as they are and says what the model says."""

import io
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.classifier.backbones import BACKBONES
from components.classifier.export import decode_and_resize, export_saved_model
from components.classifier.head import head_layers, whole_model
from components.formats.splits import RESIZE_POLICIES
from components.split.image_preparation import Preparation, square_image
from tests.classifier.small_splits import PHOTOS

SIZE_PX = 64
CLASS_NAMES = ["bird", "fish", "mammal"]


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(PHOTOS / "mammal" / "koala.jpg").convert("RGB")


def encoded(image: Image.Image, file_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(4)
    backbone = BACKBONES["efficientnet_lite0"]
    return whole_model(backbone, backbone.build(SIZE_PX), head_layers(3, 8, 0.5))


def test_image_bytes_become_probabilities_and_a_label(model: keras.Model, photo: Image.Image, tmp_path: Path) -> None:
    export_saved_model(model, CLASS_NAMES, "stretch", tmp_path / "saved_model" / "1")
    serve = tf.saved_model.load(str(tmp_path / "saved_model" / "1")).signatures["serving_default"]
    wide = photo.resize((150, 90))
    sent = [encoded(photo, "PNG"), encoded(wide, "BMP"), encoded(wide, "PNG"), *transparent_pngs(photo)]

    answers = serve(image_bytes=tf.constant(sent))

    assert serve.structured_input_signature[1].keys() == {"image_bytes"}
    prepared = [square_image(data, Preparation(SIZE_PX, "stretch")) for data in sent]
    expected = model.predict(np.stack([np.asarray(image) for image in prepared]), verbose=0)
    np.testing.assert_allclose(answers["probabilities"], expected, atol=5e-3)
    np.testing.assert_allclose(answers["probabilities"][1], answers["probabilities"][2], atol=1e-6)
    assert [label.decode() for label in answers["label"].numpy()] == [CLASS_NAMES[i] for i in expected.argmax(axis=1)]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_each_format_is_decoded(photo: Image.Image, file_format: str) -> None:
    data = encoded(photo, file_format)
    expected = Image.open(io.BytesIO(data)).convert("RGB").resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR)

    pixels = np.asarray(decode_and_resize(tf.constant(data), SIZE_PX, "stretch"))

    assert pixels.shape == (SIZE_PX, SIZE_PX, 3)
    difference = np.abs(pixels - np.asarray(expected, np.float32))
    assert difference.max() <= 1.0
    assert difference.mean() < 0.1


def test_other_formats_are_refused(photo: Image.Image) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="Unknown image file format"):
        decode_and_resize(tf.constant(encoded(photo, "TIFF")), SIZE_PX, "stretch")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_grey_images_become_rgb(photo: Image.Image, file_format: str) -> None:
    pixels = np.asarray(decode_and_resize(tf.constant(encoded(photo.convert("L"), file_format)), SIZE_PX, "stretch"))

    assert pixels.shape == (SIZE_PX, SIZE_PX, 3)
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_transparent_pixels_become_white() -> None:
    image = Image.new("RGBA", (80, 80), (10, 20, 30, 0))
    image.paste((200, 100, 50, 255), (0, 0, 40, 80))

    pixels = np.asarray(decode_and_resize(tf.constant(encoded(image, "PNG")), SIZE_PX, "stretch"))

    assert pixels[5, 5].tolist() == [200, 100, 50]
    assert pixels[5, -5].tolist() == [255, 255, 255]


def transparent_pngs(photo: Image.Image) -> list[bytes]:
    """Each way a PNG says what is transparent: a channel beside colour or gray, or one colour of palette or image."""
    wide = photo.resize((150, 110))
    opacity = Image.linear_gradient("L").resize(wide.size)
    colour, gray, palette = wide.copy(), wide.convert("L"), wide.quantize(64)
    colour.putalpha(opacity)
    gray.putalpha(opacity)
    kept = io.BytesIO()
    palette.save(kept, "PNG", transparency=3)
    keyed = io.BytesIO()
    wide.save(keyed, "PNG", transparency=wide.getpixel((10, 10)))
    return [encoded(colour, "PNG"), encoded(gray, "PNG"), kept.getvalue(), keyed.getvalue()]


@pytest.mark.parametrize("policy", RESIZE_POLICIES)
def test_transparent_images_are_served_as_the_split_step_prepared_them(policy: str, photo: Image.Image) -> None:
    preparation = Preparation(SIZE_PX, policy)
    for data in transparent_pngs(photo):
        prepared = np.asarray(square_image(data, preparation), np.float32)
        served = np.asarray(decode_and_resize(tf.constant(data), SIZE_PX, policy))
        difference = np.abs(served - prepared)
        # Where split resizes with OpenCV it is within 42 dB of what TensorFlow and Pillow do.
        assert difference.max() <= 10.0
        assert difference.mean() <= 0.6


@pytest.mark.parametrize("size", [(120, 60), (61, 120), (20, 30), (64, 64)])
def test_crop_takes_the_middle_square(size: tuple[int, int]) -> None:
    image = Image.effect_noise(size, 90).convert("RGB")
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    square = image.crop((left, top, left + side, top + side))
    expected = square.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR)

    pixels = np.asarray(decode_and_resize(tf.constant(encoded(image, "PNG")), SIZE_PX, "crop"))

    assert np.abs(pixels - np.asarray(expected, np.float32)).max() <= 1.0


def test_pad_keeps_the_shape_and_adds_black() -> None:
    image = Image.new("RGB", (128, 64), (200, 100, 50))

    pixels = np.asarray(decode_and_resize(tf.constant(encoded(image, "PNG")), SIZE_PX, "pad"))

    assert (pixels[16:48] == (200, 100, 50)).all()
    assert (pixels[:16] == 0).all()
    assert (pixels[48:] == 0).all()
