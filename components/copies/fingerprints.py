"""What is kept of each image to find its copies: 1.4 KB, from any decode of it, whatever its size."""

import math
import mmap
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from components.copies.detail_comparison import (
    COLOUR_SIDE_PX,
    LUMA_SIDE_PX,
    Colours,
    Details,
    colour_places,
    colour_square,
    luma_of,
)
from components.copies.perceptual_hashes import (
    SQUARE_SIDE_PX,
    THUMBNAIL_SIDE_PX,
    Pixels,
    has_fingerprint,
    luma_square,
    thumbnails_of,
)

_SHAPES: tuple[tuple[tuple[int, ...], type], ...] = (
    ((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), np.uint8),
    ((LUMA_SIDE_PX, LUMA_SIDE_PX), np.uint8),
    ((2, COLOUR_SIDE_PX, COLOUR_SIDE_PX), np.int8),
)
FINGERPRINT_BYTES = sum(math.prod(shape) for shape, _ in _SHAPES)


@dataclass(frozen=True)
class Sketch:
    """What a fingerprint is made of.

    Attributes:
        luma: uint8 ``[64, 64]``.
        colour: int8 ``[2, 8, 8]``, Cr and Cb less 128.
    """

    luma: Pixels
    colour: Colours


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of images.

    Attributes:
        thumbnails: uint8 ``[images, 16, 16]``, see ``perceptual_hashes``: hashes and quick comparisons come from them.
            All zero for images that take no part, unreadable or flat ones.
        details: For the last word on pairs, see ``detail_comparison``.
        files: That hold both, none where memory does.
    """

    thumbnails: Pixels
    details: Details
    files: tuple[mmap.mmap, ...] = ()

    @classmethod
    def on_disk(cls, images: int) -> Self:
        """Return room for so many, in files without a name, which take memory only where they are looked at."""
        arrays, files = zip(*(_mapped((images, *shape), dtype) for shape, dtype in _SHAPES), strict=True)
        thumbnails, luma, colour = arrays
        return cls(thumbnails, Details(luma, colour), files)

    def leave_memory(self) -> None:
        """Leave to their files what was looked at or written: whether it also stays in memory is up to the system."""
        for file in self.files:
            file.madvise(mmap.MADV_DONTNEED)  # of a shared mapping, this loses nothing

    def __len__(self) -> int:
        return len(self.thumbnails)

    def __getitem__(self, rows: npt.NDArray[np.int64] | slice) -> Self:
        """Return the fingerprints of some images."""
        return type(self)(self.thumbnails[rows], self.details[rows])

    def __setitem__(self, rows: slice, fingerprints: "Fingerprints") -> None:
        """Take in the fingerprints of some images."""
        self.thumbnails[rows] = fingerprints.thumbnails
        self.details.luma[rows] = fingerprints.details.luma
        self.details.colour[rows] = fingerprints.details.colour

    def tobytes(self) -> bytes:
        """Return them as ``FINGERPRINT_BYTES`` an image, for ``fingerprints_from``."""
        return self.thumbnails.tobytes() + self.details.luma.tobytes() + self.details.colour.tobytes()

    def take_part(self) -> npt.NDArray[np.bool_]:
        """Return which images have one: not flat and unreadable ones."""
        return has_fingerprint(self.thumbnails)


def sketch_of(rgb: Pixels) -> Sketch:
    """Return the sketch of an image, uint8 ``[height, width, 3]``, of any size."""
    return Sketch(luma_square(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)), colour_square(colour_places(rgb)))


def fingerprints_of(sketches: Sequence[Sketch | None]) -> Fingerprints:
    """Return the fingerprints of a chunk of images; ``None`` stands for one that takes no part."""
    squares = np.zeros((len(sketches), SQUARE_SIDE_PX, SQUARE_SIDE_PX), np.uint8)
    colours = np.zeros((len(sketches), 2, COLOUR_SIDE_PX, COLOUR_SIDE_PX), np.int8)
    for row, sketch in enumerate(sketches):
        if sketch is not None:
            squares[row], colours[row] = sketch.luma, sketch.colour
    return Fingerprints(thumbnails_of(squares), Details(luma_of(squares), colours))


def fingerprints_from(data: bytes | memoryview, images: int) -> Fingerprints:
    """Return what ``tobytes`` gave of so many images."""
    arrays, start = [], 0
    for shape, dtype in _SHAPES:
        values: npt.NDArray = np.frombuffer(data, dtype, images * math.prod(shape), start).reshape(images, *shape)
        arrays.append(values)
        start += values.nbytes
    return Fingerprints(arrays[0], Details(arrays[1], arrays[2]))


def _mapped(shape: tuple[int, ...], dtype: type) -> tuple[npt.NDArray, mmap.mmap]:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    with tempfile.TemporaryFile(prefix="fingerprints-") as file:
        file.truncate(max(1, size))
        mapped = mmap.mmap(file.fileno(), max(1, size))
    return np.frombuffer(mapped, dtype, math.prod(shape)).reshape(shape), mapped
