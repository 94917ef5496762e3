"""The container images the steps run in: the only place that names them.

The tag is the package version, so a compiled pipeline and the code in its images cannot drift apart.
"""

from components import __version__

DATA = f"image-classification-data:{__version__}"
"""Ingest, audit, clean and register: no TensorFlow."""

TRAINING = f"image-classification-training:{__version__}"
"""Split, train, fine-tune and evaluate: TensorFlow."""
