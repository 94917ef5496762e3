"""Split a cleaned archive: assign its images, prepare them, and write shards with the evidence of a clean split."""

import hashlib
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from components.failures import UserError
from components.formats.decisions import read_decisions
from components.formats.image_archive import ArchiveReader
from components.formats.splits import ASSIGNMENTS_FILE, SPLIT_NAMES, Shard, Split, Splits, write_splits
from components.formats.tfrecords import serialize_example
from components.ordered_work import in_order, processors
from components.publishing import published_directory
from components.split.image_preparation import Preparation, UndecodableImageError, prepare_image
from components.split.shards import write_shards
from components.split.split_assignment import assign_splits, certificate
from components.split.split_settings import SplitSettings, check_settings

_SECONDS_BETWEEN_LINES = 5


def split_archive(archive: Path, decisions: Path, output: Path, settings: SplitSettings) -> dict[str, int]:
    """Write ``components.formats.splits`` of the images that the cleaning kept.

    Args:
        archive: Folder of the archive.
        decisions: Folder of the cleaning's decisions about this archive.
        output: Folder to write.
        settings: How to split.

    Returns:
        Counts: ``images``, ``train_images``, ``validation_images``, ``test_images``, ``classes``, ``shards``,
        ``groups_of_copies``, ``groups_of_pattern`` and ``groups_across_splits``.

    Raises:
        UserError: When a setting is out of range, a class is too small, the decisions are of another archive, or an
            image cannot be decoded.
    """
    check_settings(settings)
    decided = read_decisions(decisions)
    images = decided[decided["keep"]].reset_index(drop=True)
    assignments = assign_splits(images, settings.fractions, settings.seed, settings.group_pattern)
    evidence = certificate(assignments, images)
    if evidence["groups_across_splits"]:
        raise RuntimeError(f"the assignment lets {evidence['groups_across_splits']} groups cross splits")

    class_names = sorted(images["label"].unique())
    table = images[["path", "label", "part", "offset", "size_bytes", "md5"]].assign(split=assignments["split"])
    with published_directory(output) as folder, _open_archive(archive, table) as reader, warnings.catch_warnings():
        # What Pillow says about odd metadata is the audit's business, and would hide the progress here.
        warnings.simplefilter("ignore")
        progress = _Progress(len(table))
        splits: dict[str, Split] = {}
        for name in SPLIT_NAMES:
            of_split = shuffled(table[table["split"] == name], settings.seed)
            records = progress.count(_records(of_split, reader, class_names, settings))
            shards = write_shards(records, folder, name, settings.shard_size_mib * 2**20)
            splits[name] = _split(of_split, shards)
        assignments.to_parquet(folder / ASSIGNMENTS_FILE, index=False)
        write_splits(
            Splits(
                class_names=class_names,
                image_size_px=settings.image_size_px,
                resize_policy=settings.resize_policy,
                seed=settings.seed,
                fractions={name: float(settings.fractions[name]) for name in SPLIT_NAMES},
                splits=splits,
                dataset_digest=dataset_digest(table),
                certificate=evidence,
            ),
            folder,
        )
    return {
        "images": len(table),
        **{f"{name}_images": splits[name].images for name in SPLIT_NAMES},
        "classes": len(class_names),
        "shards": sum(len(split.shards) for split in splits.values()),
        "groups_of_copies": evidence["groups"],
        "groups_of_pattern": evidence["pattern_groups"],
        "groups_across_splits": evidence["groups_across_splits"],
    }


def shuffled(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return images in an order that mixes classes and depends on the seed and their paths alone."""
    keys = [hashlib.sha256(f"{seed}/order/{path}".encode()).digest() for path in images["path"]]
    return images.iloc[pd.Series(keys).argsort(kind="stable")]


def dataset_digest(images: pd.DataFrame) -> str:
    """Return SHA-256 over path, label, digest of the bytes and split of every image, by path: the data's identity."""
    digest = hashlib.sha256()
    ordered = images.sort_values("path")[["path", "label", "md5", "split"]]
    for row in ordered.itertuples(index=False):
        digest.update("\0".join(row).encode() + b"\n")
    return digest.hexdigest()


def _open_archive(archive: Path, images: pd.DataFrame) -> ArchiveReader:
    missing = [part for part in sorted(images["part"].unique()) if not (archive / part).is_file()]
    if missing:
        raise UserError(f"the archive has no {missing[0]}: split the archive that the decisions were made about")
    return ArchiveReader(archive)


def _records(
    images: pd.DataFrame, reader: ArchiveReader, class_names: list[str], settings: SplitSettings
) -> Iterator[bytes]:
    preparation = Preparation(settings.image_size_px, settings.resize_policy)
    labels = {name: label for label, name in enumerate(class_names)}

    def record(row: tuple[str, str, str, int, int, str]) -> bytes:
        path, class_name, part, offset, size_bytes, md5 = row
        data = reader.read(part, offset, size_bytes)
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
            raise UserError(f"the archive holds other bytes for {path!r}: split the archive the decisions are about")
        try:
            image = prepare_image(data, preparation)
        except UndecodableImageError as error:
            raise UserError(
                f"image {path!r} cannot be decoded though the audit could ({error}): name it in clean's deny_list"
            ) from error
        return serialize_example(image, labels[class_name], class_name, path, md5)

    rows = images[["path", "label", "part", "offset", "size_bytes", "md5"]].itertuples(index=False, name=None)
    return in_order(record, rows, settings.workers or processors())


def _split(images: pd.DataFrame, shards: list[Shard]) -> Split:
    counts = images["label"].value_counts().sort_index()
    return Split(
        images=len(images),
        images_per_class={str(label): int(count) for label, count in counts.items()},
        shards=shards,
    )


class _Progress:
    """Say how many images are done, and how fast, every few seconds and at the end."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._done = 0
        self._started = self._said = time.monotonic()

    def count(self, records: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the records as they are."""
        for record in records:
            yield record
            self._done += 1
            now = time.monotonic()
            if self._done == self._images or now - self._said >= _SECONDS_BETWEEN_LINES:
                self._said = now
                rate = self._done / max(now - self._started, 1e-9)
                print(f"split: {self._done} of {self._images} images, {rate:.0f} images/s", flush=True)
