"""Weights are loaded whole from the file that was named, or refused before anything is trained."""

import contextlib
import errno
import hashlib
import importlib
import inspect
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from components.classifier import weights as weights_module
from components.classifier.backbones import BACKBONES
from components.classifier.weights import load_weights
from components.classifier.weights_source import IMAGENET_ADDRESS, IMAGENET_FILE, IMAGENET_MD5
from components.failures import TransientError, UserError
from components.storage import write_if_absent
from tests.permissions import unprivileged

LITE0_FILE = Path(__file__).parents[2] / "samples" / "efficientnet_lite0" / "imagenet_float16.npz"
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
    digest = load_weights(fresh, LITE0, str(LITE0_FILE))

    assert digest == sha256(LITE0_FILE)
    with np.load(LITE0_FILE) as arrays:
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


def damaged(path: Path, network: keras.Model) -> bytes:
    """Return HDF5 weights with other values in the last array, which HDF5 does not notice."""
    data, array = path.read_bytes(), network.layers[-3].get_weights()[0]
    assert data.count(array.tobytes()) == 1
    return data.replace(array.tobytes(), (1000.0 * array).tobytes())


def test_a_file_that_only_has_the_name_of_keras_own_is_refused(
    network: keras.Model, saved: Path, new_bucket: Callable[[], str], tmp_path: Path
) -> None:
    official, other = tmp_path / IMAGENET_FILE, tmp_path / "own.h5"
    for path in (official, other):
        path.write_bytes(damaged(saved / "now.weights.h5", network))
    uri = f"{new_bucket()}/{IMAGENET_FILE}"
    write_if_absent(uri, official)
    md5 = hashlib.md5(official.read_bytes(), usedforsecurity=False).hexdigest()

    for name in (str(official), uri):
        with pytest.raises(UserError) as refused:
            load_weights(network, LITE0, name)
        assert str(refused.value) == (
            f"weights {name} has the name of Keras' ImageNet weights and is not that file (MD5 {md5}, Keras' has "
            f"{IMAGENET_MD5}): take an intact copy, or give it another name if these are weights of your own"
        )
    fresh = LITE0.build(32)
    load_weights(fresh, LITE0, str(other))  # nobody knows what else it should be
    assert not same(fresh.get_weights(), network.get_weights())


def test_keras_own_file_is_taken_under_its_name(
    inception: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / IMAGENET_FILE
    inception.save_weights(tmp_path / "any.weights.h5")
    (tmp_path / "any.weights.h5").rename(path)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(weights_module, "IMAGENET_MD5", md5)  # the real file is not at hand

    assert load_weights(INCEPTION.build(75), INCEPTION, str(path)) == sha256(path)


@pytest.mark.parametrize("source", ["imagenet.npz", "now.weights.h5", "older.h5"])
def test_a_file_cut_short_is_refused(saved: Path, source: str, tmp_path: Path) -> None:
    data = (LITE0_FILE if source == "imagenet.npz" else saved / source).read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UserError, match="cannot be loaded into efficientnet_lite0: the file is cut short"):
        load_weights(LITE0.build(32), LITE0, str(tmp_path / "cut"))


@pytest.mark.parametrize(
    ("offset", "value"), [(8, 1), (10, 7), (10, 12), (10, 8)], ids=["encrypted", "unknown", "bzip2", "deflate"]
)
def test_a_damaged_zip_directory_is_refused(offset: int, value: int, tmp_path: Path) -> None:
    """One byte of an entry in it, the flags or the method of compression."""
    data = bytearray(LITE0_FILE.read_bytes())
    data[data.rfind(b"PK\x01\x02") + offset] = value
    (tmp_path / "damaged").write_bytes(data)
    with pytest.raises(UserError, match="cannot be loaded into efficientnet_lite0: the file is cut short, damaged"):
        load_weights(LITE0.build(32), LITE0, str(tmp_path / "damaged"))


def test_a_file_that_may_not_be_read_is_named(unprivileged_folder: Path) -> None:
    path = unprivileged_folder / "weights.npz"
    shutil.copy(LITE0_FILE, path)
    path.chmod(0)
    network = LITE0.build(32)
    with unprivileged(), pytest.raises(UserError, match=rf"weights {path} may not be read: change its owner or mode"):
        load_weights(network, LITE0, str(path))


@pytest.fixture(scope="module")
def inception() -> keras.Model:
    return INCEPTION.build(75)


@pytest.mark.parametrize("name", ["now.weights.h5", "older.h5", "imagenet.npz"])
def test_weights_of_another_network_are_refused(inception: keras.Model, saved: Path, name: str) -> None:
    path = LITE0_FILE if name == "imagenet.npz" else saved / name
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
    with pytest.raises(UserError, match=f"{tmp_path.name} is a folder and not a file; check the path$"):
        load_weights(network, LITE0, str(tmp_path))


def test_weights_that_are_not_numbers_are_refused(saved: Path, tmp_path: Path) -> None:
    broken = LITE0.build(32)
    broken.set_weights([np.full_like(array, np.nan) for array in broken.get_weights()])
    broken.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(UserError, match="not finite"):
        load_weights(LITE0.build(32), LITE0, str(tmp_path / "nan.weights.h5"))


def test_keras_has_no_download_for_the_offline_backbone(network: keras.Model) -> None:
    with pytest.raises(
        UserError, match=r"no ImageNet weights for efficientnet_lite0: set weights to a file, .*imagenet_float16\.npz"
    ):
        load_weights(network, LITE0, "imagenet")


def test_keras_own_file_is_taken_from_a_cache_that_nobody_may_write(
    inception: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container image carries it."""
    path = tmp_path / "models" / IMAGENET_FILE
    path.parent.mkdir()
    other = INCEPTION.build(75)
    other.save(path)
    path.parent.chmod(0o555)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(weights_module, "IMAGENET_MD5", md5)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    assert load_weights(inception, INCEPTION, "imagenet") == sha256(path)
    assert same(inception.get_weights(), other.get_weights())


def test_name_address_and_hash_of_the_imagenet_weights_are_keras_own() -> None:
    module = importlib.import_module(keras.applications.InceptionV3.__module__)
    source = inspect.getsource(module)
    assert module.WEIGHTS_PATH_NO_TOP == IMAGENET_ADDRESS
    assert f'"{IMAGENET_FILE}"' in source
    assert f'file_hash="{IMAGENET_MD5}"' in source


@contextlib.contextmanager
def server(answer: bytes | None, *, reset: bool = False) -> Iterator[str]:
    """A server that reads a request and sends these bytes; for None it says nothing. Yields its address."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(60)  # and not as long as the client would wait for an answer
            connection.recv(65536)
            if reset:  # close() sends RST
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif answer is None:
                over.wait()
            else:
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/weights.h5"
        finally:
            over.set()
            thread.join()


def http_answer(status: str, body: bytes = b"", length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body


@pytest.fixture
def download(
    inception: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, type[Exception]], str]:
    """A function that loads ``imagenet`` from an address; returns the message of the failure that it comes to."""

    def fail(address: str, kind: type[Exception]) -> str:
        monkeypatch.setattr(weights_module, "IMAGENET_ADDRESS", address)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(kind) as failure:
            load_weights(inception, INCEPTION, "imagenet")
        assert socket.getdefaulttimeout() is None
        return str(failure.value)

    return fail


FIX = f"fetch {IMAGENET_FILE} on a connected machine and set weights to its path or gs:// URI, or put it into"


@pytest.mark.parametrize(
    ("answer", "reset", "kind", "said"),
    [
        pytest.param(http_answer("403 Forbidden"), False, UserError, "403", id="forbidden"),
        pytest.param(http_answer("404 Not Found"), False, UserError, "404", id="not there"),
        pytest.param(http_answer("429 Too Many Requests"), False, TransientError, "429", id="too many"),
        pytest.param(http_answer("503 Service Unavailable"), False, TransientError, "503", id="busy"),
        pytest.param(http_answer("200 OK", b"<p>Log in"), False, TransientError, "corrupted", id="another file"),
        pytest.param(http_answer("200 OK", b"half", 8), False, TransientError, "got only 4 out of 8", id="cut short"),
        pytest.param(http_answer("200 OK", b"", 8), False, TransientError, "got only 0 out of 8", id="nothing"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", False, TransientError, "SSH-2.0", id="no HTTP"),
        pytest.param(b"", False, TransientError, "closed connection", id="hung up"),
        pytest.param(b"", True, TransientError, "reset", id="reset"),
        pytest.param(None, False, TransientError, "timed out", id="silence"),
    ],
)
def test_a_failed_download_is_tried_again_unless_the_server_refused(
    download: Callable[[str, type[Exception]], str],
    answer: bytes | None,
    reset: bool,
    kind: type[Exception],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if answer is None:
        monkeypatch.setattr(weights_module, "_SILENCE_SECONDS", 0.2)
    with server(answer, reset=reset) as address:
        message = download(address, kind)
    assert said in message
    assert FIX in message


def test_a_port_where_nobody_listens_is_worth_another_try(download: Callable[[str, type[Exception]], str]) -> None:
    with socket.socket() as taken:  # by nobody else then, and not listened at
        taken.bind(("127.0.0.1", 0))
        message = download(f"http://127.0.0.1:{taken.getsockname()[1]}/weights.h5", TransientError)
    assert "Connection refused" in message
    assert FIX in message


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
    ],
    ids=["again", "unknown", "unreachable"],
)
def test_without_a_network_the_message_says_which_file_to_bring(
    download: Callable[[str, type[Exception]], str], error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pod without a way out a name is not known "for now", as in a minute without DNS."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    message = download(IMAGENET_ADDRESS, TransientError)
    assert str(error.strerror) in message
    assert FIX in message


def test_a_folder_that_cannot_keep_the_download_is_named(
    download: Callable[[str, type[Exception]], str], tmp_path: Path
) -> None:
    (tmp_path / "models").write_text("no folder")
    with server(b"") as address:
        message = download(address, UserError)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(address.split(":")[2][:-11]))):
            pass
    assert f"cannot be kept in {tmp_path / 'models'}" in message
    assert "set KERAS_HOME to a folder that can be written" in message
