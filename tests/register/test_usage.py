"""The programs of a bundle's card are taken from it and run as they are, each in a process that knows nothing of us."""

import base64
import itertools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

from components.formats.trained_model import SAVED_MODEL_FOLDER
from components.register.model_exports import GOLDEN_TOLERANCE, HALF_PRECISION_TOLERANCE, read_exports, write_exports
from components.register.promotion_gate import Gate
from components.register.registration import register_model
from components.register.usage import PHOTOS, SERVER, programs
from components.split.image_preparation import Preparation, square_image
from tests.register.conftest import CREATED, ORIGIN, EvaluatedProject

# What comes from how photos are resized, to whole numbers by Pillow and by TensorFlow.
RESIZING_TOLERANCE = 2e-2

TOLERANCES = {
    "SavedModel": GOLDEN_TOLERANCE,
    "SavedModel, by TF Serving": GOLDEN_TOLERANCE,
    "Keras": GOLDEN_TOLERANCE,
    "Keras, older HDF5 format": GOLDEN_TOLERANCE,
    "TFLite, weights in float16": HALF_PRECISION_TOLERANCE,
    "ONNX": GOLDEN_TOLERANCE,
}
"""How far a probability of each program may be from the golden batch: as far as the gate allows the export."""

TOLD = "\nprint(json.dumps([[float(value) for value in row] for row in probabilities]))\n"


@pytest.fixture(scope="module")
def bundle(evaluated: EvaluatedProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with every export."""
    directory = tmp_path_factory.mktemp("usage")
    folders = (evaluated.model, evaluated.evaluation, evaluated.splits)
    formats = ("saved_model", "h5", "tflite", "onnx")
    write_exports(*folders, formats=formats, temperature=2.5, directory=directory / "exports")
    registration = register_model(
        *folders,
        directory / "exports",
        registry_uri=str(directory / "registry"),
        model_name="trees",
        gate=Gate(0.8),
        origin=ORIGIN,
        created=CREATED,
        entry=directory / "entry",
        card=directory / "card.html",
    )
    return Path(registration.uri)


@pytest.fixture(scope="module")
def photos(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The golden batch as files."""
    directory = tmp_path_factory.mktemp("photos")
    for number, instance in enumerate(golden_batch(bundle)["request"]["instances"]):
        (directory / f"{number:02}.jpg").write_bytes(base64.b64decode(instance["image_bytes"]["b64"]))
    return sorted(map(str, directory.iterdir()))


def golden_batch(bundle: Path) -> Any:
    return json.loads((bundle / "golden_batch.json").read_text(encoding="utf-8"))


def programs_of(card: str) -> dict[str, str]:
    """Return the Python of a card in Markdown by the heading above it."""
    tokens = MarkdownIt("commonmark").parse(card)
    found, heading = {}, ""
    for before, token in itertools.pairwise(tokens):
        if before.type == "heading_open":
            heading = token.content
        if token.type == "fence" and token.info == "python":
            found[heading] = token.content
    return found


def run(code: str, bundle: Path, photos: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program in the bundle's folder; all that is changed in it is which photos it is asked about."""
    assert code.count(PHOTOS) == 1
    code = code.replace(PHOTOS, f"photos = {photos!r}") + TOLD
    environment = {"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["HOME"] = str(bundle.parent)  # for Keras' own settings
    command = [sys.executable, "-W", "ignore", "-c", f"import json\n{code}"]
    return subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True, check=False)


def answered(code: str, bundle: Path, photos: list[str]) -> np.ndarray:
    ended = run(code, bundle, photos)
    assert ended.returncode == 0, ended.stderr
    return np.array(json.loads(ended.stdout.splitlines()[-1]))


class Serving(BaseHTTPRequestHandler):
    """Answers as TF Serving's REST interface does, with the SavedModel that it would have loaded."""

    module: Any = None

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/models/trees:predict"
        # An object with the one key b64 stands for bytes, and a row's named values for a column of each.
        rows = [base64.b64decode(row["image_bytes"]["b64"]) for row in request["instances"]]
        answer = self.module.signatures[request["signature_name"]](image_bytes=tf.constant(rows))
        given = zip(answer["probabilities"].numpy().tolist(), answer["label"].numpy(), strict=True)
        predictions = [{"probabilities": row, "label": label.decode()} for row, label in given]
        body = json.dumps({"predictions": predictions}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(bundle: Path) -> Iterator[str]:
    handler = type("ServingThis", (Serving,), {"module": tf.saved_model.load(str(bundle / SAVED_MODEL_FOLDER))})
    with HTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_every_export_has_a_program_in_both_cards(bundle: Path) -> None:
    card = (bundle / "README.md").read_text(encoding="utf-8")
    found = programs_of(card)
    assert found.keys() == TOLERANCES.keys()
    page = (bundle / "model_card.html").read_text(encoding="utf-8")
    shown = [Markup(code).unescape() for code in re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)]
    assert [code for code in shown if not code.startswith("docker")] == list(found.values())
    named = [check for check in read_exports(bundle).checks if check.input_name]
    assert {check.path for check in named} == {"model.tflite", "model.onnx"}
    for check in named:
        assert f"`{json.dumps(check.input_name)}, float32 [photos, 32, 32, 3], RGB in [0, 255]`" in card
        assert f"`{json.dumps(check.output_name)}, float32 [photos, 3], probabilities`" in card


@pytest.mark.parametrize("title", [title for title in TOLERANCES if "Serving" not in title])
def test_a_program_answers_the_golden_batch(title: str, bundle: Path, photos: list[str]) -> None:
    code = programs_of((bundle / "README.md").read_text(encoding="utf-8"))[title]
    given, expected = answered(code, bundle, photos), np.array(golden_batch(bundle)["probabilities"])
    assert np.abs(given - expected).max() < TOLERANCES[title]


def test_the_program_that_asks_a_server(bundle: Path, photos: list[str], server: str) -> None:
    code = programs_of((bundle / "README.md").read_text(encoding="utf-8"))["SavedModel, by TF Serving"]
    assert code.count(SERVER) == 1
    given = answered(code.replace(SERVER, server), bundle, photos)
    assert np.abs(given - np.array(golden_batch(bundle)["probabilities"])).max() < GOLDEN_TOLERANCE


def photo_of(size: tuple[int, int]) -> Image.Image:
    """Return smooth colours, as photographs have, that differ from corner to corner."""
    corners = np.random.default_rng(5).integers(0, 256, (3, 2, 3), np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def strange_photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Photos that are sideways, in a format that TensorFlow may not know, see-through, and large."""
    directory, photo = tmp_path_factory.mktemp("strange"), photo_of((320, 210))
    exif = Image.Exif()
    exif[274] = 6
    photo.save(directory / "sideways.jpg", quality=95, exif=exif)
    photo.save(directory / "other.webp", lossless=True)
    photo.save(directory / "other.tiff")
    photo.convert("P").save(directory / "palette.bmp")
    photo.convert("1").save(directory / "two-tone.png")
    photo.convert("CMYK").save(directory / "print.jpg", quality=95)
    clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    clear.save(directory / "clear.png")
    photo.resize((1600, 900)).save(directory / "large.jpg", quality=95)
    return sorted(map(str, directory.iterdir()))


def test_programs_agree_about_photos_that_are_not_as_the_model_takes_them(
    bundle: Path, strange_photos: list[str]
) -> None:
    found = programs_of((bundle / "README.md").read_text(encoding="utf-8"))
    by_model, by_program = (answered(found[title], bundle, strange_photos) for title in ("SavedModel", "ONNX"))
    np.testing.assert_allclose(by_model, by_program, atol=RESIZING_TOLERANCE)


def test_what_is_no_image(bundle: Path, photos: list[str], tmp_path: Path) -> None:
    code = programs_of((bundle / "README.md").read_text(encoding="utf-8"))["ONNX"]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    ended = run(code, bundle, [*photos[:2], str(broken)])
    assert ended.returncode == 1
    assert f"PIL.UnidentifiedImageError: cannot identify image file '{broken}'" in ended.stderr
    module = tf.saved_model.load(str(bundle / SAVED_MODEL_FOLDER))
    files = [Path(photos[0]).read_bytes(), broken.read_bytes()]
    with pytest.raises(tf.errors.InvalidArgumentError):
        module.signatures["serving_default"](image_bytes=tf.constant(files))


@pytest.mark.parametrize("policy", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(320, 211), (97, 64), (32, 32), (40, 333)])
def test_pixels_are_those_of_the_split(policy: str, size: tuple[int, int], tmp_path: Path) -> None:
    photo_of(size).save(tmp_path / "photo.png")
    (keras,) = programs(["model.keras"], {}, model_name="m", size_px=32, resize_policy=policy, classes=3)
    known: dict[str, Any] = {}
    exec(keras.code[: keras.code.index(PHOTOS)].replace("import keras\n", ""), known)
    expected = square_image((tmp_path / "photo.png").read_bytes(), Preparation(32, policy)).astype(np.float32)
    given = known["pixels"](tmp_path / "photo.png")
    assert given.shape == expected.shape == (32, 32, 3)
    assert np.abs(given - expected).max() <= 1
