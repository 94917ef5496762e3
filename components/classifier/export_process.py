"""Exports made and tried in processes of their own, for whoever does without TensorFlow.

    python -m components.classifier write REQUEST.json FOLDER
    python -m components.classifier answer REQUEST.json FOLDER ANSWERS.json

``write`` exports a model and copies the golden batch: some test images, as the bytes that a client would send.
``answer`` is the fresh process that loads each export as a stranger would and says what it answers to the batch, and
what the evaluated model answers there and then: whoever compares can tell a broken export from another machine. The
SavedModel is asked about files as they were in the source, too.
"""

import base64
import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.classifier.backbones import BACKBONES
from components.classifier.export import (
    apply_temperature,
    decode_and_resize,
    export_h5,
    export_keras,
    export_onnx,
    export_saved_model,
    export_tflite,
)
from components.failures import TransientError, UserError
from components.formats.jpeg_decoding import decode_jpeg
from components.formats.model_bundle import GOLDEN_FILE
from components.formats.original_images import read_originals
from components.formats.tfrecords import parse_example
from components.formats.trained_model import KERAS_FILE, ONNX_FILE, SAVED_MODEL_FOLDER, TFLITE_FILE
from components.publishing import write_json

Probabilities = npt.NDArray[np.float32]


def write_exports(request: dict[str, Any], directory: Path) -> None:
    """Export a model into a folder.

    Args:
        request: ``model``: its file; ``formats``: which exports; ``temperature``; ``backbone``; ``class_names``;
            ``resize_policy``; ``shards``: files of the test split; ``golden_paths``: names of test images, in order;
            ``original_paths``: likewise of those to be asked about as they were; ``stored_originals``: JSON file to
            write what the shards hold of these to; ``splits``: the folder that holds them.
        directory: An existing folder.

    Raises:
        UserError: When the model cannot be exported, or the shards lack an image.
    """
    model = keras.saving.load_model(request["model"], compile=False, safe_mode=True)
    if request["temperature"] != 1.0:
        apply_temperature(model, request["temperature"])
        export_keras(model, directory / KERAS_FILE)
    else:
        (directory / KERAS_FILE).write_bytes(Path(request["model"]).read_bytes())
    if "saved_model" in request["formats"]:
        export_saved_model(model, request["class_names"], request["resize_policy"], directory / SAVED_MODEL_FOLDER)
    if "h5" in request["formats"]:
        export_h5(model, directory / h5_file(request["backbone"]))
    if "tflite" in request["formats"]:
        export_tflite(model, directory / TFLITE_FILE)
    if "onnx" in request["formats"]:
        export_onnx(model, directory / ONNX_FILE)
    images = _test_images(request["shards"], [*request["golden_paths"], *request["original_paths"]])
    stored = {path: base64.b64encode(images[path]).decode() for path in request["original_paths"]}
    write_json(Path(request["stored_originals"]), stored)
    # The very body of a predict request to TensorFlow Serving.
    instances = [{"image_bytes": {"b64": base64.b64encode(images[path]).decode()}} for path in request["golden_paths"]]
    write_json(directory / GOLDEN_FILE, {"signature_name": "serving_default", "instances": instances})


def h5_file(backbone: str) -> str:
    """Return the name of a backbone's HDF5 export."""
    known = BACKBONES.get(backbone)
    return known.h5_file if known else "Animals_Classification.h5"


def answers(request: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return what the golden batch is answered with.

    Args:
        request: As ``write_exports`` takes it.
        directory: What that wrote.

    Returns:
        ``exports``: probabilities, ``[images, classes]``, of each export by its path; ``model``: likewise of the model
        that was evaluated, before any temperature; ``originals``: see ``_answers_to_originals``, None for each original
        that the SavedModel cannot read.
    """
    instances = json.loads((directory / GOLDEN_FILE).read_text(encoding="utf-8"))["instances"]
    images = [base64.b64decode(instance["image_bytes"]["b64"]) for instance in instances]
    asked: dict[str, Callable[[], Probabilities]] = {
        KERAS_FILE: lambda: _ask_keras(directory / KERAS_FILE, pixels()),
        SAVED_MODEL_FOLDER: lambda: _ask_saved_model(directory / SAVED_MODEL_FOLDER, images),
        h5_file(request["backbone"]): lambda: _ask_keras(directory / h5_file(request["backbone"]), pixels()),
        TFLITE_FILE: lambda: _ask_tflite(directory / TFLITE_FILE, pixels()),
        ONNX_FILE: lambda: _ask_onnx(directory / ONNX_FILE, pixels()),
    }

    def pixels() -> Probabilities:
        model = keras.saving.load_model(directory / KERAS_FILE, compile=False, safe_mode=True)
        size, policy = int(model.input_shape[1]), request["resize_policy"]
        return np.stack([decode_and_resize(tf.constant(image), size, policy).numpy() for image in images])

    given = {path: ask().tolist() for path, ask in asked.items() if (directory / path).exists()}
    # Without a temperature model.keras is a copy, byte for byte.
    own = given[KERAS_FILE] if request["temperature"] == 1.0 else _ask_keras(Path(request["model"]), pixels()).tolist()
    return {"exports": given, "model": own, "originals": _answers_to_originals(request, directory)}


def _answers_to_originals(request: dict[str, Any], directory: Path) -> list[dict[str, Any] | None]:
    """Return what becomes of each test image that is sent as it was in the source, one at a time.

    Returns:
        ``saved_model``: its probabilities; ``model``: those of ``model.keras`` from the pixels that it decodes and
        resizes the file to; ``pixel_difference``: how many gray levels these are off the stored ones on average.
    """
    if not request["original_paths"]:
        return []
    stored = json.loads(Path(request["stored_originals"]).read_text(encoding="utf-8"))
    files = {original.path: original.image for original in read_originals(Path(request["splits"]))}
    model = keras.saving.load_model(directory / KERAS_FILE, compile=False, safe_mode=True)
    module = tf.saved_model.load(str(directory / SAVED_MODEL_FOLDER))
    serve, size = module.signatures["serving_default"], int(model.input_shape[1])
    told: list[dict[str, Any] | None] = []
    for path in request["original_paths"]:
        try:
            given = serve(image_bytes=tf.constant([files[path]]))["probabilities"].numpy()[0]
        except tf.errors.InvalidArgumentError:
            told.append(None)
            continue
        pixels = decode_and_resize(tf.constant(files[path]), size, request["resize_policy"]).numpy()
        evaluated = decode_jpeg(tf.constant(base64.b64decode(stored[path]))).numpy()
        told.append(
            {
                "saved_model": given.tolist(),
                "model": np.asarray(model.predict_on_batch(pixels[None]))[0].tolist(),
                "pixel_difference": float(np.abs(pixels - evaluated).mean()),
            }
        )
    return told


def _ask_keras(path: Path, pixels: Probabilities) -> Probabilities:
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    return np.asarray(model.predict_on_batch(pixels))


def _ask_saved_model(path: Path, images: Sequence[bytes]) -> Probabilities:
    # The module must live as long as its signature is called.
    module = tf.saved_model.load(str(path))
    return module.signatures["serving_default"](image_bytes=tf.constant(images))["probabilities"].numpy()


def _ask_tflite(path: Path, pixels: Probabilities) -> Probabilities:
    interpreter = tf.lite.Interpreter(model_content=path.read_bytes())
    source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(source, pixels.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, pixels)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(result))


def _ask_onnx(path: Path, pixels: Probabilities) -> Probabilities:
    import onnxruntime  # noqa: PLC0415 - of an extra

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: pixels})[0])


def _test_images(shards: Sequence[str], paths: Sequence[str]) -> dict[str, bytes]:
    wanted, found = frozenset(paths), {}
    for record in tf.data.TFRecordDataset(list(shards)):
        example = parse_example(record)
        path = example["path"].numpy().decode()
        if path in wanted:
            found[path] = example["image"].numpy()
    if missing := sorted(wanted - found.keys()):
        raise UserError(f"the test split lacks {missing[0]!r}, which was evaluated: give the splits of the evaluation")
    return found


def tensor_names(directory: Path) -> dict[str, dict[str, str]]:
    """Return ``input_name`` and ``output_name`` by path, of each export that is asked by these."""
    named = {}
    if (directory / TFLITE_FILE).exists():
        signature = tf.lite.Interpreter(str(directory / TFLITE_FILE)).get_signature_list()["serving_default"]
        named[TFLITE_FILE] = (signature["inputs"][0], signature["outputs"][0])
    if (directory / ONNX_FILE).exists():
        import onnxruntime  # noqa: PLC0415 - of an extra

        session = onnxruntime.InferenceSession(directory / ONNX_FILE, providers=["CPUExecutionProvider"])
        named[ONNX_FILE] = (session.get_inputs()[0].name, session.get_outputs()[0].name)
    return {path: {"input_name": given, "output_name": told} for path, (given, told) in named.items()}


def main(arguments: Sequence[str]) -> int:
    """Do what a command line asks for and return the exit code."""
    try:
        request = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
        if arguments[0] == "write":
            write_exports(request, Path(arguments[2]))
        else:
            directory = Path(arguments[2])
            write_json(Path(arguments[3]), answers(request, directory) | {"names": tensor_names(directory)})
    except (UserError, TransientError) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        if not _of_a_full_disk(error):
            raise
        print("the disk is full; give the step more ephemeral storage", file=sys.stderr)
        return TransientError.exit_code
    return 0


def _of_a_full_disk(error: OSError | tf.errors.ResourceExhaustedError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # What TensorFlow says of memory too.
    return os.strerror(errno.ENOSPC) in error.message or os.strerror(errno.EDQUOT) in error.message
