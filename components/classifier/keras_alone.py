"""Keras, imported without the scikit-learn that it brings along where it is installed.

Keras wraps models for scikit-learn, and so imports it: nobody asks for that in training, where it takes 0.8 s of CPU
and 58 MB of memory, a fifth of what importing TensorFlow and Keras takes. Keras does without what is not installed.
"""

import sys

_NOT_WANTED = "sklearn"


def import_keras_alone() -> None:
    """Import Keras so, unless either is imported already; whoever wants scikit-learn can import it later."""
    if "keras" in sys.modules or _NOT_WANTED in sys.modules:
        return
    sys.modules[_NOT_WANTED] = None  # type: ignore[assignment] # to import it is an ImportError then
    try:
        import keras  # noqa: F401, PLC0415
    finally:
        del sys.modules[_NOT_WANTED]
