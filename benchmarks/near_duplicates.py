"""Near duplicates: what is found of planted copies, what is found wrongly, and how long a million hashes take.

    python -m benchmarks.near_duplicates quality --photos samples/photos --seeds 11 12 13
    python -m benchmarks.near_duplicates speed --hashes 1000000 --distance 8
    python -m benchmarks.near_duplicates speed --images 1000 10000 100000

Quality: every photograph and a number of drawn images are copied in 19 ways; among them lie images that are similar but
no copies. ``found`` counts copies in the group of their original, ``false`` images in the group of another picture.
"""

import argparse
import io
import math
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from components.audit.decoding import DECODED_SIDE_PX, decode
from components.copies.copy_groups import find_copies
from components.copies.fingerprints import Fingerprints, Sketch, fingerprints_of, sketch_of
from components.copies.likeness import CopyRules
from components.copies.pair_search import ENGINES, SearchLimits, fastest_engine, find_pairs
from components.copies.perceptual_hashes import oriented

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

RULES = CopyRules(maximum_distance=8, minimum_correlation=0.85, maximum_difference=0.7, crops=True)


def encoded(pixels: Pixels, quality: int) -> bytes:
    """Return a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def sketched(data: bytes) -> tuple[Sketch, float]:
    """Decode as the audit does, and reduce; return the sketch and width / height before."""
    image = decode(data, DECODED_SIDE_PX)
    return sketch_of(image.pixels), image.width_px / image.height_px


# Pictures


def landscape(random: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw colour noise at seven scales, rough like a photograph."""
    total = np.zeros((height, width, 3))
    for scale in range(1, 8):
        noise = random.normal(0, 0.6**scale, (2**scale + 1, 2**scale + 1, 3))
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(255 * (total - total.min()) / np.ptp(total), np.uint8)


def collage(random: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw a few shapes in flat colours."""
    image = Image.new("RGB", (width, height), _colour(random))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(4, 12))):
        centre = random.uniform((0, 0), (width, height))
        size = random.uniform(0.05, 0.3, 2) * min(height, width)
        _shape(draw, random, centre, size, int(random.integers(3)))
    return np.asarray(image)


def _shape(draw: ImageDraw.ImageDraw, random: np.random.Generator, centre: Floats, size: Floats, kind: int) -> None:
    box = (*(centre - size).tolist(), *(centre + size).tolist())
    if kind == 0:
        draw.ellipse(box, fill=_colour(random))
    elif kind == 1:
        draw.rectangle(box, fill=_colour(random))
    else:
        angles = np.sort(random.uniform(0, 2 * math.pi, 3))
        corners = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * size
        draw.polygon([(x, y) for x, y in corners.tolist()], fill=_colour(random))


def _colour(random: np.random.Generator, highest: int = 256) -> tuple[int, int, int]:
    red, green, blue = random.integers(0, highest, 3).tolist()
    return red, green, blue


def text_page(random: np.random.Generator, height: int = 420, width: int = 320) -> Pixels:
    """Set random words as a page with margins and paragraphs."""
    image = Image.new("RGB", (width, height), (250, 250, 245))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    top = 24.0
    while top < height - 30:
        left = 20.0
        while left < width - 50 and random.random() > 0.04:
            word = "".join(chr(97 + letter) for letter in random.integers(0, 26, int(random.integers(2, 9))).tolist())
            draw.text((left, top), word, fill=(20, 20, 30), font=font)
            left += draw.textlength(word, font=font) + 5
        top += 30 if random.random() < 0.12 else 18
    return np.asarray(image)


def originals(photos: Path, random: np.random.Generator, drawn: int) -> dict[str, Pixels]:
    """Return the photographs of a folder and drawn pictures, by name."""
    pictures = {
        f"photo {path.relative_to(photos)}": np.asarray(Image.open(path).convert("RGB"))
        for path in sorted(photos.rglob("*"))
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    }
    for number in range(drawn):
        height, width = random.integers(200, 600, 2).tolist()
        pictures[f"landscape {number}"] = landscape(random, height, width)
        pictures[f"collage {number}"] = collage(random, height, width)
    return pictures


# Copies


def copies(pixels: Pixels, random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Yield copies of a picture, each with what was done to it."""
    image = Image.fromarray(pixels)
    yield "resized", encoded(_resized(pixels, random.uniform(0.4, 0.9)), 88)
    yield "recompressed", encoded(pixels, int(random.integers(25, 60)))
    yield "brightened", encoded(np.asarray(ImageEnhance.Brightness(image).enhance(random.uniform(1.15, 1.5))), 88)
    yield "darkened", encoded(np.asarray(ImageEnhance.Brightness(image).enhance(random.uniform(0.55, 0.85))), 88)
    yield "contrast changed", encoded(np.asarray(ImageEnhance.Contrast(image).enhance(random.choice([0.7, 1.35]))), 88)
    yield "without colour", encoded(np.asarray(image.convert("L").convert("RGB")), 88)
    turns = ("", "mirrored", "upside down", "rotated 180", "transposed", "rotated 90", "rotated 270", "transverse")
    for orientation, name in list(enumerate(turns))[1:]:
        turned = oriented(pixels.transpose(2, 0, 1), orientation).transpose(1, 2, 0)
        yield name, encoded(np.ascontiguousarray(turned), 88)
    yield "cropped to 95 %, centre", encoded(_cropped(pixels, 0.025, 0.025, 0.95), 88)
    yield (
        "cropped to 95 %, anywhere",
        encoded(_cropped(pixels, random.uniform(0, 0.05), random.uniform(0, 0.05), 0.95), 88),
    )
    yield (
        "cropped to 95 %, corner",
        encoded(_cropped(pixels, random.choice([0, 0.05]), random.choice([0, 0.05]), 0.95), 88),
    )
    yield "cropped 5 % at each side", encoded(_cropped(pixels, 0.05, 0.05, 0.9), 88)
    yield (
        "cropped to 90 %, anywhere",
        encoded(_cropped(pixels, random.uniform(0, 0.1), random.uniform(0, 0.1), 0.9), 88),
    )
    yield "mirrored, cropped, resized", encoded(_resized(_cropped(pixels[:, ::-1], 0.03, 0.03, 0.94), 0.6), 80)


def _resized(pixels: Pixels, scale: float) -> Pixels:
    height, width = (max(8, round(side * scale)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _cropped(pixels: Pixels, top: float, left: float, share: float) -> Pixels:
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(
        pixels[round(height * top) : round(height * (top + share)), round(width * left) : round(width * (left + share))]
    )


# Look-alikes that are no copies


def look_alikes(pictures: dict[str, Pixels], random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Yield images that resemble one another or a picture, each with its kind."""
    photos = [pixels for name, pixels in pictures.items() if not name.startswith("collage")]
    for _ in range(12):
        scene = photos[random.integers(len(photos))]
        for quarter in range(4):
            yield "burst", encoded(_frame(scene, random, quarter), 88)
    for number in range(10):
        background = landscape(random, 300, 400) if number % 2 else photos[random.integers(len(photos))]
        for kind in range(4):
            image = Image.fromarray(cv2.resize(background, (400, 300), interpolation=cv2.INTER_AREA))
            centre = random.uniform((120, 90), (280, 210))
            _shape(ImageDraw.Draw(image), random, centre, random.uniform(45, 75, 2), kind % 3)
            yield "same background, other object", encoded(np.asarray(image), 88)
    for number in range(60):
        image = Image.new("RGB", (320, 320), (255, 255, 255))
        draw, colour = ImageDraw.Draw(image), _colour(random, 200)
        if number % 5 < 3:
            _shape(draw, random, random.uniform(110, 210, 2), random.uniform(40, 100, 2), number % 5)
        elif number % 5 == 3:
            draw.text((100, 60), chr(65 + number // 5), fill=colour, font=ImageFont.load_default(150))
        else:
            draw.line([(x, y) for x, y in random.uniform(20, 300, (4, 2)).tolist()], fill=colour, width=12)
        yield "one shape on white", encoded(np.asarray(image), 88)
    for angle in range(0, 46, 9):  # beyond 45 degrees they repeat, turned
        yield "gradient", encoded(_gradient(math.radians(angle), random), 88)
    for _ in range(20):
        yield "text page", encoded(text_page(random), 88)


def _frame(scene: Pixels, random: np.random.Generator, quarter: int) -> Pixels:
    """Return a frame of a burst: the camera moved by an eighth of the picture or more, and what is in it moved too."""
    height, width = scene.shape[:2]
    motion = cv2.resize(random.normal(0, 0.04, (5, 5, 2)), (width, height), interpolation=cv2.INTER_CUBIC)
    direction = math.pi * (quarter / 2 + random.uniform(-0.2, 0.2))
    shift = random.uniform(0.13, 0.2) * np.array([math.cos(direction), math.sin(direction)])
    rows, columns = np.mgrid[0:height, 0:width]
    across = (columns + width * (shift[0] + motion[..., 0])).astype(np.float32)
    down = (rows + height * (shift[1] + motion[..., 1])).astype(np.float32)
    return np.asarray(cv2.remap(scene, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8)


def _gradient(angle: float, random: np.random.Generator) -> Pixels:
    rows, columns = np.mgrid[0:240, 0:240] / 240 - 0.5
    ramp = columns * math.cos(angle) + rows * math.sin(angle)
    dark = random.uniform(0, 100)
    levels = dark + random.uniform(60, 155) * (ramp + 0.71) / 1.42
    return np.repeat(levels[..., None], 3, axis=2).astype(np.uint8)


# Measuring


def planted(photos: Path, seed: int, drawn: int) -> tuple[list[str], list[str], Fingerprints, npt.NDArray[np.float64]]:
    """Return the picture and the kind of each image of a data set, their fingerprints and their width / height."""
    random = np.random.default_rng(seed)
    pictures = originals(photos, random, drawn)
    sources, kinds, sketches = [], [], []
    for name, pixels in pictures.items():
        for kind, data in [("original", encoded(pixels, 92)), *copies(pixels, random)]:
            sources.append(name)
            kinds.append(kind)
            sketches.append(sketched(data))
    for number, (kind, data) in enumerate(look_alikes(pictures, random)):
        sources.append(f"{kind} {number}")
        kinds.append(kind)
        sketches.append(sketched(data))
    fingerprints = fingerprints_of([sketch for sketch, _ in sketches])
    return sources, kinds, fingerprints, np.array([aspect for _, aspect in sketches])


def quality(photos: Path, seeds: list[int], drawn: int, rules: CopyRules, engine: str) -> None:
    """Print found, planted and false by kind, over all seeds."""
    found, total, false = Counter[str](), Counter[str](), Counter[str]()
    alike = 0
    for seed in seeds:
        sources, kinds, fingerprints, aspects = planted(photos, seed, drawn)
        order = np.random.default_rng(seed).permutation(len(sources))  # the original is not the first by name
        groups = find_copies([f"{number:06}" for number in order.tolist()], fingerprints, aspects, rules, engine)
        original = {
            source: row for row, (source, kind) in enumerate(zip(sources, kinds, strict=True)) if kind == "original"
        }
        for row, (source, kind) in enumerate(zip(sources, kinds, strict=True)):
            total[kind] += 1
            grouped = groups.group[row] >= 0
            if source in original and kind != "original":
                found[kind] += bool(grouped and groups.group[row] == groups.group[original[source]])
            if grouped and groups.representative[row] != row:
                alike += 1
                false[kind] += sources[groups.representative[row]] != source
    print(f"{'kind':32} {'images':>6} {'found':>6} {'recall':>7} {'false':>6}")
    copied = {kind for kind in total if kind in found}
    for kind in sorted(total, key=lambda kind: kind not in copied):
        share = f"{found[kind]:6} {found[kind] / total[kind]:7.1%}" if kind in copied else " " * 14
        print(f"{kind:32} {total[kind]:6} {share} {false[kind]:6}")
    recall = sum(found.values()) / sum(total[kind] for kind in copied)
    print(
        f"recall {recall:.2%}, precision {1 - sum(false.values()) / max(1, alike):.2%} of {alike} images called copies"
    )


def search_speed(hashes: int, distance: int, engine: str, runs: int) -> None:
    """Print the time and memory of one search among random hashes in 8 orientations."""
    random = np.random.default_rng(0)
    queries = random.integers(1, 2**64 - 1, (hashes, 8), dtype=np.uint64)
    references = queries[:, 0].copy()
    limits = SearchLimits(compared_per_bucket=4096, pairs_per_hash=32)
    with measured(f"{engine}: the first search, of 1,000 hashes"):  # compiles, where the engine does
        find_pairs(references[:1000], queries[:1000], distance, limits, engine)
    for _ in range(runs):
        with measured(f"{engine}: {hashes:,} hashes x 8 orientations within {distance} bits"):
            pairs = find_pairs(references, queries, distance, limits, engine)
        print(f"  {len(pairs.first)} pairs")


def copies_speed(sizes: list[int], engine: str | None) -> None:
    """Print the time and memory of all that is done with the fingerprints of so many images, crops included."""
    for images in sorted(sizes):
        fingerprints = rough_fingerprints(images, np.random.default_rng(0))
        paths, aspects = [f"{number:09}" for number in range(images)], np.ones(images)
        chosen = engine or fastest_engine(images)
        with measured(f"{chosen}: copies among {images:,} images", images):
            groups = find_copies(paths, fingerprints, aspects, RULES, chosen)
        alike = int((groups.group >= 0).sum()) - groups.group.max(initial=-1) - 1
        print(f"  {alike:,} copies, left out: {groups.left_out_pairs} pairs, {groups.left_out_comparisons} comparisons")


def rough_fingerprints(count: int, random: np.random.Generator) -> Fingerprints:
    """Draw gray noise at four scales, as rough as photographs, to fingerprints; one in twenty is a copy of another."""
    scales = [cv2.resize(np.eye(side), (side, 16), interpolation=cv2.INTER_LINEAR) for side in (16, 8, 4, 2)]
    fingerprints = Fingerprints.on_disk(count)
    for begin in range(0, count, 1 << 14):
        some = fingerprints.thumbnails[begin : begin + (1 << 14)]
        values = np.zeros(some.shape)
        for scale, spread in enumerate(scales):
            side = spread.shape[1]
            values += spread @ random.normal(0, 1.3**scale, (len(some), side, side)) @ spread.T
        copied = random.random(len(some)) < 0.05
        values[copied] = values[random.integers(0, len(some), copied.sum())] + random.normal(0, 0.1, (16, 16))
        values -= values.mean(axis=(1, 2), keepdims=True)
        some[:] = np.clip(np.rint(128 + 42 * values / values.std(axis=(1, 2), keepdims=True)), 1, 255)
        fingerprints.details.luma[begin : begin + (1 << 14)] = some.repeat(2, axis=1).repeat(2, axis=2)
    return fingerprints


@contextmanager
def measured(what: str, rows: int = 0) -> Iterator[None]:
    """Print what a block took: processor seconds, seconds, and the process's peak memory since it started."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    cpu = time.process_time() - cpu
    rate = f" ({rows / cpu:,.0f} images/s of CPU)" if rows else ""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {cpu:.1f} s of CPU{rate}, {time.perf_counter() - wall:.1f} s, {peak:.0f} MB at most", flush=True)


def main() -> None:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.near_duplicates", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("quality", help="found, planted and false by kind of copy")
    one.add_argument("--photos", type=Path, default=Path("samples/photos"), help="a folder of photographs")
    one.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13], help="of the drawn pictures and the copies")
    one.add_argument("--drawn", type=int, default=40, help="drawn pictures of each of two kinds")
    one.add_argument("--no-crops", action="store_true", help="do not look for cropped copies")
    two = commands.add_parser("speed", help="time of a search among random hashes, or of all among drawn thumbnails")
    two.add_argument("--hashes", type=int, default=1_000_000)
    two.add_argument("--images", type=int, nargs="+", help="instead: find copies among so many images")
    two.add_argument("--distance", type=int, default=RULES.maximum_distance, help="bits")
    two.add_argument("--runs", type=int, default=3)
    for command in (one, two):
        command.add_argument("--engine", choices=ENGINES, help="the faster one unless given")
    arguments = parser.parse_args()
    if arguments.command == "quality":
        rules = CopyRules(
            RULES.maximum_distance,
            RULES.minimum_correlation,
            RULES.maximum_difference,
            crops=not arguments.no_crops,
        )
        quality(arguments.photos, arguments.seeds, arguments.drawn, rules, arguments.engine or "numpy")
    elif arguments.images:
        copies_speed(arguments.images, arguments.engine)
    else:
        engine = arguments.engine or fastest_engine(arguments.hashes)
        search_speed(arguments.hashes, arguments.distance, engine, arguments.runs)


if __name__ == "__main__":
    main()
