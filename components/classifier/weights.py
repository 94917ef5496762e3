"""Pretrained weights: where they come from, and proof that they fit before any training starts.

Only arrays are read: Keras' HDF5 weights and NumPy archives without pickles. A ``.keras`` or pickled model is refused,
because loading one can run code.
"""

import contextlib
import errno
import hashlib
import http.client
import os
import socket
import ssl
import struct
import tempfile
import urllib.error
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np

from components.classifier.backbones import BACKBONES, Backbone
from components.classifier.weights_source import (
    HDF5_MAGIC,
    IMAGENET,
    IMAGENET_ADDRESS,
    IMAGENET_FILE,
    IMAGENET_MD5,
    MAGIC_BYTES,
    RANDOM,
    check_weights,
    require_weights_form,
)
from components.failures import TransientError, UserError
from components.storage import localized

# What readers of HDF5 and zip files raise. RuntimeError: of a compression that zipfile does not know, or encryption.
_DAMAGED = (
    ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError, OSError, EOFError, UserWarning,
    zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip

# What HTTP servers answer when another try may succeed.
_BUSY_SERVER = {408, 429, 500, 502, 503, 504}
_SILENCE_SECONDS = 60.0  # a connection on which nothing arrives for so long is given up; urllib would wait forever


def load_weights(network: keras.Model, backbone: Backbone, weights: str) -> str:
    """Give a freshly built backbone its weights.

    Args:
        network: What ``backbone.build`` returned.
        backbone: Its description.
        weights: ``imagenet`` for Keras' own download, checked by hash; a local path or ``gs://`` URI of a file; or
            ``random``, which leaves the backbone untrained: good for tests of the code and for nothing else.

    Returns:
        SHA-256 of the file, hex; empty for random weights.

    Raises:
        UserError: When the file is missing, damaged, of another network or not a file of weights, or has the name of
            Keras' ImageNet weights and is another; or Keras' download is refused.
        TransientError: When Cloud Storage does not answer, or Keras' download cannot be reached or breaks off.
    """
    if weights == RANDOM:
        print(f"{backbone.name}: random weights, an untrained backbone", flush=True)
        return ""
    if weights == IMAGENET:
        return _load_imagenet(network, backbone)
    with localized(weights) as path:
        _require_official(path, weights)
        _load_file(network, backbone, path, weights)
        digest = _digest(path, "sha256")
    print(f"{backbone.name}: weights from {weights}, SHA-256 {digest}", flush=True)
    return digest


def _load_imagenet(network: keras.Model, backbone: Backbone) -> str:
    """Take Keras' own file from its cache, which a container image can carry, or download it."""
    check_weights(IMAGENET, backbone.name)
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    # Looked up here because Keras ignores a cache it may not write to, and a container's is often read-only.
    path = home / "models" / IMAGENET_FILE
    if not (path.is_file() and _digest(path, "md5") == IMAGENET_MD5):
        path = _download_imagenet(home)
    _load_file(network, backbone, path, IMAGENET)
    digest = _digest(path, "sha256")
    print(f"{backbone.name}: Keras' ImageNet weights, SHA-256 {digest}", flush=True)
    return digest


def _download_imagenet(home: Path) -> Path:
    """Download through Keras, which checks the hash and keeps the file.

    No failure of a network tells whether it passes: in a pod that may not leave its cluster names cannot be looked up
    "for now", exactly as when DNS is down for a minute. So each is worth another try, and each message has the fix.
    """
    try:
        with _silence_limited():
            return Path(
                keras.utils.get_file(
                    IMAGENET_FILE, IMAGENET_ADDRESS, cache_dir=home, cache_subdir="models", file_hash=IMAGENET_MD5
                )
            )
    except Exception as error:
        # Keras wraps what urllib raised in a bare Exception.
        failure = _download_failure(error.__context__ if type(error) is Exception else error)
        if failure is None:
            raise
        raise failure from error


def _download_failure(cause: BaseException | None) -> UserError | TransientError | None:
    """Return what to raise for what went wrong in a download, None for what does not come from a network."""
    reason = _first_line(getattr(cause, "reason", cause) if not isinstance(cause, urllib.error.HTTPError) else cause)
    sentence = (
        f"inception_v3's ImageNet weights cannot be downloaded ({reason}); where that will not pass, fetch "
        f"{IMAGENET_FILE} on a connected machine and set weights to its path or gs:// URI, or put it into "
        "$KERAS_HOME/models"
    )
    if isinstance(cause, urllib.error.HTTPError):
        cause.close()
        return TransientError(sentence) if cause.code in _BUSY_SERVER else UserError(sentence)
    if isinstance(cause, urllib.error.URLError):
        distrusted = isinstance(cause.reason, ssl.SSLCertVerificationError)
        return UserError(sentence) if distrusted else TransientError(sentence)
    if isinstance(cause, OSError) and cause.filename:
        return UserError(
            f"the download of inception_v3's ImageNet weights cannot be kept in {cause.filename} "
            f"({cause.strerror}): set KERAS_HOME to a folder that can be written"
        )
    # ValueError: not the bytes that Keras knows, as of a proxy that answers with a page of its own.
    on_the_way = isinstance(cause, OSError | ValueError | http.client.HTTPException)
    full_disk = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return TransientError(sentence) if on_the_way and not full_disk else None


def _require_official(path: Path, name: str) -> None:
    """Refuse a file with the name of Keras' ImageNet weights that is not that file: HDF5 has no checksums of its own.

    Args:
        path: The file.
        name: What the user calls it.

    Raises:
        UserError: When it is another.
    """
    if name.rpartition("/")[2] != IMAGENET_FILE or not path.is_file():
        return
    digest = _digest(path, "md5")
    if digest != IMAGENET_MD5:
        raise UserError(
            f"weights {name} has the name of Keras' ImageNet weights and is not that file (MD5 {digest}, Keras' has "
            f"{IMAGENET_MD5}): take an intact copy, or give it another name if these are weights of your own"
        )


@contextlib.contextmanager
def _silence_limited() -> Iterator[None]:
    """Let connections made in this block fail when nothing arrives: Keras' download takes no such limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load_file(network: keras.Model, backbone: Backbone, path: Path, name: str) -> None:
    """Load by what the file is, whatever it is called: Keras chooses the reader by suffix, and URIs may have none."""
    if not path.is_file():
        raise UserError(f"weights {name} is not a file: give one file of weights")
    try:
        with path.open("rb") as file:
            beginning = file.read(MAGIC_BYTES)
        require_weights_form(name, beginning)
        if beginning == HDF5_MAGIC:
            _load_hdf5(network, path)
        else:
            _load_arrays(network, path)
    except PermissionError as error:
        raise UserError(f"weights {name} may not be read: change its owner or mode") from error
    except _DAMAGED as error:
        raise UserError(
            f"weights {name} cannot be loaded into {backbone.name}: the file is cut short, damaged, or of another "
            f"network ({_first_line(error)}); known backbones are {', '.join(sorted(BACKBONES))}"
        ) from error
    if not all(np.isfinite(array).all() for array in network.get_weights()):
        raise UserError(f"weights {name} holds values that are not finite numbers: take an intact copy")


def _load_hdf5(network: keras.Model, path: Path) -> None:
    """Load Keras 3 ``.weights.h5`` or the older layout that Keras' own downloads have."""
    with h5py.File(path, "r") as file:
        older = "layer_names" in file.attrs or "model_weights" in file
    with tempfile.TemporaryDirectory(prefix="weights-") as directory:
        link = Path(directory) / ("weights.h5" if older else "backbone.weights.h5")
        link.symlink_to(path.absolute())
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns when layers keep their random weights
            network.load_weights(link)


def _load_arrays(network: keras.Model, path: Path) -> None:
    """Load an ``.npz`` of arrays named ``layer/variable``; the classifier's arrays are left aside."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        for layer in network.layers:
            values = [arrays[f"{layer.name}/{variable.name}"] for variable in layer.weights]
            layer.set_weights([value.astype(np.float32) for value in values])


def _first_line(error: object) -> str:
    text = str(error).strip().strip("'\"")
    return text.splitlines()[0][:200] if text else type(error).__name__


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
