"""How much of what is planted does the embedding audit find, and what else does it report?

    python -m benchmarks.embedding_quality --seeds 11 12 13 14 15

For each seed it takes the 77 sample photographs, moves 8 of them to a wrong class, adds 4 drawn images that show no
animal and 12 crops of photographs with 70 % of both sides, audits all that as the pipeline does, and looks at it with
EfficientNet-Lite0, whose weights come with the samples. Printed are what was planted, what was found and what was
reported falsely, per seed and summed. Of crops, pairs are counted, and those that the audit itself knows are found.
``as label`` are drawn images whose label is doubted instead. Thresholds were chosen on the seeds 1 to 8.
"""

import argparse
import dataclasses
import io
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.picture_sources import drawings
from components.audit.image_audit import audit_archive
from components.audit.recommended import RECOMMENDED
from components.audit_embeddings.embedding_audit import audit_archive_embeddings
from components.audit_embeddings.embedding_settings import EmbeddingSettings
from components.audit_embeddings.recommended import RECOMMENDED as RECOMMENDED_SETTINGS
from components.formats.findings import read_findings
from components.formats.image_archive import ArchiveWriter

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "samples" / "photos"
WEIGHTS = ROOT / "samples" / "efficientnet_lite0" / "imagenet_float16.npz"

WRONG_LABELS, DRAWN_IMAGES, CROPS = 8, 4, 12
CROP_SHARE = 0.7


@dataclasses.dataclass(frozen=True)
class PlantedEmbeddings:
    """A data set and what is wrong with it.

    Attributes:
        files: Bytes by path.
        labels: Class by path.
        wrong: Paths whose class is not what they show.
        drawn: Paths of images that show no animal.
        crops: The path of each crop, and of what it is a crop of.
    """

    files: Mapping[str, bytes]
    labels: Mapping[str, str]
    wrong: frozenset[str]
    drawn: frozenset[str]
    crops: frozenset[tuple[str, str]]


def plant(seed: int) -> PlantedEmbeddings:
    """Return the sample photographs with defects planted among them."""
    generator = np.random.default_rng(seed)
    photos = sorted(PHOTOS.glob("*/*.jpg"))
    classes = sorted({photo.parent.name for photo in photos})
    files, labels = {}, {}
    moved = set(generator.choice(len(photos), WRONG_LABELS, replace=False).tolist())
    for number, photo in enumerate(photos):
        path = photo.relative_to(PHOTOS).as_posix()
        others = [name for name in classes if name != photo.parent.name]
        files[path] = photo.read_bytes()
        labels[path] = str(generator.choice(others)) if number in moved else photo.parent.name
    wrong = frozenset(photos[number].relative_to(PHOTOS).as_posix() for number in moved)
    crops = set()
    for number in generator.choice(sorted(set(range(len(photos))) - moved), CROPS, replace=False).tolist():
        original = photos[number].relative_to(PHOTOS).as_posix()
        path = f"{original.removesuffix('.jpg')}-crop.jpg"
        files[path], labels[path] = _crop(photos[number], generator), labels[original]
        crops.add((original, path))
    drawn = {f"drawn-{number}.jpg": picture for number, picture in enumerate(_drawn(generator))}
    labels |= {path: str(generator.choice(classes)) for path in drawn}
    return PlantedEmbeddings(files | drawn, labels, wrong, frozenset(drawn), frozenset(crops))


def _crop(photo: Path, generator: np.random.Generator) -> bytes:
    with Image.open(photo) as image:
        width, height = round(image.width * CROP_SHARE), round(image.height * CROP_SHARE)
        left = int(generator.integers(0, image.width - width + 1))
        top = int(generator.integers(0, image.height - height + 1))
        return _encoded(image.convert("RGB").crop((left, top, left + width, top + height)))


def _drawn(generator: np.random.Generator) -> list[bytes]:
    return [_encoded(picture.convert("RGB")) for picture in itertools.islice(drawings(generator), DRAWN_IMAGES)]


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def audited(planted: PlantedEmbeddings, directory: Path) -> tuple[Path, Path]:
    """Write a data set as an archive, audit it as the pipeline does, and return both folders."""
    archive, findings = directory / "archive", directory / "findings"
    archive.mkdir(parents=True)
    with ArchiveWriter(archive, part_size_bytes=2**28) as writer:
        for path in sorted(planted.files):
            writer.add(path, planted.labels[path], planted.files[path], source_uri="planted")
        writer.close()
    audit_archive(archive, findings, directory / "audit.html", RECOMMENDED, sample_images=0, workers=0, seed=0)
    return archive, findings


def settings(**differs: float) -> EmbeddingSettings:
    """Return the pipeline's settings for the weights that come with the samples."""
    chosen = dataclasses.asdict(RECOMMENDED_SETTINGS) | {"backbone": "efficientnet_lite0", "weights": str(WEIGHTS)}
    return EmbeddingSettings(**{**chosen, **differs})


def score(planted: PlantedEmbeddings, findings: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return how many were planted, found and falsely reported, by check."""
    paths = {str(check): set(rows["path"]) for check, rows in findings.groupby("check")}
    doubted = paths.get("label_error", set())
    outliers = paths.get("embedding_outlier", set())
    pairs = _pairs(findings)
    known = {
        (first, second)
        for first, second in planted.crops
        if any({first, second} <= set(rows["path"]) for _, rows in findings.groupby("group"))
    }
    wanted = {tuple(sorted(pair)) for pair in planted.crops}
    return {
        "label_error": {
            "planted": len(planted.wrong),
            "found": len(doubted & planted.wrong),
            "false": len(doubted - planted.wrong - planted.drawn),
        },
        "embedding_outlier": {
            "planted": len(planted.drawn),
            "found": len(outliers & planted.drawn),
            "as label": len(doubted & planted.drawn),
            "false": len(outliers - planted.drawn - planted.wrong),
        },
        "semantic_duplicate": {
            "planted": len(wanted),
            "found": len(wanted & pairs) + len({pair for pair in known if tuple(sorted(pair)) not in pairs}),
            "false": len(pairs - wanted),
        },
    }


def _pairs(findings: pd.DataFrame) -> set[tuple[str, ...]]:
    found = findings[findings["check"] == "semantic_duplicate"]
    return {pair for _, rows in found.groupby("group") for pair in itertools.combinations(sorted(rows["path"]), 2)}


def ranked_first(planted: PlantedEmbeddings, findings: pd.DataFrame) -> int:
    """Return how many planted labels are among the first of the ranking, as many as were planted."""
    doubted = findings[findings["check"] == "label_error"].sort_values("measured", kind="stable")
    return len(set(doubted["path"].head(len(planted.wrong))) & planted.wrong)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.embedding_quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15])
    for name in ("outlier-deviation", "label-error-confidence", "semantic-duplicate-distance"):
        parser.add_argument(f"--{name}", type=float, help="instead of the pipeline's")
    options = parser.parse_args(arguments)
    differs = {
        name: value
        for name, value in vars(options).items()
        if name in {field.name for field in dataclasses.fields(EmbeddingSettings)} and value is not None
    }
    sums: dict[str, dict[str, int]] = {}
    first = 0
    for seed in options.seeds:
        planted = plant(seed)
        with tempfile.TemporaryDirectory() as directory:
            archive, findings = audited(planted, Path(directory))
            output = Path(directory) / "output"
            audit_archive_embeddings(archive, findings, settings(**differs), output, Path(directory) / "page.html")
            found = read_findings(output)
        first += ranked_first(planted, found)
        for check, tally in score(planted, found).items():
            print(f"seed {seed}  {check:20} {tally}", flush=True)
            total = sums.setdefault(check, dict.fromkeys(tally, 0))
            for name, value in tally.items():
                total[name] += value
    print()
    for check, tally in sums.items():
        print(f"all      {check:20} {tally}")
    print(
        f"wrong labels among the first {WRONG_LABELS} that are reported: {first} of {WRONG_LABELS * len(options.seeds)}"
    )


if __name__ == "__main__":
    main()
