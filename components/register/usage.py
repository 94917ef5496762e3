"""How to use each export of a bundle: one short program for each, to copy and run in the bundle's folder.

The programs know nothing of this package. Those that give a model pixels decode with Pillow, as the split step does but
for rare kinds of files, and every one leaves ``probabilities``, ``[photos, classes]`` in label order.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence

from components.formats.model_bundle import LABELS_FILE
from components.formats.trained_model import KERAS_FILE, ONNX_FILE, SAVED_MODEL_FOLDER, TFLITE_FILE

PHOTOS = 'photos = ["photo.jpg"]'
"""The line of every program that a user changes."""
SERVER = "http://localhost:8501"
"""Where TF Serving answers, in the program that asks it."""

_POLICIES = {
    "stretch": (
        "stretched to {size} x {size} pixels whatever its shape",
        "        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float32)\n",
    ),
    "crop": (
        "its middle square resized to {size} x {size} pixels",
        """\
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = (left, top, left + side, top + side)
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, square), np.float32)
""",
    ),
    "pad": (
        "resized to fit into {size} x {size} pixels, the rest black",
        """\
        width, height = (max(1, round(side * size / max(image.size))) for side in image.size)
        square = Image.new("RGB", (size, size))
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        square.paste(resized, ((size - width) // 2, (size - height) // 2))
        return np.asarray(square, np.float32)
""",
    ),
}

_PIXELS = '''\
import json

import numpy as np
{imports}
from PIL import Image, ImageOps


def pixels(path, size={size}):
    """Return the RGB pixels of a photo as the model takes them, [0, 255]."""
    with Image.open(path) as image:  # raises PIL.UnidentifiedImageError for what is no image
        image = ImageOps.exif_transpose(image)  # upright
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("RGB")
{resized}

photos = ["photo.jpg"]
batch = np.stack([pixels(photo) for photo in photos])
{asked}
labels = json.load(open("{labels}", encoding="utf-8"))["class_names"]
for photo, row in zip(photos, probabilities):
    print(photo, labels[row.argmax()], row.max())
'''

_ENCODED = '''\
def encoded(path):
    """Return a photo as the model takes it: an upright JPEG file itself, of all else an upright PNG."""
    with Image.open(path) as image:  # raises PIL.UnidentifiedImageError for what is no image
        if image.format == "JPEG" and image.mode in ("RGB", "L") and image.getexif().get(274, 1) == 1:
            return open(path, "rb").read()
        image, png = ImageOps.exif_transpose(image), io.BytesIO()
        image.convert("RGBA" if image.has_transparency_data else "RGB").save(png, "PNG")
        return png.getvalue()


photos = ["photo.jpg"]
'''

_SAVED_MODEL = f'''\
import io

import tensorflow as tf
from PIL import Image, ImageOps


{_ENCODED}\
model = tf.saved_model.load("{SAVED_MODEL_FOLDER}")
answer = model.signatures["serving_default"](image_bytes=tf.constant([encoded(photo) for photo in photos]))
probabilities = answer["probabilities"].numpy()
for photo, label, row in zip(photos, answer["label"].numpy(), probabilities):
    print(photo, label.decode(), row.max())
'''

_SERVING = f'''\
import base64
import io
import json
import urllib.request

from PIL import Image, ImageOps


{_ENCODED}\
instances = [{{"image_bytes": {{"b64": base64.b64encode(encoded(photo)).decode()}}}} for photo in photos]
body = json.dumps({{"signature_name": "serving_default", "instances": instances}}).encode()
with urllib.request.urlopen("{SERVER}/v1/models/MODEL:predict", body) as reply:
    predictions = json.load(reply)["predictions"]
probabilities = [prediction["probabilities"] for prediction in predictions]
for photo, prediction in zip(photos, predictions):
    print(photo, prediction["label"], max(prediction["probabilities"]))
'''

_KERAS = """\
model = keras.saving.load_model("FILE", compile=False)
probabilities = model.predict(batch, verbose=0)
"""

_TFLITE = """\
interpreter = tf.lite.Interpreter("FILE")  # without TensorFlow: ai_edge_litert.interpreter.Interpreter
classify = interpreter.get_signature_runner("serving_default")
probabilities = classify(**{INPUT: batch})[OUTPUT]
"""

_ONNX = """\
session = onnxruntime.InferenceSession("FILE", providers=["CPUExecutionProvider"])
(probabilities,) = session.run([OUTPUT], {INPUT: batch})
"""


@dataclasses.dataclass(frozen=True)
class Program:
    """How to use one export.

    Attributes:
        title: What it is, in a few words.
        file: The export, inside the bundle.
        takes: Name, type and shape of its input, and what is in it.
        gives: Likewise of its output.
        command: For a shell, before the program; empty for none.
        code: Python.
    """

    title: str
    file: str
    takes: str
    gives: str
    command: str
    code: str


def programs(
    files: Sequence[str],
    names: Mapping[str, tuple[str, str]],
    *,
    model_name: str,
    size_px: int,
    resize_policy: str,
    classes: int,
) -> list[Program]:
    """Return a program for each export of a bundle.

    Args:
        files: Of the bundle.
        names: Of input and output by file, of those exports that are asked by name.
        model_name: Name in the registry.
        size_px: Height and width of what the model takes.
        resize_policy: One of ``components.formats.splits.RESIZE_POLICIES``.
        classes: How many.
    """

    def of_pixels(title: str, file: str, imports: str, asked: str, types: str = "float32") -> Program:
        given, told = map(json.dumps, names.get(file, ("", "")))
        asked = asked.replace("FILE", file).replace("INPUT", given).replace("OUTPUT", told)
        code = _PIXELS.format(
            imports=imports, size=size_px, resized=_POLICIES[resize_policy][1], asked=asked, labels=LABELS_FILE
        )
        before = ("", "") if file not in names else (f"{given}, ", f"{told}, ")
        return Program(
            title,
            file,
            f"{before[0]}{types} [photos, {size_px}, {size_px}, 3], RGB in [0, 255]",
            f"{before[1]}float32 [photos, {classes}], probabilities",
            "",
            code,
        )

    made = []
    if any(file.startswith(f"{SAVED_MODEL_FOLDER}/") for file in files):
        takes = "image_bytes, string [photos], image files"
        gives = f"probabilities, float32 [photos, {classes}]; label, string [photos], the likeliest class"
        serving = (
            f'docker run -p 8501:8501 -v "$PWD/{SAVED_MODEL_FOLDER.split("/")[0]}:/models/{model_name}" '
            f"-e MODEL_NAME={model_name} tensorflow/serving"
        )
        made += [
            Program("SavedModel", SAVED_MODEL_FOLDER, takes, gives, "", _SAVED_MODEL),
            Program(
                "SavedModel, by TF Serving", SAVED_MODEL_FOLDER, takes, gives, serving,
                _SERVING.replace("MODEL", model_name),
            ),
        ]  # fmt: skip
    made.append(of_pixels("Keras", KERAS_FILE, "import keras", _KERAS, "uint8 or float32"))
    made += [
        of_pixels("Keras, older HDF5 format", file, "import keras", _KERAS, "uint8 or float32")
        for file in files
        if file.endswith(".h5")
    ]
    if TFLITE_FILE in names and TFLITE_FILE in files:
        made.append(of_pixels("TFLite, weights in float16", TFLITE_FILE, "import tensorflow as tf", _TFLITE))
    if ONNX_FILE in names and ONNX_FILE in files:
        made.append(of_pixels("ONNX", ONNX_FILE, "import onnxruntime", _ONNX))
    return made


def image_rule(size_px: int, resize_policy: str) -> str:
    """Return in words what is done to an image before the model sees it."""
    return _POLICIES[resize_policy][0].format(size=size_px)
