"""Split a cleaned archive: assign its images, prepare them, and write shards with the evidence of a clean split."""

import hashlib
import itertools
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from components.copies.fingerprints import Sketch
from components.copies.likeness import CopyRules
from components.failures import UserError
from components.formats.decisions import read_decisions
from components.formats.image_archive import ArchiveReader
from components.formats.original_images import write_originals
from components.formats.source_record import SourceRecord, read_source_record
from components.formats.splits import ASSIGNMENTS_FILE, SPLIT_NAMES, Shard, Split, Splits, write_splits
from components.formats.tfrecords import serialize_example
from components.image_progress import ImageProgress
from components.ordered_work import in_order, processors
from components.publishing import published_directory, require_publishable
from components.split.cross_split_pairs import CrossSplitPairs, FingerprintCollector, cross_split_pairs
from components.split.image_preparation import Preparation, UndecodableImageError, prepare_image, small_picture
from components.split.original_choice import choose_originals
from components.split.shards import write_shards
from components.split.split_assignment import assign_splits, certificate
from components.split.split_report import MOST_COPIES_SHOWN, judge, judge_fractions, write_report
from components.split.split_settings import SplitSettings, check_settings

_IMAGES_AT_A_TIME = 8
_PICTURE_SIDE_PX = 220
_RECORD_COLUMNS = ["path", "label", "part", "offset", "size_bytes", "crc32", "md5"]


def split_archive(
    archive: Path, decisions: Path, output: Path, report: Path, settings: SplitSettings
) -> dict[str, int]:
    """Write ``components.formats.splits`` of the images that the cleaning kept, and a page about them.

    Args:
        archive: Folder of the archive.
        decisions: Folder of the cleaning's decisions about this archive.
        output: Folder to write.
        report: HTML file to write.
        settings: How to split.

    Returns:
        Counts: ``images``, ``train_images``, ``validation_images``, ``test_images``, ``classes``, ``shards``,
        ``groups_of_copies``, ``groups_of_pattern``, ``groups_across_splits`` and ``copies_across_splits``.

    Raises:
        UserError: When a setting is out of range, a class is too small, the decisions are of another archive, an image
            cannot be decoded, what the archive says of its source is damaged, or an output cannot be written.
    """
    require_publishable(folders=[output], files=[report])
    check_settings(settings)
    source = _source_of(archive)
    decided = read_decisions(decisions)
    images = decided[decided["keep"]].reset_index(drop=True)
    assignments = assign_splits(images, settings.fractions, settings.seed, settings.group_pattern)
    grouped = certificate(assignments, images)
    if grouped["groups_across_splits"]:
        raise RuntimeError(f"the assignment lets {grouped['groups_across_splits']} groups cross splits")

    class_names = sorted(images["label"].unique())
    table = images[_RECORD_COLUMNS].assign(split=assignments["split"])
    del decided, images
    with published_directory(output) as folder, _open_archive(archive, table) as reader, warnings.catch_warnings():
        # What Pillow says about odd metadata is the audit's business, and would hide the progress here.
        warnings.simplefilter("ignore")
        table = pd.concat(shuffled(table[table["split"] == name], settings.seed) for name in SPLIT_NAMES)
        shards, pairs = _write_records(table, reader, class_names, settings, folder)
        assignments.to_parquet(folder / ASSIGNMENTS_FILE, index=False)
        write_originals(choose_originals(table[table["split"] == "test"], reader.read), folder)
        paths = table["path"].tolist()
        splits = Splits(
            class_names=class_names,
            image_size_px=settings.image_size_px,
            resize_policy=settings.resize_policy,
            seed=settings.seed,
            fractions={name: float(settings.fractions[name]) for name in SPLIT_NAMES},
            splits={name: _split(table[table["split"] == name], shards[name]) for name in SPLIT_NAMES},
            dataset_digest=dataset_digest(table),
            certificate=grouped | pairs.as_certificate(paths),
            source=source,
        )
        write_splits(splits, folder)
        write_report(
            splits,
            pairs.described_copies(paths, table["split"].tolist(), MOST_COPIES_SHOWN),
            {
                name: sum((folder / shard.file).stat().st_size for shard in split.shards)
                for name, split in splits.splits.items()
            },
            _pictures(table, reader),
            report,
        )
    for sentence in filter(None, (judge(splits.certificate).sentence, judge_fractions(splits))):
        print(f"split: {sentence}", flush=True)
    return {
        "images": len(table),
        **{f"{name}_images": splits.splits[name].images for name in SPLIT_NAMES},
        "classes": len(class_names),
        "shards": sum(len(split.shards) for split in splits.splits.values()),
        "groups_of_copies": grouped["groups"],
        "groups_of_pattern": grouped["pattern_groups"],
        "groups_across_splits": grouped["groups_across_splits"],
        "copies_across_splits": len(pairs.copies),
    }


def _write_records(
    table: pd.DataFrame, reader: ArchiveReader, class_names: list[str], settings: SplitSettings, folder: Path
) -> tuple[dict[str, list[Shard]], CrossSplitPairs]:
    """Decode each image once, for its record and for its fingerprint, and compare the splits.

    Args:
        table: ``_RECORD_COLUMNS`` and ``split``, in the order to write, split by split.
        reader: Of the archive.
        class_names: In label order.
        settings: How to prepare.
        folder: Where the shards go.
    """
    collector, progress = FingerprintCollector(len(table)), ImageProgress("split", len(table))
    shards: dict[str, list[Shard]] = {}
    for name in SPLIT_NAMES:
        prepared = _prepared(table[table["split"] == name], reader, class_names, settings)
        records = progress.count(collector.collect(prepared))
        shards[name] = write_shards(records, folder, name, settings.shard_size_mib * 2**20)
    rules = CopyRules(
        maximum_distance=settings.near_duplicate_distance,
        minimum_correlation=settings.near_duplicate_correlation,
        maximum_difference=settings.near_duplicate_difference,
        crops=False,
    )
    codes = table["split"].map({name: code for code, name in enumerate(SPLIT_NAMES)}).to_numpy().astype(np.int64)
    return shards, cross_split_pairs(collector.fingerprints, collector.aspects, codes, rules)


def _pictures(table: pd.DataFrame, reader: ArchiveReader) -> Callable[[str], bytes]:
    """Return what reads the image with a path from the archive and shrinks it, to be shown."""

    def picture(path: str) -> bytes:
        row = table[table["path"] == path].iloc[0]
        return small_picture(reader.read(row["part"], int(row["offset"]), int(row["size_bytes"])), _PICTURE_SIDE_PX)

    return picture


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


def _source_of(archive: Path) -> SourceRecord | None:
    try:
        return read_source_record(archive)
    except ValueError as error:
        raise UserError(f"the archive does not say where it came from ({error}): run the ingest step again") from error


def _open_archive(archive: Path, images: pd.DataFrame) -> ArchiveReader:
    missing = [part for part in sorted(images["part"].unique()) if not (archive / part).is_file()]
    if missing:
        raise UserError(f"the archive has no {missing[0]}: split the archive that the decisions were made about")
    return ArchiveReader(archive)


def _prepared(
    images: pd.DataFrame, reader: ArchiveReader, class_names: list[str], settings: SplitSettings
) -> Iterator[tuple[bytes, Sketch, float]]:
    cv2.setNumThreads(1)  # the threads here already keep every processor busy
    preparation = Preparation(settings.image_size_px, settings.resize_policy)
    labels = {name: label for label, name in enumerate(class_names)}

    def record(row: tuple[str, str, str, int, int, int, str]) -> tuple[bytes, Sketch, float]:
        path, class_name, part, offset, size_bytes, crc32, md5 = row
        data = reader.read(part, offset, size_bytes)
        if zlib.crc32(data) != crc32:
            raise UserError(f"the archive holds other bytes for {path!r}: split the archive the decisions are about")
        try:
            image = prepare_image(data, preparation)
        except UndecodableImageError as error:
            raise UserError(
                f"image {path!r} cannot be decoded though the audit could ({error}): name it in clean's deny_list"
            ) from error
        return serialize_example(image.jpeg, labels[class_name], class_name, path, md5), image.sketch, image.aspect

    rows = images[_RECORD_COLUMNS].itertuples(index=False, name=None)
    # Several at a time: threads that hand over every one wait for each other more often.
    batches = iter(lambda: list(itertools.islice(rows, _IMAGES_AT_A_TIME)), [])
    prepared = in_order(lambda batch: [record(row) for row in batch], batches, settings.workers or processors())
    return itertools.chain.from_iterable(prepared)


def _split(images: pd.DataFrame, shards: list[Shard]) -> Split:
    counts = images["label"].value_counts().sort_index()
    return Split(
        images=len(images),
        images_per_class={str(label): int(count) for label, count in counts.items()},
        shards=shards,
    )
