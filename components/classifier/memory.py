"""Memory that nobody needs any more, given back."""

import ctypes
import gc
import sys


def give_back_memory() -> None:
    """Let go of models that nothing refers to any more, and of the memory that they took.

    A Keras model refers to itself, so that it stays until Python looks for such circles; and what it took stays with
    the C library, in holes that nothing larger fits into.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library alone
        if trim:
            trim(0)
