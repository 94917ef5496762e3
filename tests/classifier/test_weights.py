"""Weights are loaded whole from the file that was named, or refused before anything is trained."""

import hashlib
import shutil
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import keras
import numpy as np
import pytest

from components.classifier import weights as weights_module
from components.classifier.backbones import BACKBONES
from components.classifier.weights import load_weights
from components.failures import TransientError, UserError
from components.storage import write_if_absent

IMAGENET_FILE = Path(__file__).parents[2] / "samples" / "efficientnet_lite0" / "imagenet_float16.npz"
LITE0 = BACKBONES["efficientnet_lite0"]
INCEPTION = BACKBONES["inception_v3"]


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return LITE0.build(32)


@pytest.fixture(scope="module")
def saved(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network's weights in each of Keras' formats."""
    directory = tmp_path_factory.mktemp("saved")
    network.save_weights(directory / "now.weights.h5")
    network.save(directory / "older.h5")
    network.save(directory / "model.keras")
    return directory


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_archive_of_arrays_fills_every_layer(network: keras.Model) -> None:
    fresh = LITE0.build(32)
    digest = load_weights(fresh, LITE0, str(IMAGENET_FILE))

    assert digest == sha256(IMAGENET_FILE)
    with np.load(IMAGENET_FILE) as arrays:
        for layer in fresh.layers:
            for variable in layer.weights:
                assert np.array_equal(variable, arrays[f"{layer.name}/{variable.name}"].astype(np.float32))


def test_random_weights_have_no_digest_and_stay_as_they_were_built(network: keras.Model) -> None:
    before = network.get_weights()
    assert load_weights(network, LITE0, "random") == ""
    assert same(before, network.get_weights())


@pytest.mark.parametrize("name", ["now.weights.h5", "older.h5"])
def test_hdf5_weights_are_read_whatever_the_file_is_called(
    network: keras.Model, saved: Path, name: str, tmp_path: Path
) -> None:
    shutil.copy(saved / name, tmp_path / "weights-artifact")
    fresh = LITE0.build(32)
    assert not same(fresh.get_weights(), network.get_weights())

    load_weights(fresh, LITE0, str(tmp_path / "weights-artifact"))

    assert same(fresh.get_weights(), network.get_weights())


def test_weights_come_from_a_bucket(network: keras.Model, saved: Path, new_bucket: Callable[[], str]) -> None:
    uri = f"{new_bucket()}/weights/lite0.weights.h5"
    write_if_absent(uri, saved / "now.weights.h5")
    fresh = LITE0.build(32)

    assert load_weights(fresh, LITE0, uri) == sha256(saved / "now.weights.h5")
    assert same(fresh.get_weights(), network.get_weights())


@pytest.mark.parametrize("source", ["imagenet.npz", "now.weights.h5", "older.h5"])
def test_a_file_cut_short_is_refused(saved: Path, source: str, tmp_path: Path) -> None:
    data = (IMAGENET_FILE if source == "imagenet.npz" else saved / source).read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UserError, match="cannot be loaded into efficientnet_lite0: the file is cut short"):
        load_weights(LITE0.build(32), LITE0, str(tmp_path / "cut"))


@pytest.fixture(scope="module")
def inception() -> keras.Model:
    return INCEPTION.build(75)


@pytest.mark.parametrize("name", ["now.weights.h5", "older.h5", "imagenet.npz"])
def test_weights_of_another_network_are_refused(inception: keras.Model, saved: Path, name: str) -> None:
    path = IMAGENET_FILE if name == "imagenet.npz" else saved / name
    with pytest.raises(UserError, match="cannot be loaded into inception_v3.*another network"):
        load_weights(inception, INCEPTION, str(path))


def test_a_whole_model_is_refused_because_loading_one_can_run_code(network: keras.Model, saved: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        load_weights(network, LITE0, str(saved / "model.keras"))


def test_a_file_of_something_else_is_refused(network: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("see the other folder")
    with pytest.raises(UserError, match="neither HDF5 nor a NumPy archive"):
        load_weights(network, LITE0, str(tmp_path / "notes.txt"))


def test_a_missing_file_is_named(network: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.npz"):
        load_weights(network, LITE0, str(tmp_path / "no.npz"))


def test_a_folder_is_refused(network: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=tmp_path.name):
        load_weights(network, LITE0, str(tmp_path))


def test_weights_that_are_not_numbers_are_refused(saved: Path, tmp_path: Path) -> None:
    broken = LITE0.build(32)
    broken.set_weights([np.full_like(array, np.nan) for array in broken.get_weights()])
    broken.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(UserError, match="not finite"):
        load_weights(LITE0.build(32), LITE0, str(tmp_path / "nan.weights.h5"))


def test_keras_has_no_download_for_the_offline_backbone(network: keras.Model) -> None:
    with pytest.raises(UserError, match=r"set weights to a file, samples/efficientnet_lite0/imagenet_float16\.npz"):
        load_weights(network, LITE0, "imagenet")


def test_keras_own_file_is_taken_from_a_cache_that_nobody_may_write(
    inception: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container image carries it."""
    path = tmp_path / "models" / weights_module._INCEPTION_V3_FILE
    path.parent.mkdir()
    other = INCEPTION.build(75)
    other.save(path)
    path.parent.chmod(0o555)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(weights_module, "_INCEPTION_V3_MD5", md5)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    assert load_weights(inception, INCEPTION, "imagenet") == sha256(path)
    assert same(inception.get_weights(), other.get_weights())


def test_without_a_network_the_message_says_which_file_to_bring(
    inception: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"_notop\.h5 on a connected machine and set weights to its path"):
        load_weights(inception, INCEPTION, "imagenet")


def test_a_busy_server_is_worth_another_try(
    inception: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/weights.h5"
        module = f"{keras.applications.InceptionV3.__module__}.WEIGHTS_PATH_NO_TOP"
        monkeypatch.setattr(module, address)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
        try:
            with pytest.raises(TransientError, match="busy.*503") as failure:
                load_weights(inception, INCEPTION, "imagenet")
            failure.value.__cause__.__context__.close()  # type: ignore[union-attr]
        finally:
            server.shutdown()
            thread.join()
