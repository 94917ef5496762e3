"""Throw mutated images at the audit and mutated ZIP files at ingest: does any crash, hang or eat the memory?

    python -m benchmarks.hostile_files                      # 5,000 images, 500 ZIP files, a few minutes
    python -m benchmarks.hostile_files --images 500 --zips 50 --seed 7

Mutations are seeded and start from real files of every format: flipped bits, cut and spliced files, overwritten,
repeated and removed stretches, edited headers and length fields (checksums repaired, or they would stop the rest),
absurd dimensions. Each image is measured and drawn as a thumbnail, each ZIP ingested, in a process of its own kind that
is watched: a crash, more than 10 seconds of processor time (30 in all) or more than 1 GB is a failure, and so is any
end but a row or a clear error. The images go through a whole audit too. Failing files are left in --keep. The exit code
is 1 after a failure.
"""

import argparse
import contextlib
import functools
import io
import multiprocessing
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.audit_quality import audit_archive_with_defaults
from benchmarks.peak_memory import MOST_BYTES, peak_bytes
from benchmarks.picture_sources import drawings
from benchmarks.rendering import AVIF, STORED_ODDLY, saved
from components.audit.decoding import decode_what_is_there
from components.audit.measurements import analyze
from components.failures import UserError
from components.formats.findings import read_findings, read_measurements
from components.formats.image_archive import ArchiveWriter, read_catalog
from components.ingest.ingestion import ingest_source
from components.ingest.limits import Limits

LONGEST_SECONDS = 10.0
THUMBNAIL_PX = 160

_ZIP_LIMITS = Limits(max_files=1000, max_file_mib=64, max_total_gib=1, max_compression_ratio=200)

Mutation = Callable[[bytearray, np.random.Generator], None]


@functools.cache
def real_images(seed: int) -> tuple[tuple[str, bytes], ...]:
    """Return drawn pictures in every format, kind and mode that is read, as (extension, bytes)."""
    generator = np.random.default_rng(seed)
    pictures = drawings(generator)

    def picture(side_px: int) -> Image.Image:
        image = next(pictures)
        image.thumbnail((side_px, side_px))
        return image

    files = [(variant.extension, variant.encode(picture(120), 3)) for variant in STORED_ODDLY]
    for quality, progressive, subsampling in ((60, False, 2), (85, True, 0), (95, False, 1), (75, True, 2)):
        options = {"quality": quality, "progressive": progressive, "subsampling": subsampling}
        files.append((".jpg", saved(picture(400), "JPEG", **options)))
        files.append((".jpg", saved(picture(90), "JPEG", restart_marker_blocks=4, **options)))
    odd: tuple[tuple[str, str, dict[str, Any]], ...] = (
        (".png", "PNG", {}),
        (".gif", "GIF", {}),
        (".bmp", "BMP", {}),
        (".webp", "WEBP", {}),
        (".webp", "WEBP", {"lossless": True}),
        (".tif", "TIFF", {}),
        (".tif", "TIFF", {"compression": "tiff_lzw"}),
        (".tif", "TIFF", {"compression": "tiff_deflate"}),
        (".tif", "TIFF", {"compression": "jpeg"}),
        (".tif", "TIFF", {"compression": "packbits"}),
        *([(".avif", "AVIF", {}), (".avif", "AVIF", {"quality": 100, "subsampling": "4:4:4"})] if AVIF else []),
    )
    files += [(extension, saved(picture(150), image_format, **options)) for extension, image_format, options in odd]
    return tuple(files)


def mutated_images(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield a name that says how, and the bytes, of each mutated image."""
    originals = real_images(seed)
    generator = np.random.default_rng(seed)
    for number in range(count):
        extension, original = originals[number % len(originals)]
        other = originals[generator.integers(len(originals))][1]
        how, data = mutated(original, other, generator, _IMAGE_MUTATIONS)
        yield f"{number:05d}-{how}{extension}", data


def mutated_zips(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield a name that says how, and the bytes, of each mutated ZIP file."""
    originals = real_zips(seed)
    generator = np.random.default_rng(seed)
    for number in range(count):
        other = originals[generator.integers(len(originals))]
        how, data = mutated(originals[number % len(originals)], other, generator, _ZIP_MUTATIONS)
        yield f"{number:05d}-{how}.zip", data


def real_zips(seed: int) -> list[bytes]:
    """Return ZIP files of class folders as different programs make them."""
    images = real_images(seed)[:12]
    members = {f"{('owl', 'cod')[number % 2]}/{number}{kind}": data for number, (kind, data) in enumerate(images)}
    members["labels.csv"] = b"path,label\nowl/0.jpg,owl\n"
    nested = io.BytesIO()
    with zipfile.ZipFile(nested, "w") as archive:
        archive.writestr("owl/1.jpg", images[0][1])
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for prefix in ("", "Animals/"):
            target = io.BytesIO()
            with zipfile.ZipFile(target, "w", method) as archive:
                for name, data in members.items():
                    archive.writestr(prefix + name, data)
            made.append(target.getvalue())
    streamed = _Unseekable()
    with zipfile.ZipFile(streamed, "w", zipfile.ZIP_DEFLATED) as archive:  # sizes come after the content
        for name, data in {**members, "owl/eule-ä.jpg": images[1][1], "cod/inner.jpg": nested.getvalue()}.items():
            archive.writestr(name, data)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:  # 64-bit sizes in extra fields
        archive.comment = b"made by hand"
        for name, data in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    return [*made, streamed.getvalue(), target.getvalue()]


class _Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation


def mutated(
    original: bytes, other: bytes, generator: np.random.Generator, mutations: dict[str, Mutation]
) -> tuple[str, bytes]:
    """Return how a file was mutated, and its bytes: one to three mutations, or a splice with another file."""
    if generator.random() < 0.08:
        first, second = (int(generator.integers(1, len(data))) for data in (original, other))
        return "splice", original[:first] + other[second:]
    data = bytearray(original)
    names = generator.choice(list(mutations), generator.choice([1, 1, 2, 3]))
    for name in names:
        if len(data) > 8:
            mutations[str(name)](data, generator)
    return "-".join(names), bytes(data)


def _place(data: bytearray, generator: np.random.Generator) -> int:
    """Return a place in a file, half the time within its first 256 bytes, where headers are."""
    reach = min(256, len(data)) if generator.random() < 0.5 else len(data)
    return int(generator.integers(reach))


def _flip_bits(data: bytearray, generator: np.random.Generator) -> None:
    for _ in range(generator.integers(1, 20)):
        data[_place(data, generator)] ^= 1 << int(generator.integers(8))


def _cut(data: bytearray, generator: np.random.Generator) -> None:
    del data[int(generator.integers(1, len(data))) :]


def _overwrite(data: bytearray, generator: np.random.Generator) -> None:
    start = _place(data, generator)
    length = min(int(generator.integers(1, 300)), len(data) - start)
    byte = generator.choice([0, 255, 256])
    noise = generator.integers(0, 256, length, dtype=np.uint8).tobytes() if byte == 256 else bytes([byte]) * length
    data[start : start + length] = noise


def _repeat(data: bytearray, generator: np.random.Generator) -> None:
    start = _place(data, generator)
    stretch = data[start : start + int(generator.integers(2, 4000))]
    at = _place(data, generator)
    data[at:at] = stretch * int(generator.choice([1, 2, 50]))


def _remove(data: bytearray, generator: np.random.Generator) -> None:
    start = _place(data, generator)
    del data[start : start + int(generator.integers(1, 400))]


def _nest(data: bytearray, generator: np.random.Generator) -> None:
    at = int(generator.integers(len(data)))
    data[at:at] = bytes(data)


def _edit_length(data: bytearray, generator: np.random.Generator) -> None:
    """Write an extreme number of 2 or 4 bytes, in either byte order."""
    at, kind = _place(data, generator), str(generator.choice(["<H", ">H", "<I", ">I"]))
    size = struct.calcsize(kind)
    largest = 256**size - 1
    value = int(generator.choice([0, 1, largest, largest // 2, largest // 2 + 1, len(data) % largest, 65_500]))
    if at + size <= len(data):
        struct.pack_into(kind, data, at, min(value, largest))


def _edit_chunk(data: bytearray, generator: np.random.Generator) -> None:
    """Edit or repeat the content of a chunk of a PNG and repair its checksum; of other formats, flip bits."""
    if not data.startswith(b"\x89PNG"):
        _flip_bits(data, generator)
        return
    chunks = list(_png_chunks(data))
    if not chunks:
        return
    start, length = chunks[generator.integers(len(chunks))]
    for _ in range(generator.integers(1, 4)):
        if length:
            data[start + 8 + int(generator.integers(length))] = int(generator.integers(256))
    checksum = zlib.crc32(data[start + 4 : start + 8 + length])
    data[start + 8 + length : start + 12 + length] = struct.pack(">I", checksum)
    if generator.random() < 0.3:
        chunk = data[start : start + 12 + length]
        data[start:start] = chunk * int(generator.choice([1, 3, 200]))


def _png_chunks(data: bytearray) -> Iterator[tuple[int, int]]:
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            return
        yield at, length
        at += 12 + length


def _grow(data: bytearray, generator: np.random.Generator) -> None:
    """Declare large dimensions, most of them below any limit on pixels, where the format has them."""
    width, height = (
        (9_000, 9_000), (65_500, 1_300), (1, 65_535), (30_000, 2_900), (65_500, 65_500), (4_000, 4_000), (0, 7)
    )[generator.integers(7)]  # fmt: skip
    with contextlib.suppress(struct.error, ValueError, StopIteration):
        if data.startswith(b"\x89PNG"):
            struct.pack_into(">II", data, 16, width, height)
            struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
        elif data.startswith(b"\xff\xd8"):
            marker = next(at for kind in (b"\xff\xc0", b"\xff\xc2") if (at := data.find(kind)) >= 0)
            struct.pack_into(">HH", data, marker + 5, height, width)
        elif data.startswith(b"GIF"):
            struct.pack_into("<HH", data, 6, width, height)
            struct.pack_into("<HH", data, data.index(b",", 13) + 5, width, height)
        elif data.startswith(b"BM"):
            struct.pack_into("<ii", data, 18, width, height)
        elif data.startswith(b"RIFF") and data[12:16] == b"VP8X":
            data[24:30] = struct.pack("<I", width)[:3] + struct.pack("<I", height)[:3]
        elif data.startswith(b"RIFF"):
            struct.pack_into("<HH", data, 26, width & 0x3FFF, height & 0x3FFF)
        elif data[4:8] == b"ftyp":
            struct.pack_into(">II", data, data.index(b"ispe") + 8, width, height)
        elif data.startswith(b"II"):
            for tag, value in ((256, width), (257, height)):
                struct.pack_into("<HHII", data, data.index(struct.pack("<HH", tag, 4)), tag, 4, 1, value)


def _edit_zip_record(data: bytearray, generator: np.random.Generator) -> None:
    """Write an extreme number into a field of a local header, a directory entry or the end of a ZIP."""
    signature = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x01\x02", b"PK\x05\x06", b"PK\x07\x08")[generator.integers(5)]
    places = [at for at in range(len(data) - 4) if data[at] == 0x50 and data[at : at + 4] == signature]
    if not places:
        return
    at = places[generator.integers(len(places))] + 4 + int(generator.integers(0, 42))
    size = int(generator.choice([1, 2, 4]))
    value = int(generator.choice([0, 1, 8, 255, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])) % 256**size
    if at + size <= len(data):
        data[at : at + size] = value.to_bytes(size, "little")


_COMMON: dict[str, Mutation] = {
    "bits": _flip_bits,
    "cut": _cut,
    "overwritten": _overwrite,
    "repeated": _repeat,
    "removed": _remove,
    "nested": _nest,
    "length": _edit_length,
}
_IMAGE_MUTATIONS = {**_COMMON, "chunk": _edit_chunk, "dimensions": _grow}
_ZIP_MUTATIONS = {**_COMMON, "record": _edit_zip_record, "records": _edit_zip_record}


@dataclass(frozen=True)
class Ending:
    """How one file ended.

    Attributes:
        name: The file's.
        outcome: ``row: ...`` or ``error: ...``, or what failed: ``crash``, ``hang``, ``memory``, ``defect: ...``.
        seconds: Of processor time that it took; of a hang or a crash, as long as was waited.
        peak_bytes: Of the process, after the file.
    """

    name: str
    outcome: str
    seconds: float
    peak_bytes: int

    @property
    def failed(self) -> bool:
        """Whether the file ended in anything but a row or a clear error."""
        return not self.outcome.startswith(("row", "error"))


def measure_image(data: bytes) -> str:
    """Measure an image, as the audit does."""
    row = analyze(data)
    return "row: read" if row.error is None else f"row: {row.cause}"


def measure_and_show_image(data: bytes) -> str:
    """Measure an image and draw its thumbnail, as the audit and its report do."""
    outcome = measure_image(data)
    decode_what_is_there(data, THUMBNAIL_PX)
    return outcome


def ingest_zip(data: bytes) -> str:
    """Ingest a ZIP file, and read back what came of it."""
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        source, archive = Path(directory) / "source.zip", Path(directory) / "archive"
        source.write_bytes(data)
        try:
            ingested = ingest_source(str(source), "", "labels.csv", 1, _ZIP_LIMITS, 2, archive)
        except UserError as error:
            left = sorted(path.name for path in Path(directory).iterdir())
            if left != ["source.zip"]:
                return f"defect: an error left {left}"
            return "error: clear" if len(str(error)) < 2000 else "defect: an endless message"
        catalog = read_catalog(archive)
        return "row: ingested" if len(catalog) == ingested.images else "defect: rows are missing"


def watch(work: Callable[[bytes], str], files: Sequence[tuple[str, bytes]]) -> list[Ending]:
    """Run ``work`` on each file in another process, begun again after a crash or a hang."""
    context = multiprocessing.get_context("spawn")
    endings: list[Ending] = []
    while len(endings) < len(files):
        ours, theirs = context.Pipe()
        process = context.Process(target=_work_through, args=(work, theirs), daemon=True)
        process.start()
        theirs.close()
        ours.recv()  # imports take their time
        base_bytes = ours.recv()
        for name, data in files[len(endings) :]:
            started = time.monotonic()
            try:
                ours.send(data)
                if not ours.poll(3 * LONGEST_SECONDS):
                    outcome, seconds, peak = "hang", time.monotonic() - started, 0
                else:
                    outcome, seconds, peak = ours.recv()
            except (EOFError, BrokenPipeError, ConnectionResetError):
                outcome, seconds, peak = "crash", time.monotonic() - started, 0
            lost = outcome in ("hang", "crash")
            if not lost and seconds > LONGEST_SECONDS:
                outcome = "hang"
            if peak > MOST_BYTES:
                outcome, lost = "memory", True
            endings.append(Ending(name, outcome, seconds, peak or base_bytes))
            if lost:
                break
        ours.close()
        process.kill()
        process.join()
    return endings


def _work_through(work: Callable[[bytes], str], pipe: Connection) -> None:
    pipe.send("ready")
    pipe.send(peak_bytes())
    warnings.simplefilter("ignore")  # as in the audit
    with contextlib.suppress(EOFError):
        while True:
            data = pipe.recv()
            started = time.process_time()
            try:
                outcome = work(data)
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                outcome = f"defect: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
            pipe.send((outcome, time.process_time() - started, peak_bytes()))


def audit_everything(files: Sequence[tuple[str, bytes]]) -> str:
    """Audit all files as one archive; return a sentence, or raise when a file has no row."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        (directory / "archive").mkdir()
        with ArchiveWriter(directory / "archive", part_size_bytes=2**26) as writer:
            for number, (name, data) in enumerate(files):
                label = ("owl", "cod")[number % 2]
                writer.add(f"{label}/{name}", label, data, source_uri="hostile")
            writer.close()
        started = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()):
            audit_archive_with_defaults(directory)
        seconds = time.monotonic() - started
        rows, findings = read_measurements(directory / "findings"), read_findings(directory / "findings")
        if len(rows) != len(files):
            raise RuntimeError(f"{len(files):,} files went in, {len(rows):,} rows came out")
        peak = max(peak_bytes(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
        lost = int((findings["check"] == "unreadable").sum())
        return (
            f"whole audit: {len(rows):,} rows in {seconds:.1f} s, {int(rows['error'].notna().sum()):,} cannot be read, "
            f"{lost:,} of them because a decoder crashed or hung; peak {peak / 1e6:,.0f} MB"
        )


def report(what: str, files: Sequence[tuple[str, bytes]], endings: Sequence[Ending], keep: Path | None) -> bool:
    """Print how the files ended, keep those that failed, and return whether none did."""
    print(f"\n{len(endings):,} {what}: {sum(one.seconds for one in endings):,.1f} s altogether")
    for outcome, count in sorted(Counter(one.outcome.partition("\n")[0][:90] for one in endings).items()):
        print(f"  {count:6,}  {outcome}")
    slowest = max(endings, key=lambda one: one.seconds)
    largest = max(endings, key=lambda one: one.peak_bytes)
    print(f"  slowest {slowest.seconds:.2f} s ({slowest.name}), peak {largest.peak_bytes / 1e6:,.0f} MB")
    failed = [one for one in endings if one.failed]
    contents = dict(files)
    for one in failed:
        print(f"  FAILED {one.name}: {one.outcome} after {one.seconds:.1f} s, {one.peak_bytes / 1e6:,.0f} MB")
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / one.name).write_bytes(contents[one.name])
    return not failed


def main() -> int:
    """Measure, print, and return 1 when a file fails."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hostile_files", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000, help="how many; default 5,000")
    parser.add_argument("--zips", type=int, default=500, help="how many; default 500")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder to leave the files in that fail")
    arguments = parser.parse_args()
    passed = True
    if arguments.images:
        images = list(mutated_images(arguments.images, arguments.seed))
        # First, or its peak would be that of the processes below: the system counts all that have ended together.
        print(audit_everything(images), flush=True)
        passed &= report("images", images, watch(measure_and_show_image, images), arguments.keep)
    if arguments.zips:
        zips = list(mutated_zips(arguments.zips, arguments.seed))
        passed &= report("ZIP files", zips, watch(ingest_zip, zips), arguments.keep)
    print(f"\n{'PASS' if passed else 'MISS'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
