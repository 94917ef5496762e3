"""Small real archives with decisions, for tests of the split."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from components.formats.decisions import DECISION_COLUMNS, write_decisions
from components.formats.image_archive import ArchiveWriter


def drawn_photo(number: int, width_px: int = 60, height_px: int = 40) -> bytes:
    """Return a JPEG that no other number gives."""
    noise = np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).resize((width_px, height_px)).save(encoded, "JPEG")
    return encoded.getvalue()


def encoded_image(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    """Return an image's file."""
    encoded = io.BytesIO()
    image.save(encoded, image_format, **options)
    return encoded.getvalue()


def write_archive(directory: Path, files: Mapping[str, bytes], part_size_bytes: int = 20_000) -> tuple[Path, Path]:
    """Write an archive of the files, by path, with decisions that keep all of them, and return both folders."""
    archive, decisions = directory / "archive", directory / "decisions"
    archive.mkdir(parents=True)
    writer = ArchiveWriter(archive, part_size_bytes)
    for path, data in files.items():
        writer.add(path, path.split("/")[0], data, source_uri=path)
    decide(decisions, writer.close(), dropped=[])
    return archive, decisions


def decide(decisions: Path, catalog: pd.DataFrame, dropped: list[str]) -> None:
    """Write decisions that drop the paths given."""
    decisions.mkdir(exist_ok=True)
    drop = catalog["path"].isin(dropped)
    groups = catalog["md5"].where(catalog["md5"].duplicated(keep=False))
    decided = catalog.assign(keep=~drop, reasons="", kept_twin=None, duplicate_group=groups)
    write_decisions(decided.astype(dict(DECISION_COLUMNS)), decisions)


def drawn_files(classes: Mapping[str, int]) -> dict[str, bytes]:
    """Return so many drawn photos of each class by path."""
    names = [(label, number) for label, images in classes.items() for number in range(images)]
    return {f"{label}/{number:03d}.jpg": drawn_photo(seed) for seed, (label, number) in enumerate(names)}
