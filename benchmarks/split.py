"""Split beside the usual loop of ``tf.image``, and the assignment of catalogs of growing size.

    python -m benchmarks.split                    images: ours and the loop on the same photos, by turns
    python -m benchmarks.split --assign 1000000   rows: the assignment alone, on synthetic catalogs up to that size

The loop is what tutorials show: read a file, ``tf.image.decode_image``, ``tf.image.resize``, ``tf.io.encode_jpeg``,
``TFRecordWriter``; one image after the other, no antialiasing, no checks. Ours reads the archive and the decisions,
assigns the splits, verifies each image's checksum, applies orientation and colour modes, resizes with antialiasing,
encodes at the same quality (95, full colour), takes a perceptual hash, compares the splits, and writes checksums and a
report.

Each way runs in a process of its own, by turns; a first run of each, with its imports, does not count. CPU time is that
of all threads of the process.

Photos are parts of the samples, enlarged to the size asked for with a little noise, as JPEG: real pictures have fine
detail.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd
from PIL import Image

from components.formats.decisions import DECISION_COLUMNS, write_decisions
from components.formats.image_archive import ArchiveWriter
from components.ordered_work import processors
from components.split.split_assignment import assign_splits
from components.split.split_settings import SplitSettings

PHOTOS = Path(__file__).resolve().parent.parent / "samples" / "photos"
FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
SIZE_PX = 256


def drawn_photos(count: int, megapixels: float) -> dict[str, bytes]:
    """Return so many different JPEGs of about that size by path, cut from the sample photos."""
    sources = sorted(PHOTOS.glob("*/*.jpg"))
    photos = {}
    for number in range(count):
        source, generator = sources[number % len(sources)], np.random.default_rng(number)
        with Image.open(source) as photo:
            ratio = photo.width / photo.height
            size = (round((megapixels * 1e6 * ratio) ** 0.5), round((megapixels * 1e6 / ratio) ** 0.5))
            left, top = generator.uniform(0, 0.2, 2) * photo.size
            box = (left, top, left + 0.8 * photo.width, top + 0.8 * photo.height)
            enlarged = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC, box)
        noisy = np.asarray(enlarged) + generator.normal(0, 4, (size[1], size[0], 1))
        encoded = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=88)
        photos[f"{source.parent.name}/{source.stem}/{number:06d}.jpg"] = encoded.getvalue()
    return photos


def write_inputs(directory: Path, photos: dict[str, bytes]) -> None:
    """Write the photos as an archive with decisions that keep all, for ours, and as files, for the loop."""
    (directory / "archive").mkdir()
    (directory / "decisions").mkdir()
    with ArchiveWriter(directory / "archive", 256 * 2**20) as writer:
        for path, data in photos.items():
            writer.add(path, path.split("/")[0], data, source_uri=path)
            file = directory / "files" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        catalog = writer.close()
    # Parts of one photo are copies, which the audit would have tied together.
    photo = catalog["path"].str.rsplit("/", n=1).str[0]
    decided = catalog.assign(keep=True, reasons="", kept_twin=None, duplicate_group=photo)
    write_decisions(decided.astype(dict(DECISION_COLUMNS)), directory / "decisions")


def split_ours(directory: Path, workers: int) -> None:
    """Run the whole step but its kfp shell."""
    from components.split.dataset_split import split_archive  # noqa: PLC0415

    settings = SplitSettings(
        fractions=FRACTIONS,
        image_size_px=SIZE_PX,
        resize_policy="stretch",
        group_pattern="",
        near_duplicate_distance=10,
        near_duplicate_correlation=0.85,
        near_duplicate_difference=0.8,
        shard_size_mib=128,
        workers=workers,
        seed=1,
    )
    report = directory / "report.html"
    split_archive(directory / "archive", directory / "decisions", directory / "splits", report, settings)


def split_by_loop(directory: Path) -> None:
    """Do what tutorials do."""
    import tensorflow as tf  # noqa: PLC0415

    files = sorted((directory / "files").rglob("*.jpg"))
    random.Random(1).shuffle(files)  # noqa: S311 - not about secrets
    labels = {name: label for label, name in enumerate(sorted({file.parts[-3] for file in files}))}
    cuts = [round(0.8 * len(files)), round(0.9 * len(files))]
    for name, part in zip(FRACTIONS, (files[: cuts[0]], files[cuts[0] : cuts[1]], files[cuts[1] :]), strict=True):
        with tf.io.TFRecordWriter(str(directory / f"{name}.tfrecord")) as writer:
            for file in part:
                image = tf.image.decode_image(tf.io.read_file(str(file)), channels=3, expand_animations=False)
                resized = tf.cast(tf.image.resize(image, (SIZE_PX, SIZE_PX)), tf.uint8)
                encoded = tf.io.encode_jpeg(resized, quality=95, chroma_downsampling=False).numpy()
                features = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[labels[file.parts[-3]]])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())


def by_turns(ways: Mapping[str, Callable[[], None]], runs: int) -> dict[str, list[tuple[float, float, int]]]:
    """Return the wall seconds, the CPU seconds and the peak memory in MB so far of each run of each way."""
    spawned = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        processes = {name: stack.enter_context(ProcessPoolExecutor(1, mp_context=spawned)) for name in ways}
        taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in ways}
        for run in range(runs + 1):
            for name, work in ways.items():
                result = processes[name].submit(measured_quietly, work).result()
                if run > 0:
                    taken[name].append(result)
    return taken


def measured_quietly(work: Callable[[], object]) -> tuple[float, float, int]:
    """Return the wall and the CPU seconds that work takes, and this process's peak memory in MB."""
    with contextlib.redirect_stdout(io.StringIO()):
        wall, cpu = measured(work)
    return wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and the CPU seconds that work takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(images: int, megapixels: float, runs: int, workers: int) -> None:
    """Print images per second of both, by turns on the same photos, and their ratios."""
    with tempfile.TemporaryDirectory(prefix="benchmark-split-") as folder:
        directory = Path(folder)
        write_inputs(directory, drawn_photos(images, megapixels))
        ways = {"loop": partial(split_by_loop, directory), "ours": partial(split_ours, directory, workers)}
        taken = by_turns(ways, runs)
    print(f"{images} photos of {megapixels:g} MP to {SIZE_PX} px, {runs} runs by turns, {processors()} processors")
    print(f"{'':6} {'images/s':>9} {'median':>7}  {'CPU ms/image':>12} {'median':>7}  {'peak MB':>7}")
    for name, times in taken.items():
        wall, cpu = ([run[kind] for run in times] for kind in (0, 1))
        print(
            f"{name:6} {images / min(wall):9.0f} {images / statistics.median(wall):7.0f}  "
            f"{1e3 * min(cpu) / images:12.2f} {1e3 * statistics.median(cpu) / images:7.2f}  {times[-1][2]:7.0f}"
        )
    for kind, meaning in enumerate(("wall", "CPU")):
        least, middle = (
            pick(run[kind] for run in taken["loop"]) / pick(run[kind] for run in taken["ours"])
            for pick in (min, statistics.median)
        )
        print(f"loop / ours, {meaning}: {least:.2f} of the least, {middle:.2f} of the medians")


def synthetic_decisions(rows: int) -> pd.DataFrame:
    """Return what the assignment reads of so many images: up to 100 classes, a tenth in groups of four copies."""
    numbers = np.arange(rows)
    several = numbers < rows // 10
    labels = np.where(several, numbers // 4, numbers) % max(1, min(100, rows // 100))
    columns = {
        "path": [f"class{label:02d}/{number}.jpg" for number, label in enumerate(labels.tolist())],
        "label": [f"class{label:02d}" for label in labels.tolist()],
        "md5": [f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}" for number in range(rows)],
        "duplicate_group": [f"group{number // 4}" if grouped else None for number, grouped in enumerate(several)],
    }
    return pd.DataFrame(columns).astype("str")


def assign(most_rows: int) -> None:
    """Print rows per second of the assignment for catalogs of 1,000 rows, ten times as many, and so on."""
    print(f"{'rows':>10} {'wall s':>8} {'CPU s':>8} {'rows/CPU s':>11} {'peak MB so far':>15}")
    rows = 1000
    while rows <= most_rows:
        decisions = synthetic_decisions(rows)
        assign_splits(synthetic_decisions(1000), FRACTIONS, 1, "")  # pandas' first calls belong to nobody
        wall, cpu = measured(partial(assign_splits, decisions, FRACTIONS, 1, ""))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{rows:10,} {wall:8.2f} {cpu:8.2f} {rows / cpu:11,.0f} {peak_mb:15,.0f}", flush=True)
        rows *= 10


def main() -> int:
    """Run one of the two benchmarks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.split", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000, help="photos (default: %(default)s)")
    parser.add_argument("--megapixels", type=float, default=0.5, help="of each photo (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="of each way, by turns (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="threads of ours, 0: one per processor")
    parser.add_argument("--assign", type=int, metavar="ROWS", help="measure the assignment up to so many rows instead")
    options = parser.parse_args()
    if options.assign:
        assign(options.assign)
    else:
        compare(options.images, options.megapixels, options.runs, options.workers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
