"""The container images the steps run in: the only place that names them.

The tag is the package version, so a compiled pipeline and the code in its images cannot drift apart.
"""

from components import __version__

DATA = f"image-classification-data:{__version__}"
"""Ingest, audit, clean and split: no TensorFlow."""

TRAINING = f"image-classification-training:{__version__}"
"""Audit embeddings, train, fine-tune, evaluate and register: TensorFlow."""

VERSION_LABEL = "org.opencontainers.image.version"
"""Label of both images: the version of the steps in it."""
VARIANT_LABEL = "image-classification.variant"
"""Label of the training image: ``gpu`` or ``cpu``."""
WEIGHTS_LABEL = "image-classification.weights"
"""Label of the training image: name of the weights file in it, empty for none."""
WEIGHTS_SHA256_LABEL = "image-classification.weights.sha256"
"""Label of the training image: what that file was checked by."""
BAKED_WEIGHTS_FOLDER = "/opt/keras/models"
"""Where the training image keeps that file."""

IMAGE_REFERENCE_VARIABLE = "IMAGE_REFERENCE"
"""Environment variable with the image that a step runs in, by its digest where a pipeline was given that."""
NO_IMAGE = "none: a process of the machine that launched the run"
"""In its place where a step runs in no container."""

IMAGE_USER = 65532
"""Numeric user and group of both images."""

SHORT_NAMES = {"data": DATA, "training": TRAINING}
"""Each image by the word for it on the command line."""


def published_reference(image: str, registry: str, tag: str, digest: str = "") -> str:
    """Return where a cluster pulls an image from.

    Args:
        image: DATA or TRAINING.
        registry: Host and path before the image's name, ``europe-docker.pkg.dev/project/repository``; empty for none.
        tag: Instead of the package version; empty for that.
        digest: ``sha256:`` and 64 hex digits, which pin the bytes whatever the tag; empty for none.
    """
    name, _, version = image.partition(":")
    prefix = f"{registry.rstrip('/')}/" if registry else ""
    return f"{prefix}{name}@{digest}" if digest else f"{prefix}{name}:{tag or version}"
