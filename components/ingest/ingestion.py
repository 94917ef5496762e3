"""From a source to an archive: look it up, sort its files into classes, and pack the images into tar parts."""

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components import storage
from components.failures import UserError
from components.formats.image_archive import SUMMARY_FILE, ArchiveWriter
from components.formats.recorded_labels import RecordedLabels, read_recorded_labels
from components.ingest.class_folders import ClassFolders, find_class_folders
from components.ingest.folder_reading import FolderContents
from components.ingest.limits import Limits
from components.ingest.source import Source, find_source, require_fingerprint
from components.ingest.zip_reading import ZipContents
from components.ordered_work import processors
from components.publishing import published_directory, require_publishable, write_json

_MEGABYTE = 1_000_000
_PROGRESS_SECONDS = 5.0
_LISTED_OBJECTS = 100
# Threads wait for the network and the disk more than they compute, but they share one interpreter.
_WORKERS_PER_PROCESSOR = 4
_MOST_WORKERS = 32


@dataclass(frozen=True)
class Ingested:
    """What an archive holds, for metrics."""

    images: int
    classes: int
    skipped_files: int
    megabytes: float
    tar_parts: int


def ingest_source(
    source_uri: str,
    expected_fingerprint: str,
    labels_file: str,
    part_size_mib: int,
    limits: Limits,
    workers: int,
    archive: Path,
) -> Ingested:
    """Bring a dataset into an archive; see ``components.formats.image_archive``.

    The same source gives the same bytes.

    Args:
        source_uri: A ZIP file or a folder of class folders, ``gs://`` or local.
        expected_fingerprint: What ``fingerprint_source`` returned earlier; empty takes the source as it is.
        labels_file: Name of an optional CSV file inside the source; empty for none.
        part_size_mib: A tar part is closed once it is this large, at least 1.
        limits: What is too much.
        workers: Threads that download and unpack; 0 for four per processor, at most 32.
        archive: The folder to publish.

    Raises:
        UserError: When the source is missing, unsafe, not of class folders, or not as expected, or ``archive`` cannot
            be written.
        TransientError: When Cloud Storage does not answer or a disk is full.
    """
    require_publishable(folders=[archive], files=[])
    check_settings(part_size_mib, workers)
    workers = workers or min(_WORKERS_PER_PROCESSOR * processors(), _MOST_WORKERS)
    source = find_source(source_uri)
    megabytes = sum(file.size_bytes for file in source.files) / _MEGABYTE
    _say(f"{source.uri}: {'ZIP file' if source.zipped else f'files {len(source.files):,}'}, {megabytes:,.1f} MB")
    fingerprint = require_fingerprint(source, expected_fingerprint)

    with _opened(source, limits, workers) as contents:
        folders = find_class_folders(source.uri, list(contents.sizes), labels_file)
        recorded = _recorded_labels(contents, folders)
        _say(_what_was_found(folders, recorded))
        with published_directory(archive) as directory:
            with ArchiveWriter(directory, part_size_mib * 2**20) as writer:
                _pack(contents, folders, recorded, writer, workers)
                catalog = writer.close()
            parts = len(list(directory.glob("part-*.tar")))
            image_bytes = int(catalog["size_bytes"].sum())
            summary = {
                "source": source.uri,
                "kind": "zip" if source.zipped else "folder",
                "fingerprint": fingerprint,
                "objects": [
                    {"uri": file.uri, "generation": file.generation, "size_bytes": file.size_bytes}
                    for file in source.files[:_LISTED_OBJECTS]
                ],
                "objects_total": len(source.files),
                "wrapping_folder": folders.wrapping_folder,
                "images": len(catalog),
                "image_bytes": image_bytes,
                "images_per_class": folders.images_per_class(),
                "skipped_per_reason": _skipped_per_reason(folders),
                "labels_file": folders.labels_member or "",
                "recorded_labels": len(recorded.labels),
                "recorded_labels_without_image": recorded.unmatched,
                "tar_parts": parts,
            }
            write_json(directory / SUMMARY_FILE, summary)
    return Ingested(
        images=len(catalog),
        classes=len(folders.images_per_class()),
        skipped_files=len(folders.skipped),
        megabytes=round(image_bytes / _MEGABYTE, 3),
        tar_parts=parts,
    )


def check_settings(part_size_mib: int, workers: int) -> None:
    """Check settings before any work is done.

    Raises:
        UserError: When a setting is out of range.
    """
    if part_size_mib < 1:
        raise UserError(f"part_size_mib is {part_size_mib}; it must be at least 1")
    if workers < 0:
        raise UserError(f"workers is {workers}; it must be at least 0, which means four per processor")


@contextlib.contextmanager
def _opened(source: Source, limits: Limits, workers: int) -> Iterator[ZipContents | FolderContents]:
    if not source.zipped:
        yield FolderContents(source, limits)
        return
    with tempfile.TemporaryDirectory(prefix="ingest-") as directory:
        [path] = storage.download(source.files, Path(directory), workers=workers)
        with contextlib.closing(ZipContents(path, source.files[0], limits)) as contents:
            yield contents


def _recorded_labels(contents: ZipContents | FolderContents, folders: ClassFolders) -> RecordedLabels:
    if folders.labels_member is None:
        return RecordedLabels({}, 0)
    [data] = contents.read_all([folders.labels_member], 1)
    paths = [image.path for image in folders.images]
    return read_recorded_labels(data, folders.labels_member, paths, folders.wrapping_folder)


def _pack(
    contents: ZipContents | FolderContents,
    folders: ClassFolders,
    recorded: RecordedLabels,
    writer: ArchiveWriter,
    workers: int,
) -> None:
    started = said = time.monotonic()
    total = len(folders.images)
    members = [image.member for image in folders.images]
    with contextlib.closing(contents.read_all(members, workers)) as images:
        for packed, (image, data) in enumerate(zip(folders.images, images, strict=True)):
            if packed and time.monotonic() - said > _PROGRESS_SECONDS:
                said = time.monotonic()
                _say_packed(packed, total, said - started)
            origin = contents.origin(image.member)
            writer.add(
                image.path,
                image.label,
                data,
                source_uri=origin.uri,
                source_generation=origin.generation,
                recorded_label=recorded.labels.get(image.path),
            )
    _say_packed(total, total, time.monotonic() - started)
    for path, reason in folders.skipped:
        writer.skip(path, reason)


def _what_was_found(folders: ClassFolders, recorded: RecordedLabels) -> str:
    classes = folders.images_per_class()
    names = ", ".join(f"{name} {count:,}" for name, count in list(classes.items())[:10])
    more = ", ..." if len(classes) > 10 else ""
    lines = [f"{len(folders.images):,} images in {len(classes):,} classes: {names}{more}"]
    if folders.skipped:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in _skipped_per_reason(folders).items())
        lines.append(f"skipped: {reasons}")
    if folders.labels_member:
        lines.append(f"{folders.labels_member}: {len(recorded.labels):,} labels, {recorded.unmatched:,} without image")
    return "; ".join(lines)


def _skipped_per_reason(folders: ClassFolders) -> dict[str, int]:
    return dict(sorted(Counter(reason for _, reason in folders.skipped).items()))


def _say_packed(packed: int, total: int, seconds: float) -> None:
    _say(f"packed {packed:,} of {total:,} images ({packed / max(seconds, 1e-3):,.0f} images/s)")


def _say(line: str) -> None:
    print(f"ingest: {line}", flush=True)
