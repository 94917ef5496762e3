"""Convert the published EfficientNet-Lite0 ImageNet weights to float16 arrays named by Keras layer.

The origin is a pickle, and unpickling runs code. So this reads it without torch, with an unpickler that knows four
names and refuses everything else, after checking that the file is the one it was written for.

    python samples/efficientnet_lite0/convert.py efficientnet-lite0-57934424.pth imagenet_float16.npz

The same input gives the same bytes: entries are stored uncompressed and carry no time.
"""

import argparse
import hashlib
import io
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORIGIN_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of torch's format before it became a zip
_ITEM_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

# Blocks of each stage; block numbers run through all stages in the origin and restart in Keras' naming.
_BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)

# Conv kernels go from (out, in, height, width) to (height, width, in, out), depthwise ones from
# (channels, 1, height, width) to (height, width, channels, 1), the classifier from (out, in) to (in, out).
_AXES = {"conv": (2, 3, 1, 0), "depthwise": (2, 3, 0, 1), "dense": (1, 0), "vector": (0,)}

_NORMALIZATION = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles names, shapes and references to storages; refuses anything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _describe_tensor
        if module == "torch" and name in _ITEM_TYPES:
            return name
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which no file of weights needs")

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        _, storage_type, key, _, items, _ = pid
        return storage_type, key, items


def _describe_tensor(
    storage: tuple[str, str, int], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> dict[str, Any]:
    return {"type": storage[0], "key": storage[1], "offset": offset, "shape": shape, "strides": strides}


def read_state_dict(data: bytes) -> dict[str, NDArray[Any]]:
    """Read a legacy (non-zip) torch state dict.

    Raises:
        pickle.UnpicklingError: When the file is of another format or asks for anything but tensors.
    """
    stream = io.BytesIO(data)
    magic, _version, _system, tensors, keys = (_TensorUnpickler(stream).load() for _ in range(5))
    if magic != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("not a legacy torch file")
    types = {tensor["key"]: _ITEM_TYPES[tensor["type"]] for tensor in tensors.values()}
    storages = {}
    for key in keys:
        items = int.from_bytes(stream.read(8), "little")
        storages[key] = np.frombuffer(stream.read(items * types[key].itemsize), types[key])
    return {name: _rebuild(tensor, storages[tensor["key"]]) for name, tensor in tensors.items()}


def _rebuild(tensor: dict[str, Any], storage: NDArray[Any]) -> NDArray[Any]:
    """Lay a storage out by its strides: this file's kernels kept TensorFlow's memory order."""
    strides = [stride * storage.itemsize for stride in tensor["strides"]]
    view = np.lib.stride_tricks.as_strided(storage[tensor["offset"] :], tensor["shape"], strides, writeable=False)
    return np.array(view)


def keras_arrays(state: dict[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[np.float16]]]:
    """Yield ``layer/variable`` and its float16 array for every weight of a state dict.

    Raises:
        OverflowError: When float16 cannot hold a value.
    """
    for name, array in state.items():
        if name.endswith("num_batches_tracked"):  # counts training steps; nothing reads it
            continue
        layer, kind, variable = _translate(name)
        converted = array.transpose(_AXES[kind]).astype(np.float16)
        if not np.isfinite(converted).all():
            raise OverflowError(f"{name} holds a value that float16 cannot")
        yield f"{layer}/{variable}", converted


def _translate(name: str) -> tuple[str, str, str]:
    """Return layer, kind of transposition and variable for a name such as ``_blocks.3._bn2.running_var``."""
    top = {"_conv_stem": "stem_conv", "_bn0": "stem_bn", "_conv_head": "top_conv", "_bn1": "top_bn", "_fc": "fc"}
    inner = {
        "_expand_conv": "expand_conv",
        "_bn0": "expand_bn",
        "_depthwise_conv": "depthwise_conv",
        "_bn1": "depthwise_bn",
        "_project_conv": "project_conv",
        "_bn2": "project_bn",
    }
    match = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)", name)
    if match is None:
        raise ValueError(f"unknown weight {name}")
    block, part, variable = match.groups()
    layer = top[part] if block is None else f"{_block_name(int(block))}_{inner[part]}"
    if layer == "fc":
        return layer, *(("dense", "kernel") if variable == "weight" else ("vector", "bias"))
    if layer.endswith("_bn"):
        return layer, "vector", _NORMALIZATION[variable]
    return layer, "depthwise" if layer.endswith("depthwise_conv") else "conv", "kernel"


def _block_name(number: int) -> str:
    """Return ``block2b`` for the third block: stage 2, second of its stage."""
    for stage, blocks in enumerate(_BLOCKS_PER_STAGE, start=1):
        if number < blocks:
            return f"block{stage}{'abcdefgh'[number]}"
        number -= blocks
    raise ValueError("the file has more blocks than EfficientNet-Lite0")


def write_arrays(arrays: Iterator[tuple[str, NDArray[np.float16]]], destination: Path) -> None:
    """Write an ``.npz`` whose bytes depend on nothing but the arrays."""
    with zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as archive:
        for name, array in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0))
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, buffer.getvalue())


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("origin", type=Path)
    parser.add_argument("destination", type=Path)
    arguments = parser.parse_args()
    data = arguments.origin.read_bytes()
    if (digest := hashlib.sha256(data).hexdigest()) != ORIGIN_SHA256:
        sys.exit(f"{arguments.origin} has SHA-256 {digest}; this conversion was written for {ORIGIN_SHA256}")
    write_arrays(keras_arrays(read_state_dict(data)), arguments.destination)
    print(hashlib.sha256(arguments.destination.read_bytes()).hexdigest(), arguments.destination)


if __name__ == "__main__":
    main()
