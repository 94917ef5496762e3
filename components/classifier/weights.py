"""Pretrained weights: where they come from, and proof that they fit before any training starts.

Only arrays are read: Keras' HDF5 weights and NumPy archives without pickles. A ``.keras`` or pickled model is refused,
because loading one can run code.
"""

import hashlib
import importlib
import os
import tempfile
import urllib.error
import warnings
import zipfile
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np

from components.classifier.backbones import BACKBONES, Backbone
from components.failures import TransientError, UserError
from components.storage import localized

IMAGENET = "imagenet"
RANDOM = "random"

_ZIP_MAGIC = b"PK\x03\x04"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

# Keras' own file, and the hash Keras checks it by.
_INCEPTION_V3_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
_INCEPTION_V3_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"

# What HTTP servers answer when another try may succeed.
_BUSY_SERVER = {429, 500, 502, 503, 504}


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
        UserError: When the file is missing, damaged, of another network or not a file of weights, or Keras' download
            is out of reach.
        TransientError: When Cloud Storage does not answer.
    """
    if weights == RANDOM:
        print(f"{backbone.name}: random weights, an untrained backbone", flush=True)
        return ""
    if weights == IMAGENET:
        return _load_imagenet(network, backbone)
    with localized(weights) as path:
        _load_file(network, backbone, path, weights)
        digest = _digest(path, "sha256")
    print(f"{backbone.name}: weights from {weights}, SHA-256 {digest}", flush=True)
    return digest


def _load_imagenet(network: keras.Model, backbone: Backbone) -> str:
    """Take Keras' own file from its cache, which a container image can carry, or download it."""
    if backbone.name != "inception_v3":
        raise UserError(
            f"Keras has no download for {backbone.name}: set weights to a file, "
            "samples/efficientnet_lite0/imagenet_float16.npz of this project for example"
        )
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    # Looked up here because Keras ignores a cache it may not write to, and a container's is often read-only.
    path = home / "models" / _INCEPTION_V3_FILE
    if not (path.is_file() and _digest(path, "md5") == _INCEPTION_V3_MD5):
        path = _download_inception_v3()
    _load_file(network, backbone, path, IMAGENET)
    digest = _digest(path, "sha256")
    print(f"{backbone.name}: Keras' ImageNet weights, SHA-256 {digest}", flush=True)
    return digest


def _download_inception_v3() -> Path:
    """Download through Keras, which checks the hash."""
    # Keras publishes the address only inside this module.
    origin = importlib.import_module(keras.applications.InceptionV3.__module__).WEIGHTS_PATH_NO_TOP
    try:
        return Path(
            keras.utils.get_file(_INCEPTION_V3_FILE, origin, cache_subdir="models", file_hash=_INCEPTION_V3_MD5)
        )
    except (OSError, ValueError) as error:
        raise TransientError(f"the download of inception_v3's ImageNet weights broke off: {error}") from error
    except Exception as error:
        # Keras wraps what urllib raised in a bare Exception; anything else is not about the network.
        cause = error.__context__
        if not isinstance(cause, urllib.error.URLError):
            raise
        if isinstance(cause, urllib.error.HTTPError) and cause.code in _BUSY_SERVER:
            raise TransientError(f"the server of inception_v3's ImageNet weights is busy: {error}") from error
        raise UserError(
            "inception_v3's ImageNet weights are neither in Keras' cache nor can they be downloaded from here: fetch "
            f"{_INCEPTION_V3_FILE} on a connected machine and set weights to its path or gs:// URI, or put it into "
            f"$KERAS_HOME/models ({error})"
        ) from error


def _load_file(network: keras.Model, backbone: Backbone, path: Path, name: str) -> None:
    """Load by what the file is, whatever it is called: Keras chooses the reader by suffix, and URIs may have none."""
    if not path.is_file():
        raise UserError(f"weights {name} is not a file: give one file of weights")
    with path.open("rb") as file:
        magic = file.read(len(_HDF5_MAGIC))
    try:
        if magic == _HDF5_MAGIC:
            _load_hdf5(network, path)
        elif magic.startswith(_ZIP_MAGIC):
            _load_arrays(network, path)
        else:
            raise UserError(
                f"weights {name} is neither HDF5 nor a NumPy archive: for inception_v3 give Keras' "
                "..._notop.h5 or a .weights.h5 file, for efficientnet_lite0 an .npz"
            )
    except (ValueError, KeyError, OSError, EOFError, TypeError, UserWarning, zipfile.BadZipFile) as error:
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


def _first_line(error: BaseException) -> str:
    text = str(error).strip().strip("'\"")
    return text.splitlines()[0][:200] if text else type(error).__name__


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
