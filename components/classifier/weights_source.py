"""Where pretrained weights can come from. Without TensorFlow: a launcher checks it before a run."""

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


def check_weights(weights: str, backbone: str) -> None:
    """Check that there are ImageNet weights where they are asked for; whether a file is there is not looked at.

    Args:
        weights: ``imagenet``, ``random``, or a path or ``gs://`` URI.
        backbone: A known one.

    Raises:
        UserError: When Keras has none for the backbone, or nothing is named.
    """
    if not weights.strip():
        raise UserError(
            "weights is empty: set it to imagenet, to the path or gs:// URI of a weights file, or to random"
        )
    if weights == IMAGENET and backbone != IMAGENET_BACKBONE:
        raise UserError(
            f"Keras has no ImageNet weights for {backbone}: set weights to a file, a copy of "
            "samples/efficientnet_lite0/imagenet_float16.npz of this project for example; a cluster needs it in a "
            "gs:// bucket or in the training image"
        )
