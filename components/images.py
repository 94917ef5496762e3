"""The container images the steps run in: the only place that names them.

The tag is the package version, so a compiled pipeline and the code in its images cannot drift apart.
"""

from components import __version__

DATA = f"image-classification-data:{__version__}"
"""Ingest, audit, clean and register: no TensorFlow."""

TRAINING = f"image-classification-training:{__version__}"
"""Split, train, fine-tune and evaluate: TensorFlow."""


def published_reference(image: str, registry: str, tag: str) -> str:
    """Return where a cluster pulls an image from.

    Args:
        image: DATA or TRAINING.
        registry: Host and path before the image's name, ``europe-docker.pkg.dev/project/repository``; empty for none.
        tag: Instead of the package version; empty for that.
    """
    name, _, version = image.partition(":")
    prefix = f"{registry.rstrip('/')}/" if registry else ""
    return f"{prefix}{name}:{tag or version}"
