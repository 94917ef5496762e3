"""Exports of a finished model: a SavedModel that takes raw image bytes, HDF5 for older tools, TFLite for phones.

The same model gives the same bytes each time, except for HDF5, so that a stopped registration can be completed.
"""

import hashlib
import importlib.util
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.classifier.model_writing import write_h5, write_keras
from components.failures import UserError
from components.formats.jpeg_decoding import JPEG_MAGIC, decode_jpeg
from components.formats.splits import RESIZE_POLICIES

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def export_saved_model(model: keras.Model, class_names: list[str], resize_policy: str, directory: Path) -> None:
    """Write a SavedModel for TensorFlow Serving, KServe and Vertex: nobody has to repeat the preprocessing.

    The signature ``serving_default`` takes ``image_bytes``, a string tensor ``[batch]`` of JPEG, PNG, GIF (first frame)
    or BMP files, and of WebP where the server's TensorFlow reads it, as 2.21 does. It gives ``probabilities``, float32
    ``[batch, classes]``, and ``label``, the likeliest class's name.

    Images must be upright: the split step turns photographs by their EXIF orientation, TensorFlow has no operation that
    does, so a client that sends files straight from a camera turns them first. A JPEG becomes the very pixels that
    Pillow decodes. Transparency of a PNG is laid on white, as the split step does. TensorFlow's decoders ignore
    transparency in a GIF and misread a BMP with a palette and a gray PNG of fewer than 8 bits: send those as ordinary
    PNG.

    Args:
        model: From pixels in [0, 255] to probabilities, in float32.
        class_names: In label order.
        resize_policy: How the training images were brought to the model's size.
        directory: To be made, ``saved_model/1`` for example.
    """
    size = int(model.input_shape[1])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def classify(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(
            lambda data: decode_and_resize(data, size, resize_policy),
            image_bytes,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        )
        probabilities = model(images, training=False)
        label = tf.gather(tf.constant(class_names), tf.argmax(probabilities, axis=1))
        return {"probabilities": probabilities, "label": label}

    # The variables and not the model: TensorFlow would look at each of its hundreds of layers for functions to save,
    # which takes longer than all the rest, and nobody calls them.
    variables = tf.Module(name="bytes_classifier")
    variables.weights = [variable.value for variable in model.variables]
    tf.saved_model.save(variables, str(directory), signatures={"serving_default": classify})
    _identify_by_content(directory)


def apply_temperature(model: keras.Model, temperature: float) -> None:
    """Change a model so that it gives calibrated probabilities, softmax(z / T) for the softmax(z) that it gave.

    Dividing the weights of the last layer does it, in every format and without another operation (Guo et al. 2017, "On
    calibration of modern neural networks").

    Args:
        model: Ends with a dense layer with softmax.
        temperature: T, above 0; above 1 it makes the model less sure of itself.

    Raises:
        UserError: When the model ends otherwise, or the temperature is no number above 0.
    """
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.softmax:
        raise UserError("the model does not end with a dense layer with softmax: set apply_temperature to false")
    if not (np.isfinite(temperature) and temperature > 0):
        raise UserError(f"the temperature is {temperature}: it must be above 0")
    last.set_weights([weights / np.float32(temperature) for weights in last.get_weights()])


def export_keras(model: keras.Model, path: Path) -> None:
    """Write Keras' own format, without the dates and memory addresses that make each file differ."""
    write_keras(model, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["metadata.json"]) | {"date_saved": "1980-01-01@00:00:00"}
    members["metadata.json"] = json.dumps(metadata).encode()
    numbers: dict[int, int] = {}

    def renumber(item: dict[str, Any]) -> dict[str, Any]:
        if "shared_object_id" in item:
            item["shared_object_id"] = numbers.setdefault(item["shared_object_id"], len(numbers))
        return item

    members["config.json"] = json.dumps(json.loads(members["config.json"], object_hook=renumber)).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    path.write_bytes(buffer.getvalue())


def export_tflite(model: keras.Model, path: Path) -> None:
    """Write TFLite with weights in float16: from pixels in [0, 255], ``[batch, size, size, 3]``, to probabilities."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())


def export_onnx(model: keras.Model, path: Path) -> None:
    """Write ONNX: from float32 pixels in [0, 255], ``[batch, size, size, 3]``, to probabilities.

    Raises:
        UserError: When the converter is not installed.
    """
    if missing := [name for name in ("tf2onnx", "onnxruntime") if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"ONNX needs {missing[0]}, which is not installed here: leave onnx out of exports, or add the extra onnx"
        )
    model.export(path, format="onnx", verbose=False)


def export_h5(model: keras.Model, path: Path) -> None:
    """Write the older HDF5 format, for tools that read nothing else. Do not load such a file from strangers."""
    write_h5(model, path)


def decode_and_resize(data: tf.Tensor, size_px: int, resize_policy: str) -> tf.Tensor:
    """Decode one image and bring it to the model's size as the split step does.

    Args:
        data: Bytes of a JPEG, PNG, GIF, BMP or WebP file, scalar string.
        size_px: Height and width of the result.
        resize_policy: ``stretch`` ignores the shape, ``crop`` takes the middle square, ``pad`` adds black borders.

    Returns:
        float32 ``[size, size, 3]`` in [0, 255], whole numbers as the stored images are.
    """
    image = _decode(data)
    if resize_policy == "crop":
        image = _middle_square(image)
    if resize_policy == "pad":
        image = _resize_and_pad(image, size_px)
    elif resize_policy in RESIZE_POLICIES:
        image = _resize(image, [size_px, size_px])
    else:
        raise UserError(f"resize policy '{resize_policy}' is unknown; choose one of {', '.join(RESIZE_POLICIES)}")
    return tf.ensure_shape(tf.round(tf.clip_by_value(image, 0.0, 255.0)), [size_px, size_px, 3])


def _identify_by_content(directory: Path) -> None:
    """Replace the random identifier of a SavedModel, all in it that differs between exports of one model."""
    from tensorflow.core.protobuf import fingerprint_pb2  # noqa: PLC0415 - of this one function

    path = directory / "fingerprint.pb"
    fingerprint = fingerprint_pb2.FingerprintDef.FromString(path.read_bytes())
    fingerprint.uuid = ""
    content = hashlib.sha256(fingerprint.SerializeToString(deterministic=True)).digest()
    fingerprint.uuid = str(int.from_bytes(content[:8], "big"))
    path.write_bytes(fingerprint.SerializeToString(deterministic=True))


def _decode(data: tf.Tensor) -> tf.Tensor:
    """Return the pixels of a file, float32 ``[height, width, 3]`` in [0, 255]; its first bytes tell the format."""

    def other() -> tf.Tensor:
        return tf.cast(tf.io.decode_image(data, channels=3, expand_animations=False), tf.float32)

    ways = {JPEG_MAGIC: lambda: tf.cast(decode_jpeg(data), tf.float32), _PNG_MAGIC: lambda: _decode_png_on_white(data)}
    cases = [(tf.equal(tf.strings.substr(data, 0, len(magic)), magic), way) for magic, way in ways.items()]
    return tf.ensure_shape(tf.case(cases, default=other), [None, None, 3])


def _decode_png_on_white(data: tf.Tensor) -> tf.Tensor:
    """Decode a PNG as the split step does: what lies under transparent pixels is arbitrary, a viewer shows white."""
    image = tf.cast(tf.io.decode_png(data, channels=4), tf.float32)
    opacity = image[..., 3:] / 255.0
    return image[..., :3] * opacity + 255.0 * (1.0 - opacity)


def _resize(image: tf.Tensor, size: list[int] | tf.Tensor) -> tf.Tensor:
    return tf.image.resize(image, size, method="bilinear", antialias=True)


def _middle_square(image: tf.Tensor) -> tf.Tensor:
    shape = tf.shape(image)
    side = tf.minimum(shape[0], shape[1])
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def _resize_and_pad(image: tf.Tensor, size_px: int) -> tf.Tensor:
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    scaled = tf.cast(tf.round(shape * size_px / tf.reduce_max(shape)), tf.int32)
    image = _resize(image, tf.maximum(scaled, 1))
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    return tf.image.pad_to_bounding_box(image, (size_px - height) // 2, (size_px - width) // 2, size_px, size_px)
