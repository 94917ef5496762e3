"""Where pretrained weights can come from. Without TensorFlow: a launcher checks it before a run."""

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


def check_weights_file(weights: str) -> None:
    """Check that there is a file and that it begins as one of weights does; the rest is not looked at.

    Args:
        weights: Path or ``gs://`` URI, of which 1 MiB is fetched.

    Raises:
        UserError: When there is none, it may not be read, or it is something else.
        TransientError: When Cloud Storage does not answer.
    """
    if storage.stat_file(weights) is None:
        raise UserError(
            f"weights {weights} is not a file: give the path or gs:// URI of a weights file, imagenet or random"
        )
    with storage.opened(weights) as file:
        require_weights_form(weights, file.read(MAGIC_BYTES))


def require_weights_form(weights: str, beginning: bytes) -> None:
    """Check what a file of weights is by its first bytes, whatever it is called.

    Args:
        weights: What the file was given as.
        beginning: Its first ``MAGIC_BYTES``.

    Raises:
        UserError: When it is neither HDF5 nor a NumPy archive.
    """
    if beginning != HDF5_MAGIC and not beginning.startswith(_ZIP_MAGIC):
        raise UserError(
            f"weights {weights} is neither HDF5 nor a NumPy archive: for inception_v3 give Keras' "
            "..._notop.h5 or a .weights.h5 file, for efficientnet_lite0 an .npz"
        )
