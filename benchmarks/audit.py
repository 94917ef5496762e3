"""The audit's pass beside the recipe's naive script, a bare decode, and cleanvision where it is installed.

    python -m benchmarks.audit [--images 1000] [--megapixels 0.5] [--runs 3]
    python -m benchmarks.audit --scaling 1000 10000 100000     the whole audit, of archives of so many small images

Each contender runs in a process of its own over the same JPEG files, cut from the sample photos and scaled; CPU time
(children included), wall time and peak memory are measured from outside, start-up is measured apart and taken off.
Ratios are of minimum and median.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from components.formats.image_archive import ArchiveWriter

PHOTOS = Path(__file__).parents[1] / "samples" / "photos"

NAIVE = """
import hashlib, sys
from pathlib import Path
import cv2
import numpy as np
from PIL import Image
files = sorted(Path(sys.argv[1]).rglob("*.jpg"))
if sys.argv[2] == "start": files = []
broken = []
for file in files:
    try:
        Image.open(file).verify()
    except Exception:
        broken.append(file)
digests = {}
for file in files:
    digests.setdefault(hashlib.md5(file.read_bytes()).hexdigest(), []).append(file)
dark = [file for file in files if np.asarray(Image.open(file).convert("L")).mean() < 30]
sizes = [Image.open(file).size for file in files]
"""

BARE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import simplejpeg
files = sorted(Path(sys.argv[1]).rglob("*.jpg"))
if sys.argv[2] == "start": files = []
def decode(file):
    simplejpeg.decode_jpeg(file.read_bytes(), "RGB")
with ThreadPoolExecutor(2) as pool:
    for _ in pool.map(decode, files): pass
"""

OURS = """
import sys
from pathlib import Path
from components.audit.measuring_pass import measure_archive
from components.formats.image_archive import read_catalog
archive = Path(sys.argv[1])
catalog = read_catalog(archive)
catalog = catalog[:1] if sys.argv[2] == "start" else catalog
measure_archive(archive, catalog, 2, None).table(catalog, 0.6)
"""

WHOLE = """
import sys
from pathlib import Path
from components.audit.command_line import main
sys.exit(0 if sys.argv[2] == "start" else main([sys.argv[1], "--report", sys.argv[1] + ".html", "--workers", "2"]))
"""

OF_ARCHIVE = """
import sys
from pathlib import Path
from components.audit.image_audit import audit_archive
from components.audit.recommended import RECOMMENDED, SAMPLE_IMAGES, SEED
archive = Path(sys.argv[1])
out = archive.parent
settings = {"sample_images": SAMPLE_IMAGES, "workers": 2, "seed": SEED}
audit_archive(archive, out / "findings", out / "report.html", RECOMMENDED, **settings)
"""

CLEANVISION = """
import sys
from cleanvision import Imagelab
if sys.argv[2] != "start":
    Imagelab(data_path=sys.argv[1]).find_issues(n_jobs=2, verbose=False)
"""


@dataclass(frozen=True)
class Cost:
    """What a run took: processor seconds, seconds, and the largest process's peak memory in MB."""

    cpu: float
    wall: float
    peak_mb: float


def measure(program: str, argument: Path, mode: str, python: str) -> Cost:
    """Run a program over a folder and measure it, its children included."""
    command = [python, "-c", program, str(argument), mode]
    watcher = (
        "import json, resource, subprocess, sys, time; start = time.perf_counter();"
        "code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL); wall = time.perf_counter() - start;"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(code, used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)"
    )
    # The allocator that the image and the command line choose.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "ARROW_DEFAULT_MEMORY_POOL": "system"}
    answer = subprocess.run(
        [sys.executable, "-c", watcher, *command], capture_output=True, text=True, check=True, env=environment
    )
    code, cpu, wall, peak = answer.stdout.split()
    if code != "0":
        raise RuntimeError(f"a contender ended with exit code {code}: {answer.stderr[-2000:]}")
    return Cost(float(cpu), float(wall), float(peak))


def write_images(folder: Path, archive: Path, images: int, megapixels: float) -> None:
    """Write seeded crops of the sample photos, scaled, as loose files and as an archive."""
    generator = np.random.default_rng(7)
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*/*.jpg"))]
    archive.mkdir()
    with ArchiveWriter(archive, 2**28) as writer:
        for number in range(images):
            photo = photos[number % len(photos)]
            share = generator.uniform(0.5, 0.9)
            left, top = generator.uniform(0, 1 - share, 2) * photo.size
            crop = photo.crop((int(left), int(top), int(left + share * photo.width), int(top + share * photo.height)))
            scale = (megapixels * 1e6 * generator.uniform(0.7, 1.3) / (crop.width * crop.height)) ** 0.5
            buffer = io.BytesIO()
            crop.resize((round(crop.width * scale), round(crop.height * scale))).save(buffer, "JPEG", quality=85)
            path = f"class{number % 5}/{number:06}.jpg"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(buffer.getvalue())
            writer.add(path, f"class{number % 5}", buffer.getvalue(), source_uri="benchmark")
        writer.close()


def write_small_images(archive: Path, images: int) -> None:
    """Write seeded drawn images of 128 x 96 pixels as an archive of twenty classes.

    They are noise of six scales, as rough as photographs, and so as unlike one another.
    """
    generator = np.random.default_rng(7)
    archive.mkdir()
    with ArchiveWriter(archive, 2**28) as writer:
        for number in range(images):
            pixels = np.zeros((96, 128, 3), np.float32)
            for scale in range(1, 7):
                noise = generator.normal(0, 0.8**scale, (2**scale + 1, 2**scale + 1, 3)).astype(np.float32)
                pixels += cv2.resize(noise, (128, 96), interpolation=cv2.INTER_CUBIC)
            levels = 255 * (pixels - pixels.min()) / np.ptp(pixels)
            data = cv2.imencode(".jpg", levels.astype(np.uint8))[1].tobytes()
            writer.add(f"class{number % 20:02}/{number:07}.jpg", f"class{number % 20:02}", data, source_uri="benchmark")
        writer.close()


def report_scaling(sizes: list[int]) -> None:
    """Print what the whole audit takes of archives of growing size, checks, near duplicates and report included."""
    print("start-up, an audit of one image, taken off the rate; peak of the larger of two processes at a time")
    print(f"{'images':>8} {'CPU s':>7} {'images/CPU s':>13} {'s':>6} {'peak MB':>8}")
    start = 0.0
    for images in (1, *sizes):
        with tempfile.TemporaryDirectory(prefix="benchmark-audit-") as name:
            archive = Path(name) / "archive"
            write_small_images(archive, images)
            cost = measure(OF_ARCHIVE, archive, "all", sys.executable)
        if images == 1:
            start = cost.cpu
            print(f"{images:8} {start:7.1f}", flush=True)
            continue
        rate = images / (cost.cpu - start)
        print(f"{images:8,} {cost.cpu:7.1f} {rate:13,.0f} {cost.wall:6.1f} {cost.peak_mb:8.0f}", flush=True)


def main() -> None:
    """Run every contender a few times in turn and print costs and ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--megapixels", type=float, default=0.5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cleanvision-python", help="interpreter of an environment with cleanvision")
    parser.add_argument("--whole", action="store_true", help="also the whole audit, checks and report included")
    parser.add_argument("--scaling", type=int, nargs="+", metavar="IMAGES", help="measure growing archives instead")
    options = parser.parse_args()
    if options.scaling:
        report_scaling(options.scaling)
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-audit-") as name:
        folder, archive = Path(name) / "files", Path(name) / "archive"
        write_images(folder, archive, options.images, options.megapixels)
        contenders = {
            "the audit's pass": (OURS, archive, sys.executable),
            "naive script": (NAIVE, folder, sys.executable),
            "bare full decode": (BARE, folder, sys.executable),
        }
        if options.whole:
            contenders["the whole audit"] = (WHOLE, folder, sys.executable)
        if options.cleanvision_python:
            contenders["cleanvision"] = (CLEANVISION, folder, options.cleanvision_python)
        report(contenders, options.images, options.runs)


def report(contenders: dict[str, tuple[str, Path, str]], images: int, runs: int) -> None:
    """Measure each contender in turn, so that the machine's moods meet all of them, and print a table."""
    starts = {name: measure(program, where, "start", python) for name, (program, where, python) in contenders.items()}
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, (program, where, python) in contenders.items():
            costs[name].append(measure(program, where, "all", python))

    def taken(name: str, kind: str) -> list[float]:
        start = getattr(starts[name], kind)
        return [max(getattr(cost, kind) - start, 1e-3) for cost in costs[name]]

    ours = "the audit's pass"
    print(f"{images:,} images, {runs} runs, start-up taken off; ratios to the audit's pass: minimum, median")
    print(f"{'':18} {'CPU ms/image':>12} {'images/s':>9} {'peak MB':>8} {'start CPU s':>11}   CPU ratio    wall ratio")
    for name in contenders:
        cpu, wall = taken(name, "cpu"), taken(name, "wall")
        ratios = [
            f"{summary(values) / summary(taken(ours, kind)):5.2f}"
            for kind, values in (("cpu", cpu), ("wall", wall))
            for summary in (min, statistics.median)
        ]
        peak = max(cost.peak_mb for cost in costs[name])
        print(
            f"{name:18} {min(cpu) / images * 1e3:12.2f} {images / min(wall):9.0f} {peak:8.0f} "
            f"{starts[name].cpu:11.2f}   {ratios[0]} {ratios[1]}  {ratios[2]} {ratios[3]}"
        )


if __name__ == "__main__":
    main()
