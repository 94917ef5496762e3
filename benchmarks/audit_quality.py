"""How much of what is planted does the audit find, and what else does it report: for us and for each installed peer.

    python -m benchmarks.audit_quality --seeds 1 2 3
    python -m benchmarks.audit_quality --held-out

Builds the data sets of ``benchmarks.planted_defects``, ingests and audits each with the pipeline's own defaults, and
prints for each check how many files were planted, found, named otherwise (by another check of the same family) and
reported falsely, per seed and summed. Copies are counted by pairs. The exit code is 1 when a bar is missed:

  integrity, storage    all found (corrupt: 90 %), nothing reported falsely
  copies                exact ones and those under two labels all found, nothing reported falsely
  near copies           95 % of the pairs found, 99 % of the reported pairs right
  pixels                95 % found, at most 0.2 % of the other images reported falsely
  names, labels         all found, nothing reported falsely

The peers, cleanvision and imagededup, need an environment of their own, for they pin other versions:

    python3 -m venv /tmp/peers && /tmp/peers/bin/python -m pip install cleanvision imagededup
    python -m benchmarks.audit_quality --peers-python /tmp/peers/bin/python

Without them the benchmark says that they are absent. What they crash on is taken out of their way.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from kfp import dsl

from benchmarks import planted_defects
from benchmarks.planted_defects import DEFAULT_FILES, HELD_OUT_SEEDS, PHOTOS, TUNING_SEEDS, PlantedDataset
from components.audit.component import audit
from components.formats.check_names import CHECK_MEANINGS
from components.formats.findings import read_findings
from components.ingest.component import ingest
from components.launch.parameters import pipeline_parameters
from components.launch.placement import Placement
from pipeline import image_classification

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "integrity": ("truncated", "corrupt", "empty_file", "not_an_image", "decompression_bomb"),
    "storage": ("wrong_extension", "exif_rotated", "animated", "cmyk", "alpha", "sixteen_bit", "palette"),
    "copies": ("exact_duplicate", "identical_pixels", "conflicting_label"),
    "near copies": ("near_duplicate", "near_conflicting_label"),
    "pixels": (
        "dark",
        "bright",
        "low_contrast",
        "low_information",
        "blurry",
        "grayscale",
        "tiny",
        "size_outlier",
        "aspect_outlier",
    ),
    "names": ("naming_inconsistency", "duplicate_filename", "nested_folder", "loose_file"),
    "labels": ("label_mismatch", "class_imbalance", "near_empty_class", "similar_class_names"),
}

LEAST_FOUND: Mapping[str, float] = {"near copies": 0.95, "pixels": 0.95}
"""Share that must be found, by family; everything in the others."""
LEAST_FOUND_CORRUPT = 0.9
MOST_FALSE_PIXELS = 0.002
LEAST_PRECISION_NEAR = 0.99

_CORRUPT_LENGTHS: Mapping[int, str] = {63: "16-63", 299: "64-299", 3000: "300-3000"}

_COPY_CHECKS = (*FAMILIES["copies"], *FAMILIES["near copies"])
_INTEGRITY = (*FAMILIES["integrity"], "unreadable")

# What else is true of an image with a defect: reporting it is neither asked for nor wrong.
_IMPLIED: Mapping[str, tuple[str, ...]] = {
    "dark": ("low_contrast", "low_information", "blurry", "grayscale"),
    "bright": ("low_contrast", "low_information", "blurry", "grayscale"),
    "low_contrast": ("low_information", "blurry", "grayscale"),
    "low_information": ("blurry", "grayscale", "low_contrast", "dark", "bright"),
    "blurry": ("low_contrast", "low_information"),
    "tiny": ("blurry", "low_information", "size_outlier"),
    "size_outlier": ("blurry",),
    "animated": ("palette", "alpha"),  # encoders store what changes between frames with transparency around it
    "grayscale": ("low_information",),
}
# A check whose finding counts as having found the defect, though the name is another.
_NAMED_OTHERWISE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(FAMILIES["integrity"], _INTEGRITY),
}


@dataclass
class Tally:
    """One check's counts; files, or pairs of files for copies. Sums with ``+=``."""

    planted: int = 0
    found: int = 0
    otherwise: int = 0
    false: int = 0
    reported: int = 0
    others: int = 0  # files or pairs that the check could have reported falsely
    missed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Add another tally's counts and examples."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def score(dataset: PlantedDataset, findings: pd.DataFrame) -> dict[str, Tally]:
    """Compare findings with what was planted.

    Args:
        dataset: With its ground truth.
        findings: Columns path, check and group.

    Returns:
        A tally by check, for each check of ``FAMILIES``.
    """
    how = {(row.path, row.check): f"{row.source}, {row.how}" for row in dataset.truth}
    planted_checks = defaultdict(set)
    for row in dataset.truth:
        planted_checks[row.path].add(row.check)
    found_checks = defaultdict(set)
    for path, check in zip(findings["path"], findings["check"], strict=True):
        found_checks[path].add(check)

    tallies = {}
    for check in itertools.chain.from_iterable(FAMILIES.values()):
        if check in _COPY_CHECKS:
            tallies[check] = _score_pairs(check, dataset, findings)
            continue
        tally = tallies[check] = Tally()
        others = _NAMED_OTHERWISE.get(check, ())
        tally.reported = sum(check in checks for checks in found_checks.values())
        for path, checks in planted_checks.items():
            if check in checks:
                tally.planted += 1
                if check in found_checks[path]:
                    tally.found += 1
                elif found_checks[path] & set(others):
                    tally.otherwise += 1
                else:
                    tally.missed.append(f"{path} ({how[path, check]})")
        excused = {
            path
            for path, checks in planted_checks.items()
            if check in checks or any(check in _IMPLIED.get(name, ()) or name in others for name in checks)
        }
        tally.wrong = sorted(path for path, checks in found_checks.items() if check in checks and path not in excused)
        tally.false = len(tally.wrong)
        tally.others = len(dataset.files) - tally.planted
    return tallies


def score_corruption(dataset: PlantedDataset, findings: pd.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    """Return how many damaged scans were found and planted, by file extension and kind, and by length of the damage."""
    found = set(findings.loc[findings["check"].isin(_INTEGRITY), "path"])
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for row in dataset.truth:
        if row.check == "corrupt":
            kind, length = row.how.rsplit(": ", 1)
            lengths = next(name for most, name in _CORRUPT_LENGTHS.items() if int(length) <= most)
            hits, planted = counts.get((kind, lengths), (0, 0))
            counts[kind, lengths] = (hits + (row.path in found), planted + 1)
    return counts


def _score_pairs(check: str, dataset: PlantedDataset, findings: pd.DataFrame) -> Tally:
    clusters, how = {}, {}
    planted = defaultdict(list)
    for row in dataset.truth:
        if row.check in _COPY_CHECKS:
            clusters[row.path] = row.cluster
            how[row.path] = f"{row.source}, {row.how}"
            if row.check == check:
                planted[row.cluster].append(row.path)
    reported = pairs_reported(findings, (check,))
    otherwise = pairs_reported(findings, _NAMED_OTHERWISE.get(check, ()))
    wanted = {pair for members in planted.values() for pair in _pairs(members)}
    found = wanted & reported
    also = (wanted - found) & otherwise
    wrong = sorted(pair for pair in reported if pair[0] not in clusters or clusters[pair[0]] != clusters.get(pair[1]))
    return Tally(
        planted=len(wanted),
        found=len(found),
        otherwise=len(also),
        false=len(wrong),
        reported=len(reported),
        others=0,
        missed=[f"{first} {second} ({how[first]})" for first, second in sorted(wanted - found - also)],
        wrong=[f"{first} {second}" for first, second in wrong],
    )


def pairs_reported(findings: pd.DataFrame, checks: Sequence[str]) -> set[tuple[str, str]]:
    """Return every pair of files that findings of these checks put into one group."""
    found = findings[findings["check"].isin(checks) & findings["group"].notna()]
    return {pair for _, members in found.groupby(["check", "group"])["path"] for pair in _pairs(members)}


def _pairs(members: Iterable[str]) -> set[tuple[str, str]]:
    return set(itertools.combinations(sorted(set(members)), 2))


def family_of(check: str) -> str:
    """Return which family a check belongs to."""
    return next(family for family, checks in FAMILIES.items() if check in checks)


def complaint(check: str, tally: Tally) -> str:
    """Return which bar a check misses, empty when it misses none."""
    if check not in CHECK_MEANINGS:
        return "no such check"
    family = family_of(check)
    least = LEAST_FOUND_CORRUPT if check == "corrupt" else LEAST_FOUND.get(family, 1.0)
    complaints = []
    if tally.found + tally.otherwise < least * tally.planted:
        complaints.append(f"found < {least:.0%}")
    if family == "near copies":
        if tally.reported and 1 - tally.false / tally.reported < LEAST_PRECISION_NEAR:
            complaints.append(f"precision < {LEAST_PRECISION_NEAR:.0%}")
    elif tally.false > (MOST_FALSE_PIXELS * tally.others if family == "pixels" else 0):
        complaints.append(f"false > {MOST_FALSE_PIXELS:.1%}" if family == "pixels" else "false > 0")
    return ", ".join(complaints)


def audit_dataset(source: Path, directory: Path) -> pd.DataFrame:
    """Ingest and audit a ZIP or a folder as the pipeline does with its defaults, and return the findings."""
    _run_step(ingest, {"source": str(source), "archive": _dataset(directory / "archive")})
    audit_archive_with_defaults(directory)
    return read_findings(directory / "findings")


def audit_archive_with_defaults(directory: Path) -> None:
    """Audit ``archive`` in a folder into ``findings`` and ``report.html`` there, as the pipeline does."""
    archive = _dataset(directory / "archive")
    report = dsl.HTML(name="report", uri=str(directory / "report.html"))
    _run_step(audit, {"archive": archive, "findings": _dataset(directory / "findings"), "report": report})


def _run_step(step: Any, arguments: Mapping[str, Any]) -> None:
    here = Placement(
        "vertex", None, 0, spot=False, evaluate_on_gpu=False, node_selector={}, image_registry="", image_tag=""
    )
    defaults = pipeline_parameters(image_classification(here))
    values = {name: defaults[name].default for name in step.component_spec.inputs if name in defaults}
    step.python_func(**{**values, **arguments, "metrics": dsl.Metrics(name="metrics", uri="", metadata={})})


def _dataset(path: Path) -> dsl.Dataset:
    return dsl.Dataset(name=path.name, uri=str(path), metadata={})


def peer_findings(
    python: str, tool: str, folder: Path, obstacles: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Any] | None, str]:
    """Return what a peer finds, None when it is absent or fails, and what there is to say about it.

    Args:
        python: The interpreter of the environment it is installed in.
        tool: cleanvision or imagededup.
        folder: The data set.
        obstacles: Files to take away, one kind after the other, as long as it fails.
    """
    if subprocess.run([python, "-c", f"import {tool}"], capture_output=True, check=False).returncode:
        return None, f"{tool}: absent from {python}; see --help"
    found, complaint = _run_peer(python, tool, folder)
    remarks, away = [tool], set[str]()
    for kind, paths in obstacles.items():
        if found is not None:
            break
        remarks.append(f"fails with {complaint}; its figures are without files that are {kind}")
        away.update(paths)
        found, complaint = _run_peer_without(python, tool, folder, away)
    if found is None:
        remarks.append(f"fails with {complaint} even so")
    else:
        remarks[0] += f" {found['version']}"
    return found, ": ".join(remarks)


def _run_peer_without(python: str, tool: str, folder: Path, away: set[str]) -> tuple[dict[str, Any] | None, str]:
    with tempfile.TemporaryDirectory() as directory:
        rest = Path(directory)
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name not in away:
                (rest / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, rest / name)
        return _run_peer(python, tool, rest)


def _run_peer(python: str, tool: str, folder: Path) -> tuple[dict[str, Any] | None, str]:
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "found.json"
        command = [python, str(Path(__file__).with_name("peer_findings.py")), tool, str(folder), str(output)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            return None, f"'{(result.stderr.strip().splitlines() or ['no message'])[-1][:120]}'"
        return json.loads(output.read_text(encoding="utf-8")), ""


# Which of our checks each issue of a peer answers.
_PEER_ISSUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "cleanvision": {
        "dark": ("dark",),
        "light": ("bright",),
        "low_information": ("low_information", "low_contrast"),
        "blurry": ("blurry",),
        "grayscale": ("grayscale",),
        "odd_size": ("size_outlier", "tiny"),
        "odd_aspect_ratio": ("aspect_outlier",),
    },
    "imagededup": {},
}
_PEER_SETS: Mapping[str, tuple[str, ...]] = {
    "cleanvision": ("exact_duplicates", "near_duplicates"),
    "imagededup": ("phash",),
}


def peer_table(tool: str, found: Mapping[str, Any]) -> pd.DataFrame:
    """Return a peer's findings as a table like ours: any of its groups counts for any kind of copy."""
    rows = [
        {"path": path, "check": check, "group": None}
        for issue, paths in found["issues"].items()
        for check in _PEER_ISSUES[tool].get(issue, ())
        for path in paths
    ]
    groups = (members for name in _PEER_SETS[tool] for members in found["sets"][name])
    for number, members in enumerate(groups):
        rows += [{"path": path, "check": check, "group": number} for path in members for check in _COPY_CHECKS]
    return pd.DataFrame(rows, columns=["path", "check", "group"])


def peer_answers(tool: str) -> set[str]:
    """Return the checks that a peer has something like."""
    return set(_COPY_CHECKS) | {check for checks in _PEER_ISSUES[tool].values() for check in checks}


def print_table(title: str, tallies: Mapping[str, Tally], examples: int) -> bool:
    """Print the figures, and a few examples of what was missed; return whether every bar is met."""
    print(f"\n{title}\n{'check':24}{'planted':>8}{'found':>7}{'otherwise':>10}{'false':>7}  {'%':>6}  bar")
    passed = True
    for family, checks in FAMILIES.items():
        print(f"{family}")
        for check in checks:
            tally = tallies[check]
            missed = complaint(check, tally)
            passed &= not missed
            share = (tally.found + tally.otherwise) / tally.planted if tally.planted else 1.0
            print(
                f"  {check:22}{tally.planted:8,}{tally.found:7,}{tally.otherwise:10,}{tally.false:7,}"
                f"  {share:6.1%}  {'MISS ' + missed if missed else 'PASS'}"
            )
            if missed != "no such check":
                for text in tally.missed[:examples]:
                    print(f"      missed {text}")
                for text in tally.wrong[:examples]:
                    print(f"      false  {text}")
    return passed


def print_corruption(counts: Mapping[tuple[str, str], tuple[int, int]]) -> None:
    """Print how much of which damage inside of files is found, by its kind and length."""
    lengths = list(_CORRUPT_LENGTHS.values())
    print("\ncorrupt, found / planted, by bytes" + "".join(f"{name:>12}" for name in lengths))
    for kind in sorted({kind for kind, _ in counts}):
        cells = ("{}/{}".format(*counts.get((kind, name), (0, 0))) for name in lengths)
        print(f"  {kind:32}" + "".join(f"{cell:>12}" for cell in cells))


def print_peers(ours: Mapping[str, Tally], peers: Mapping[str, Mapping[str, Tally]]) -> None:
    """Print found and false of each peer beside ours."""
    print(f"\nfound / planted (false)\n{'check':24}{'ours':>18}" + "".join(f"{tool:>18}" for tool in peers))
    for check, tally in ours.items():
        cells = [f"{tally.found + tally.otherwise}/{tally.planted} ({tally.false})"]
        for tool, tallies in peers.items():
            one = tallies[check]
            cells.append(f"{one.found}/{one.planted} ({one.false})" if check in peer_answers(tool) else "-")
        print(f"{check:24}" + "".join(f"{cell:>18}" for cell in cells))


def main() -> int:
    """Measure, print, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.audit_quality", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(TUNING_SEEDS), help="of the data sets")
    parser.add_argument("--held-out", action="store_true", help=f"the seeds nobody tunes on instead: {HELD_OUT_SEEDS}")
    parser.add_argument("--files", type=int, default=DEFAULT_FILES, help=f"of each data set; default {DEFAULT_FILES}")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of photographs without defects")
    parser.add_argument("--examples", type=int, default=3, help="of what was missed, per check; default 3")
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--without-peers", action="store_true", help="measure ours alone")
    parser.add_argument("--keep", type=Path, help="folder to leave the data sets and findings in")
    arguments = parser.parse_args()

    summed: dict[str, Tally] = defaultdict(Tally)
    peers: dict[str, dict[str, Tally]] = {}
    corruption: dict[tuple[str, str], tuple[int, int]] = {}
    seeds = list(HELD_OUT_SEEDS) if arguments.held_out else arguments.seeds
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="audit-quality-") as temporary:
            directory = arguments.keep / f"seed-{seed}" if arguments.keep else Path(temporary)
            started = _processor_seconds()
            dataset = planted_defects.build_dataset(seed, arguments.files, arguments.photos)
            planted_defects.write_dataset(dataset, directory)
            built = _processor_seconds()
            findings = audit_dataset(directory / "dataset.zip", directory)
            audited = _processor_seconds() - built
            title = f"seed {seed}: {len(dataset.files):,} files, built in {built - started:.0f} s"
            tallies = score(dataset, findings)
            print_table(
                f"{title}, ingested and audited in {audited:.1f} s of processor time", tallies, arguments.examples
            )
            for check, tally in tallies.items():
                summed[check].add(tally)
            for kind, (found, planted) in score_corruption(dataset, findings).items():
                before = corruption.get(kind, (0, 0))
                corruption[kind] = (before[0] + found, before[1] + planted)
            if not arguments.without_peers:
                _measure_peers(arguments.peers_python, dataset, directory / "dataset", peers)
    passed = print_table(f"all seeds: {' '.join(map(str, seeds))}", summed, 0)
    print_corruption(corruption)
    if peers:
        print_peers(summed, peers)
    print(f"\n{'PASS' if passed else 'MISS'}")
    return 0 if passed else 1


def _processor_seconds() -> float:
    """Return what this process and those it waited for have used."""
    return sum(os.times()[:4])


def _measure_peers(python: str, dataset: PlantedDataset, folder: Path, peers: dict[str, dict[str, Tally]]) -> None:
    obstacles = {
        "damaged": [row.path for row in dataset.truth if row.check in FAMILIES["integrity"]],
        "transparent or deep": [row.path for row in dataset.truth if row.check in ("alpha", "sixteen_bit")],
    }
    for tool in _PEER_ISSUES:
        found, remark = peer_findings(python, tool, folder, obstacles)
        print(remark, flush=True)
        if found is not None:
            summed = peers.setdefault(tool, defaultdict(Tally))
            for check, tally in score(dataset, peer_table(tool, found)).items():
                summed[check].add(tally)


if __name__ == "__main__":
    sys.exit(main())
