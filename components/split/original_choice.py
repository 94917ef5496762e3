"""Which test images go along as they were in the source, for the exported model to be asked about."""

import itertools
from collections.abc import Callable, Iterator

import pandas as pd

from components.formats.image_formats import read_formats
from components.formats.original_images import (
    MOST_ORIGINAL_BYTES,
    MOST_ORIGINAL_PIXELS,
    MOST_ORIGINALS,
    OriginalImage,
)
from components.formats.stored_pixels import opened, upright_turn

_MOST_LOOKED_AT = 4 * MOST_ORIGINALS


def choose_originals(images: pd.DataFrame, read: Callable[[str, int, int], bytes]) -> list[OriginalImage]:
    """Return images of every class in turn that a client may send as they are.

    Args:
        images: ``path``, ``label``, ``part``, ``offset`` and ``size_bytes`` of the test images, in the seeded order of
            the split.
        read: Returns the bytes at a part, offset and size.
    """
    fit = images[images["size_bytes"] <= MOST_ORIGINAL_BYTES]
    turn = fit.groupby("label").cumcount()
    ordered = fit.assign(turn=turn).sort_values(["turn", "label"], kind="stable").head(_MOST_LOOKED_AT)

    def sent_as_they_are() -> Iterator[OriginalImage]:
        columns = ["path", "part", "offset", "size_bytes"]
        for path, part, offset, size_bytes in ordered[columns].itertuples(index=False, name=None):
            data = read(part, int(offset), int(size_bytes))
            if needs_nothing_but_resizing(data):
                yield OriginalImage(path, data)

    return list(itertools.islice(sent_as_they_are(), MOST_ORIGINALS))


def needs_nothing_but_resizing(data: bytes) -> bool:
    """Return whether split and the exported model read a file alike: an upright opaque JPEG or PNG of usual size.

    A server cannot turn photographs by their EXIF orientation, and clients turn them first; few send other formats.

    Args:
        data: Bytes of an image that was decoded before.
    """
    with opened(data, read_formats()) as image:
        plain = image.mode == "RGB" or (image.format == "JPEG" and image.mode == "L")
        return (
            image.format in ("JPEG", "PNG")
            and plain
            and "transparency" not in image.info
            and getattr(image, "n_frames", 1) == 1
            and image.width * image.height <= MOST_ORIGINAL_PIXELS
            and upright_turn(image) is None
        )
