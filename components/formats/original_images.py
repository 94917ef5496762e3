"""A few test images as they were in the source: files of any size, as clients send them.

Shards hold squares that were decoded, resized and encoded again. What an exported model makes of the files themselves
shows only when it is asked about them. They lie beside the shards, in ``test_originals.parquet``.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

ORIGINALS_FILE = "test_originals.parquet"

MOST_ORIGINALS = 16
MOST_ORIGINAL_BYTES = 4 * 1024**2
MOST_ORIGINAL_PIXELS = 24_000_000
"""Of one image. As floats, in which they are resized, so many take 288 MB."""

_COLUMNS = ["path", "image"]


@dataclasses.dataclass(frozen=True)
class OriginalImage:
    """One file.

    Attributes:
        path: The image's name.
        image: Its bytes: an upright JPEG or PNG.
    """

    path: str
    image: bytes


def write_originals(originals: Sequence[OriginalImage], directory: Path) -> None:
    """Write ``test_originals.parquet``."""
    rows = [dataclasses.astuple(original) for original in originals]
    pd.DataFrame(rows, columns=_COLUMNS).to_parquet(directory / ORIGINALS_FILE, index=False, compression=None)


def read_originals(directory: Path) -> list[OriginalImage]:
    """Read them; splits of earlier versions have none.

    Raises:
        ValueError: When the file is damaged.
    """
    path = directory / ORIGINALS_FILE
    if not path.is_file():
        return []
    rows = pd.read_parquet(path, columns=_COLUMNS)
    return [OriginalImage(*row) for row in rows.itertuples(index=False, name=None)]
