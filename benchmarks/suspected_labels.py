"""How many wrong labels of training images does an evaluation find, by what it is that looks at them?

    python -m benchmarks.suspected_labels                          a model that knows its labels as well as it can
    python -m benchmarks.suspected_labels --choose-by validation   the model that the pipeline would keep

For each seed it moves 12 of the 77 sample photographs to a wrong class, splits them, trains both phases on
EfficientNet-Lite0, with 30 epochs of fine-tuning at 1e-4 in batches of 8, and judges the labels of the training images
by what

    tuned      the fine-tuned backbone sees, which has learned these labels
    frozen     the frozen backbone sees in the images as the split holds them, for training that streamed
    kept       train_frozen has kept: what the frozen backbone saw in the views that it trained on

Printed is how many of the planted labels that came into the training split each finds, how many others it doubts, and
how many of its most doubtful labels, as many as were planted, are planted ones. Fine-tuning keeps its best epoch, or
none: chosen by the training images themselves it is one that has learned wrong labels too.
"""

import argparse
import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd

from benchmarks.plain_fit import PLAIN_FIT
from components.classifier.fit_settings import FitSettings
from components.classifier.training_mode import ModeSettings
from components.evaluate.suspected_labels import suspect_labels
from components.fine_tune.fine_tune_phase import fine_tune_phase
from components.fine_tune.fine_tune_settings import FineTuneSettings
from components.formats.decisions import DECISION_COLUMNS, write_decisions
from components.formats.image_archive import ArchiveWriter
from components.formats.splits import ASSIGNMENTS_FILE, read_splits, write_splits
from components.formats.trained_model import read_training_record
from components.formats.training_features import TRAINING_FEATURES_FILE
from components.split.dataset_split import split_archive
from components.split.split_settings import SplitSettings
from components.train_frozen.frozen_phase import train_frozen_phase
from components.train_frozen.frozen_settings import FrozenSettings

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "samples" / "photos"
WEIGHTS = ROOT / "samples" / "efficientnet_lite0" / "imagenet_float16.npz"

WRONG_LABELS = 12
FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
WAYS = ("tuned", "frozen", "kept")


def plant(directory: Path, seed: int) -> set[str]:
    """Write the photographs as an archive and decisions that keep all; return those under a wrong class."""
    generator = np.random.default_rng(seed)
    photos = sorted(PHOTOS.glob("*/*.jpg"))
    classes = sorted({photo.parent.name for photo in photos})
    moved = set(generator.choice(len(photos), WRONG_LABELS, replace=False).tolist())
    wrong = set()
    (directory / "archive").mkdir()
    (directory / "decisions").mkdir()
    with ArchiveWriter(directory / "archive", part_size_bytes=2**28) as writer:
        for number, photo in enumerate(photos):
            path, label = photo.relative_to(PHOTOS).as_posix(), photo.parent.name
            if number in moved:
                label = str(generator.choice([name for name in classes if name != label]))
                wrong.add(path)
            writer.add(path, label, photo.read_bytes(), source_uri="planted")
        catalog = writer.close()
    decided = catalog.assign(keep=True, reasons="", kept_twin=None, duplicate_group=None)
    write_decisions(decided.astype(dict(DECISION_COLUMNS)), directory / "decisions")
    return wrong


def train(directory: Path, seed: int, options: argparse.Namespace) -> str:
    """Split and train both phases; return which epoch of which phase was kept."""
    split = SplitSettings(
        fractions=FRACTIONS,
        image_size_px=options.size_px,
        resize_policy="stretch",
        group_pattern="",
        near_duplicate_distance=8,
        near_duplicate_correlation=0.85,
        near_duplicate_difference=0.7,
        shard_size_mib=128,
        workers=0,
        seed=seed,
    )
    splits, frozen, cache = (directory / name for name in ("splits", "frozen", "cache"))
    split_archive(directory / "archive", directory / "decisions", splits, directory / "split.html", split)
    if options.choose_by == "train":
        contents = read_splits(splits)
        parts = contents.splits | {"validation": contents.splits["train"]}
        write_splits(dataclasses.replace(contents, splits=parts), splits)
    mode = ModeSettings("cached", options.views, "float16", 20.0, "")
    settings = FrozenSettings(
        "efficientnet_lite0", str(WEIGHTS), 512, 0.5, 0.5, mode, 30, 0, _fit(5, 32, 1e-3, "plateau", 0.0, seed)
    )
    train_frozen_phase(splits, settings, "", 0.0, frozen, cache, directory / "frozen.html")
    tune = FineTuneSettings(
        unfrozen_layers=30,
        train_batch_normalization=False,
        augmentation=0.5,
        mode=mode,
        export_h5=False,
        gpu_count=0,
        fit=_fit(options.epochs, 8, options.learning_rate, "cosine", 0.5, seed),
    )
    fine_tune_phase(splits, frozen, cache, tune, "", 0.0, directory / "tuned", directory / "tuned.html")
    record = read_training_record(directory / "tuned")
    return f"{record.best_phase} {record.best_epoch}, accuracy {record.best_val_accuracy:.2f}"


def _fit(
    epochs: int, batch_size: int, learning_rate: float, schedule: str, warmup_epochs: float, seed: int
) -> FitSettings:
    return dataclasses.replace(
        PLAIN_FIT,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        warmup_epochs=warmup_epochs,
        plateau_patience=2,
        seed=seed,
    )


def judge(directory: Path, way: str, wrong: set[str], seed: int) -> dict[str, int]:
    """Return how many wrong labels one way finds, and what else."""
    splits = directory / "splits"
    if way == "frozen":
        keeps_nothing = shutil.ignore_patterns(TRAINING_FEATURES_FILE)
        model = shutil.copytree(directory / "frozen", directory / "streamed", ignore=keeps_nothing)
    else:
        model = directory / {"tuned": "tuned", "kept": "frozen"}[way]
    found = suspect_labels(model, read_splits(splits), splits, most_images=20_000, batch_size=32, seed=seed)
    doubted = found.table["path"].tolist()
    return {
        "planted": len(wrong),
        "found": len(set(doubted) & wrong),
        "others": len(set(doubted) - wrong),
        "first": len(set(doubted[: len(wrong)]) & wrong),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suspected_labels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23, 24, 25])
    parser.add_argument("--epochs", type=int, default=30, help="of fine-tuning")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of fine-tuning")
    parser.add_argument("--size-px", type=int, default=224, help="of images")
    parser.add_argument("--views", type=int, default=5, help="of each training image in the cache")
    parser.add_argument("--choose-by", choices=("train", "validation"), default="train", help="which images")
    options = parser.parse_args(arguments)
    rows = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
            directory = Path(name)
            planted = plant(directory, seed)
            kept = train(directory, seed, options)
            assigned = pd.read_parquet(directory / "splits" / ASSIGNMENTS_FILE)
            wrong = planted & set(assigned.loc[assigned["split"] == "train", "path"])
            tallies = {way: judge(directory, way, wrong, seed) for way in WAYS}
        for way, tally in tallies.items():
            rows.append({"way": way, **tally})
            print(f"seed {seed}  {way:7} {tally}  model kept: {kept}", flush=True)
    sums = pd.DataFrame(rows).groupby("way", sort=False).sum()
    print(f"\n{sums.to_string()}")


if __name__ == "__main__":
    main()
