"""Where pretrained weights can come from. Without TensorFlow: a launcher checks it before a run."""

import struct
import zipfile
from typing import IO

from components import storage
from components.failures import UserError

IMAGENET = "imagenet"
RANDOM = "random"
WEIGHTS_IN_WORDS = (IMAGENET, RANDOM)
"""Values of ``weights`` that are no file."""

IMAGENET_BACKBONE = "inception_v3"
"""The backbone that Keras offers ImageNet weights for."""
IMAGENET_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
"""What Keras calls their file, in its cache too."""
IMAGENET_ADDRESS = f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{IMAGENET_FILE}"
IMAGENET_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"
"""The hash Keras checks the file by, hex."""

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
"""What HDF5 begins with."""
_ZIP_MAGIC = b"PK\x03\x04"
MAGIC_BYTES = len(HDF5_MAGIC)
"""How much of a file tells what it is."""
_SUPERBLOCK_BYTES = 56  # with all that is read of one, whatever its version; no HDF5 file is shorter
# By version of the superblock: where it says how wide addresses are, where these begin, and which is the file's end.
_END_OF_FILE = {0: (13, 24, 2), 1: (13, 28, 2), 2: (9, 12, 2), 3: (9, 12, 2)}
_WEIGHTS_FILES = "for inception_v3 give Keras' ..._notop.h5 or a .weights.h5 file, for efficientnet_lite0 an .npz"
_LOOKALIKES = {
    b"<": " but begins as a web page does, that of a login or an error perhaps",
    b"version": " but begins as a pointer of Git LFS does (git lfs pull fetches the file)",
}


def check_weights(weights: str, backbone: str) -> None:
    """Check that there are ImageNet weights where they are asked for; whether a file is there is not looked at.

    Args:
        weights: ``imagenet``, ``random``, or a path or ``gs://`` URI.
        backbone: A known one.

    Raises:
        UserError: When Keras has none for the backbone, nothing is named, or what no path can be.
    """
    if not weights.strip():
        raise UserError(
            "weights is empty: set it to imagenet, to the path or gs:// URI of a weights file, or to random"
        )
    storage.require_sound_path("weights", weights)
    if weights == IMAGENET and backbone != IMAGENET_BACKBONE:
        raise UserError(
            f"Keras has no ImageNet weights for {backbone}: set weights to a file, a copy of "
            "samples/efficientnet_lite0/imagenet_float16.npz of this project for example; a cluster needs it in a "
            "gs:// bucket or in the training image"
        )


def check_weights_file(weights: str) -> storage.StoredFile:
    """Check that there is a file, that it begins as one of weights does and seems not cut short.

    Its arrays are not looked at. Of an object a few parts are fetched, some 1 MiB each.

    Args:
        weights: Path or ``gs://`` URI.

    Returns:
        The file, as it was looked up.

    Raises:
        UserError: When there is none, it may not be read, or it is something else.
        TransientError: When Cloud Storage does not answer.
    """
    file = storage.stat_file(weights)
    if file is None and storage.is_remote(weights):
        raise UserError(
            f"weights {weights} does not exist; see what does: gcloud storage ls {weights.rpartition('/')[0]}/"
        )
    if file is None:
        raise UserError(
            f"weights {weights} is not a file: give the path or gs:// URI of a weights file, imagenet or random"
        )
    storage.require_plain(file)
    with storage.opened(weights) as content:
        beginning = content.read(_SUPERBLOCK_BYTES)
        require_weights_form(weights, beginning[:MAGIC_BYTES])
        if beginning.startswith(HDF5_MAGIC):
            _require_whole_hdf5(weights, beginning, file.size_bytes)
        else:
            _require_arrays(weights, content)
    return file


def require_weights_form(weights: str, beginning: bytes) -> None:
    """Check what a file of weights is by its first bytes, whatever it is called.

    Args:
        weights: What the file was given as.
        beginning: Its first ``MAGIC_BYTES``.

    Raises:
        UserError: When it is neither HDF5 nor a NumPy archive.
    """
    if beginning == HDF5_MAGIC or beginning.startswith(_ZIP_MAGIC):
        return
    if not beginning:
        raise UserError(f"weights {weights} is empty: its upload or download may have failed; {_WEIGHTS_FILES}")
    seems = next((words for start, words in _LOOKALIKES.items() if beginning.lstrip().startswith(start)), "")
    raise UserError(f"weights {weights} is neither HDF5 nor a NumPy archive{seems}: {_WEIGHTS_FILES}")


def _require_whole_hdf5(weights: str, beginning: bytes, size_bytes: int) -> None:
    """Check that a file reaches as far as its superblock says (HDF5 File Format Specification, II.A).

    Raises:
        UserError: When it does not. Of a version that is not known here nothing is asked.
    """
    if len(beginning) < _SUPERBLOCK_BYTES:
        raise UserError(f"weights {weights} is cut short: it has {size_bytes:,} bytes; take an intact copy")
    layout = _END_OF_FILE.get(beginning[len(HDF5_MAGIC)])
    if layout is None:
        return
    width_at, addresses_at, address = layout
    width = beginning[width_at]
    end_at = addresses_at + address * width
    end = int.from_bytes(beginning[end_at : end_at + width], "little")
    if size_bytes < end:
        raise UserError(f"weights {weights} is cut short: it has {size_bytes:,} bytes of {end:,}; take an intact copy")


def _require_arrays(weights: str, content: IO[bytes]) -> None:
    """Check by its directory, which lies at its end, that an archive is whole and holds arrays.

    Raises:
        UserError: When it does not, as of a ``.keras`` or PyTorch model.
    """
    try:
        with zipfile.ZipFile(content) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise UserError(f"weights {weights} is cut short or damaged ({error}); take an intact copy") from error
    if not any(name.endswith(".npy") for name in names):
        raise UserError(
            f"weights {weights} is a ZIP file of {', '.join(map(repr, names[:3])) or 'nothing'} and not of NumPy "
            f"arrays: {_WEIGHTS_FILES}"
        )
