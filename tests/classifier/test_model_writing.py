"""Keras' files are whole, or what stopped them is an error of the system: HDF5 never ends the process."""

import errno
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest

from components.classifier.model_writing import write_h5, write_keras

Write = Callable[[keras.Model, Path], None]
FORMATS = pytest.mark.parametrize(("write", "name"), [(write_keras, "m.keras"), (write_h5, "m.h5")])


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Of 70 kB in the weights of layers that are smaller and larger than a page of HDF5."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(16, name=f"small_{number}") for number in range(20)]
    return keras.Sequential([keras.Input((100,)), keras.layers.Dense(120, name="large"), *layers])


def same(model: keras.Model, path: Path) -> bool:
    again = keras.saving.load_model(path, compile=False)
    return all(np.array_equal(*pair) for pair in zip(again.get_weights(), model.get_weights(), strict=True))


@FORMATS
def test_what_is_written_comes_back(model: keras.Model, write: Write, name: str, tmp_path: Path) -> None:
    write(model, tmp_path / name)
    assert same(model, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_where_memory_is_short_hdf5_meets_no_disk_either(
    model: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras.src.saving.saving_lib.is_memory_sufficient", lambda _: False)
    opened = []

    class Watched(h5py.File):
        def __init__(self, name: object, *arguments: object, **options: object) -> None:
            opened.append(name)
            super().__init__(name, *arguments, **options)

    monkeypatch.setattr("keras.src.saving.saving_lib.h5py.File", Watched)
    write_keras(model, tmp_path / "m.keras")
    assert opened
    assert not [name for name in opened if isinstance(name, str | Path)]
    monkeypatch.undo()
    assert same(model, tmp_path / "m.keras")


@FORMATS
@pytest.mark.parametrize("size", ["4k", "24k", "56k", "80k"])
def test_a_full_disk_is_an_error(model: keras.Model, write: Write, name: str, size: str, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(small_disk)], check=True)
    with pytest.raises(OSError, match="No space left") as raised:
        write(model, small_disk / name)
    assert raised.value.errno == errno.ENOSPC


@FORMATS
def test_a_limit_on_file_sizes_is_an_error(model: keras.Model, write: Write, name: str, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        with pytest.raises(OSError, match="too large") as raised:
            write(model, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.errno == errno.EFBIG
