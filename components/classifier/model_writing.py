"""Write the files of Keras so that HDF5 never meets a disk.

HDF5 cannot let go of a file that it could not finish: after a full disk, or a limit on file sizes, closing it fails as
well, and the process ends in a segmentation fault. So it writes into memory, as much as the weights take while a file
is written, and Python writes that to the disk, whose errors are ``OSError``.
"""

import io
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras


class _ZipStream(io.BufferedWriter):
    """A file for Keras' own format. It chooses the format by what its argument is called.

    It has no ``name`` that is a path: beside one, where memory is short, Keras would let HDF5 write to the disk.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))

    @property
    def name(self) -> Any:
        return None

    def __str__(self) -> str:
        return "model.keras"


class _HDF5InMemory(h5py.File):
    """A file for the older format, likewise."""

    def __str__(self) -> str:
        return "model.h5"


def write_keras(model: keras.Model, path: Path) -> None:
    """Write Keras' own format.

    Raises:
        OSError: When the disk has no room.
    """
    with _ZipStream(path) as file:
        keras.saving.save_model(model, file)


def write_h5(model: keras.Model, path: Path) -> None:
    """Write the older HDF5 format.

    Raises:
        OSError: When the disk has no room.
    """
    content = io.BytesIO()
    with _HDF5InMemory(content, "w") as file:
        keras.saving.save_model(model, file)
    path.write_bytes(content.getbuffer())
