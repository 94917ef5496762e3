"""How long cleaning takes, and how much memory, from a thousand to a million images; beside a plain loop over rows.

    python -m benchmarks.clean
    python -m benchmarks.clean --images 1000 10000 100000 --repeats 5

Catalogs and findings are made up: a tenth of the images has findings, half of them as members of overlapping groups of
exact and near copies, some under two labels. Timed is all that the step does: reading both tables, deciding, and
writing the decisions, the reasons and the summary. Each size runs in a process of its own, so that its peak memory is
its own. The loop only decides, with dictionaries and one row at a time: it reads and writes nothing and gives no
reasons. What it keeps must be what the step keeps, or the benchmark fails; the last column is the step's CPU time
beside the loop's.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.clean.archive_cleaning import clean_archive
from components.clean.cleaning_policy import CleaningPolicy, cleaning_policy
from components.formats.decisions import read_decisions
from components.formats.findings import (
    FINDING_COLUMNS,
    MEASUREMENT_COLUMNS,
    read_findings,
    read_measurements,
    write_findings,
)
from components.formats.image_archive import CATALOG_COLUMNS, read_catalog, write_catalog

CLASSES = 100
GROUP_IMAGES = 4
ACTIONS = {
    "unreadable": "drop", "exact_duplicate": "drop", "near_duplicate": "drop", "conflicting_label": "drop",
    "near_conflicting_label": "drop", "dark": "drop", "exif_rotated": "fix", "blurry": "warn",
}  # fmt: skip
SINGLE_CHECKS = ("unreadable", "dark", "exif_rotated", "blurry")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.clean", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3, help="runs of each size (default: 3)")
    parser.add_argument("--share", type=float, default=0.1, help="part of the images with findings (default: 0.1)")
    parser.add_argument("--seed", type=int, default=20260)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    print(f"{'images':>9} {'dropped':>8} {'wall s min':>11} {'median':>8} {'CPU s min':>10} {'median':>8}"
          f" {'images/CPU s':>13} {'peak MB':>8} {'loop CPU s':>11} {'ratio':>6}")  # fmt: skip
    results = []
    for images in options.images:
        result = _measured(images, options.share, options.seed, options.repeats)
        results.append(result)
        ratio = result["cpu_min"] / result["loop_cpu_min"]
        print(
            f"{images:>9,} {result['dropped']:>8,.0f} {result['wall_min']:>11.2f} {result['wall_median']:>8.2f} "
            f"{result['cpu_min']:>10.2f} {result['cpu_median']:>8.2f} {images / result['cpu_min']:>13,.0f} "
            f"{result['peak_mb']:>8,.0f} {result['loop_cpu_min']:>11.2f} {ratio:>6.1f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def made_up(images: int, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return a catalog, findings and measurements of images that do not exist.

    Args:
        images: How many, a few thousand at least for every check to find something.
        share: Part of them with findings, up to 0.5.
        seed: Another seed gives other findings.
    """
    random = np.random.default_rng(seed)
    numbers = np.arange(images)
    labels = pd.Series(np.char.add("class-", np.char.zfill((numbers * CLASSES // images).astype("U"), 3)), dtype="str")
    paths = (labels + "/IMG_" + pd.Series(numbers).astype("str").str.zfill(8) + ".jpg").astype("str")
    found = np.sort(random.permutation(images)[: int(images * share)])
    in_groups, single = found[: len(found) // 2], found[len(found) // 2 :]
    in_groups = in_groups[: len(in_groups) // GROUP_IMAGES * GROUP_IMAGES]
    # The last tenth in any order, and so under any labels.
    mixed = len(in_groups) // 10 // GROUP_IMAGES * GROUP_IMAGES
    in_groups[len(in_groups) - mixed :] = random.permutation(in_groups[len(in_groups) - mixed :])
    digests = np.array([f"{number:032x}" for number in random.permutation(images)], dtype=object)
    # The first two of each group have the same bytes, the others nearly the same pixels.
    exact = in_groups.reshape(-1, GROUP_IMAGES)[:, :2]
    digests[exact[:, 1]] = digests[exact[:, 0]]
    catalog = pd.DataFrame(
        {
            "path": paths, "filename": paths.str.slice(10), "label": labels, "recorded_label": None,
            "part": "part-00000.tar", "offset": numbers * 50_000, "size_bytes": random.integers(20_000, 80_000, images),
            "md5": digests, "crc32": numbers % 2**32, "source_uri": "gs://photos/animals.zip", "source_generation": 1,
        }
    ).astype(dict(CATALOG_COLUMNS))  # fmt: skip
    catalog.loc[exact[:, 1], "size_bytes"] = catalog.loc[exact[:, 0], "size_bytes"].to_numpy()
    measurements = pd.DataFrame(
        {
            "path": paths, "label": labels, "format": "JPEG", "mode": "RGB",
            "width_px": random.integers(300, 800, images), "height_px": random.integers(300, 800, images),
            "brightness": random.uniform(20, 235, images), "contrast": random.uniform(5, 100, images),
            "grayscale": False, "error": None,
        }
    )[list(MEASUREMENT_COLUMNS)].astype(dict(MEASUREMENT_COLUMNS))  # fmt: skip
    groups = [f"group {number // GROUP_IMAGES}" for number in range(len(in_groups))]
    label_of = labels.to_numpy()
    disputed = pd.Series(label_of[in_groups]).groupby(groups).transform("nunique").to_numpy() > 1
    tables = [
        _found(paths, exact[:, 0], "exact_duplicate", digests[exact[:, 0]]),
        _found(paths, exact[:, 1], "exact_duplicate", digests[exact[:, 1]]),
        _found(paths, in_groups, "near_duplicate", groups),
        _found(paths, in_groups[disputed], "near_conflicting_label", np.array(groups, dtype=object)[disputed]),
        *(_found(paths, single[start :: len(SINGLE_CHECKS)], check, None) for start, check in enumerate(SINGLE_CHECKS)),
    ]
    findings = pd.concat(tables, ignore_index=True)
    findings = findings.assign(
        severity="warning", measured=random.uniform(1, 60, len(findings)), threshold=60.0, message="made up",
        related_path=None,
    )  # fmt: skip
    return catalog, findings[list(FINDING_COLUMNS)].astype(dict(FINDING_COLUMNS)), measurements


def loop(catalog: pd.DataFrame, findings: pd.DataFrame, measurements: pd.DataFrame, policy: CleaningPolicy) -> set[str]:
    """Return the paths that are kept, found out one row at a time."""
    drops = set(policy.dropping_checks())
    parent = list(range(len(catalog)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    paths, labels, sizes = (catalog[name].tolist() for name in ("path", "label", "size_bytes"))
    position = {path: number for number, path in enumerate(paths)}
    width, height = measurements["width_px"].tolist(), measurements["height_px"].tolist()
    first: dict[str, int] = {}
    doomed, grouped, disputed = set(), set(), set()
    for path, check, group in zip(findings["path"], findings["check"], findings["group"], strict=True):
        image = position[path]
        if isinstance(group, str):
            one, other = sorted((root(first.setdefault(group, image)), root(image)))
            parent[other] = one
            grouped.add(image)
        if check == "near_conflicting_label":
            disputed.add(image)
        elif check in drops and check not in ("exact_duplicate", "near_duplicate"):
            doomed.add(image)
    roots = {root(image) for image in disputed}
    doomed |= {image for image in grouped if root(image) in roots}
    best: dict[tuple[int, str], tuple[int, int, int, str, int]] = {}
    for image in grouped - doomed:
        rank = (-width[image] * height[image], -sizes[image], len(paths[image]), paths[image], image)
        key = (root(image), labels[image])
        best[key] = min(best.get(key, rank), rank)
    stays = {rank[-1] for rank in best.values()}
    return {
        path for image, path in enumerate(paths) if image not in doomed and (image not in grouped or image in stays)
    }


def _found(paths: pd.Series, positions: np.ndarray, check: str, group: object) -> pd.DataFrame:
    return pd.DataFrame({"path": paths.iloc[positions].to_numpy(), "check": check, "group": group})


def _write(images: int, share: float, seed: int, folder: Path) -> None:
    catalog, findings, measurements = made_up(images, share, seed)
    (folder / "archive").mkdir()
    (folder / "findings").mkdir()
    write_catalog(catalog, folder / "archive")
    write_findings(findings, measurements, folder / "findings")


def _measured(images: int, share: float, seed: int, repeats: int) -> dict[str, float]:
    """Measure one size, each part in a process of its own: what one needs must not count as another's memory."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _in_own_process(_write, images, share, seed, folder)
        result: dict[str, float] = _in_own_process(_clean, folder, repeats)
        result |= _in_own_process(_loop, folder, repeats)
        return result


def _in_own_process(work: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def _clean(folder: Path, repeats: int) -> dict[str, float]:
    policy = cleaning_policy(ACTIONS, [], [])
    wall, cpu = [], []
    for _ in range(repeats):
        started, started_cpu = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            counts = clean_archive(
                folder / "archive",
                folder / "findings",
                policy,
                "",
                folder / "decisions",
                folder / "summary.md",
                earlier_findings="",
            )
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - started_cpu)
    return {
        "images": counts["images"],
        "dropped": counts["dropped_images"],
        "quarantined": counts["quarantined_images"],
        "wall_min": min(wall),
        "wall_median": statistics.median(wall),
        "cpu_min": min(cpu),
        "cpu_median": statistics.median(cpu),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def _loop(folder: Path, repeats: int) -> dict[str, float]:
    policy = cleaning_policy(ACTIONS, [], [])
    catalog, findings = read_catalog(folder / "archive"), read_findings(folder / "findings")
    measurements, decisions = read_measurements(folder / "findings"), read_decisions(folder / "decisions")
    cpu = []
    for _ in range(repeats):
        started = time.process_time()
        kept = loop(catalog, findings, measurements, policy)
        cpu.append(time.process_time() - started)
    if kept != set(decisions.loc[decisions["keep"], "path"]):
        raise RuntimeError("the loop and the step keep different images")
    return {"loop_cpu_min": min(cpu), "loop_cpu_median": statistics.median(cpu)}


if __name__ == "__main__":
    main()
