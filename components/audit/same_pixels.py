"""Which near duplicates have the same pixels at full size, though reduced they differ by rounding.

A JPEG is measured at the reduced size that its decoder gives for little; the same image stored again as a PNG is
decoded whole and then reduced. So of near duplicates of one size in different formats, those few that look quite the
same are read once more, and compared as they are.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.audit.measuring_pass import whole_pixels
from components.copies.perceptual_hashes import Pixels
from components.formats.stored_pixels import is_large

MOST_DIFFERENCE = 16
"""Of two thumbnails, gray levels at any place: the same image, reduced in two ways, differs by up to 9."""


def with_same_pixels(
    archive: Path,
    catalog: pd.DataFrame,
    measurements: pd.DataFrame,
    near_group: pd.Series,
    thumbnails: Pixels,
    workers: int,
) -> pd.DataFrame:
    """Return the measurements with one digest of pixels for images that have the same ones at full size.

    Args:
        archive: The archive's folder.
        catalog: Where the images are.
        measurements: Of the same images.
        near_group: Likewise, missing for an image that is like no other.
        thumbnails: uint8 ``[images, 16, 16]``, of the images as they are stored.
        workers: Threads that decode, at least 1.
    """
    rows = _candidates(measurements, near_group, thumbnails)
    if not len(rows):
        return measurements
    sizes = measurements[["width_px", "height_px"]].iloc[rows].to_numpy()
    threads = 1 if any(is_large((int(width), int(height))) for width, height in sizes) else workers
    whole = whole_pixels(archive, catalog.iloc[rows].reset_index(drop=True), threads)
    print(
        f"audit: {len(rows):,} images were read again at full size, to compare them with copies in other formats",
        flush=True,
    )
    reduced = measurements["pixels"].to_numpy()
    pixels = reduced.copy()
    for row, digest in zip(rows, whole, strict=True):
        if digest:  # all images whose reduced pixels are the same go together
            pixels[reduced == reduced[row]] = digest
    return measurements.assign(pixels=pixels)


def _candidates(measurements: pd.DataFrame, near_group: pd.Series, thumbnails: Pixels) -> npt.NDArray[np.int64]:
    """Return rows of images that may have the pixels of another, one for each digest of reduced pixels."""
    sides = measurements[["width_px", "height_px"]]
    frame = pd.DataFrame(
        {
            "group": near_group,
            "short": sides.min(axis=1),
            "long": sides.max(axis=1),
            "jpeg": measurements["format"] == "JPEG",
            "turned": measurements["exif_rotated"],
            "pixels": measurements["pixels"],
            "row": np.arange(len(measurements)),
        }
    )
    frame = frame[near_group.notna()].drop_duplicates(["group", "pixels"])
    chosen: set[int] = set()
    for _, members in frame.groupby(["group", "short", "long"]):
        jpeg = members["jpeg"].to_numpy()
        rows, turned = members["row"].to_numpy(), members["turned"].to_numpy()
        for row, is_turned in zip(rows[jpeg], turned[jpeg], strict=True):
            difference = np.abs(thumbnails[rows[~jpeg]].astype(np.int16) - thumbnails[row]).max(axis=(1, 2), initial=0)
            # Thumbnails show images as they are stored: where one says that it is to be turned, they say nothing.
            alike = rows[~jpeg][(difference <= MOST_DIFFERENCE) | turned[~jpeg] | is_turned]
            if len(alike):
                chosen.update([int(row), *alike.tolist()])
    return np.array(sorted(chosen), dtype=np.int64)
