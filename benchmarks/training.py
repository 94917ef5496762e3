"""Both phases of training beside the usual recipe, at equal settings on the same photos.

    python -m benchmarks.training                                    EfficientNet-Lite0 with the weights of samples/
    python -m benchmarks.training --backbone inception_v3            the product's backbone, with random weights
    python -m benchmarks.training --backbone inception_v3 --weights inception_v3_notop.h5    with those of a file
    python -m benchmarks.training --augmentation 0.5 --views 3       three augmented views of each photo
    python -m benchmarks.training --input                            only the pictures: reading and decoding them
    python -m benchmarks.training --backbone inception_v3 --images 1700 --frozen-epochs 1 --fine-tune-epochs 1

The last one is for memory: it peaks in the first epoch of a phase, and the recipe's shuffle of 1,000 images is full.

The recipe is what tutorials show: JPEG files, ``tf.image.decode_image``, ``tf.image.resize``, ``/ 255``, the whole
model in every epoch; then the last layers unfrozen, batch normalization among them too. Ours reads the shards of the
split step, which made them of the same files. Epochs, batch, learning rates, head, layers and augmentation are the
same, and so are the images that either trains on and is judged by; no split has parts of a photo that another has.

The recipe runs in a process of its own, and so does each of our steps, as in a pipeline: the larger peak counts. Of
each phase two times are printed: fitting alone, with the one pass through the frozen layers, and all of it, which here
means ours with its reports and the check of the model it saves.

Photos are parts of the samples, enlarged to the size asked for with a little noise, as JPEG.
"""

import argparse
import contextlib
import dataclasses
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd

from benchmarks.peak_memory import peak_bytes
from benchmarks.plain_fit import PLAIN_FIT
from benchmarks.split import drawn_photos, write_inputs
from components.classifier.keras_alone import import_keras_alone
from components.classifier.weights_source import RANDOM
from components.formats.splits import ASSIGNMENTS_FILE
from components.ordered_work import processors

if TYPE_CHECKING:
    from components.classifier.fit_settings import FitSettings
    from components.classifier.training_mode import ModeSettings

LITE0_WEIGHTS = Path(__file__).resolve().parent.parent / "samples" / "efficientnet_lite0" / "imagenet_float16.npz"
FROZEN_RATE, FINE_TUNE_RATE = 1e-3, 1e-5
HEAD_UNITS, DROPOUT, UNFROZEN, SEED = 512, 0.5, 30, 1
FRACTIONS = {"train": 0.7, "validation": 0.2, "test": 0.1}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What both ways are given."""

    directory: Path
    backbone: str
    weights: str
    size_px: int
    batch_size: int
    frozen_epochs: int
    fine_tune_epochs: int
    augmentation: float
    views: int
    mode: str
    recipe_scales_right: bool


@dataclasses.dataclass
class Taken:
    """What one way took, by phase where it says so."""

    fitting: dict[str, float]
    whole: dict[str, float]
    accuracy: dict[str, float]
    peak_mb: float


def prepare(directory: Path, images: int, megapixels: float, size_px: int) -> None:
    """Write the photos as files and as the splits of the split step."""
    from components.split.dataset_split import split_archive  # noqa: PLC0415
    from components.split.split_settings import SplitSettings  # noqa: PLC0415

    write_inputs(directory, drawn_photos(images, megapixels))
    settings = SplitSettings(
        fractions=FRACTIONS,
        image_size_px=size_px,
        resize_policy="stretch",
        group_pattern="",
        near_duplicate_distance=10,
        near_duplicate_correlation=0.85,
        near_duplicate_difference=0.8,
        shard_size_mib=128,
        workers=0,
        seed=SEED,
    )
    with contextlib.redirect_stdout(sys.stderr):
        split_archive(
            directory / "archive", directory / "decisions", directory / "splits", directory / "split.html", settings
        )


def files_and_labels(directory: Path, split: str) -> tuple[list[str], list[int]]:
    """Return the JPEG files of a split and their labels."""
    table = pd.read_parquet(directory / "splits" / ASSIGNMENTS_FILE)
    names = sorted(table["label"].unique())
    mine = table[table["split"] == split].sort_values("path")
    return [str(directory / "files" / path) for path in mine["path"]], [names.index(label) for label in mine["label"]]


def recipe_batches(setting: Setting, split: str) -> Any:
    """Return the recipe's input pipeline."""
    import tensorflow as tf  # noqa: PLC0415

    from components.classifier.augmentation import augment  # noqa: PLC0415
    from components.classifier.backbones import BACKBONES  # noqa: PLC0415

    backbone = BACKBONES[setting.backbone]
    scale, offset = (backbone.scale, backbone.offset) if setting.recipe_scales_right else (1 / 255.0, 0.0)

    def scaled(pixels: Any) -> Any:
        return pixels * scale + offset

    def unscaled(image: Any) -> Any:
        return (image - offset) / scale

    def load(path: Any, label: Any) -> tuple[Any, Any]:
        image = tf.image.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return scaled(tf.image.resize(image, (setting.size_px, setting.size_px))), label

    def vary(index: Any, example: tuple[Any, Any]) -> tuple[Any, Any]:
        image, label = example
        image = tf.ensure_shape(image, (setting.size_px, setting.size_px, 3))
        return scaled(augment(unscaled(image), setting.augmentation, SEED, index, 0)), label

    files, labels = files_and_labels(setting.directory, split)
    dataset = tf.data.Dataset.from_tensor_slices((files, labels)).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    if split == "train":
        if setting.augmentation:
            dataset = dataset.enumerate().map(vary, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.shuffle(1000, seed=SEED)
    return dataset.batch(setting.batch_size).prefetch(tf.data.AUTOTUNE)


def train_by_recipe(setting: Setting) -> Taken:
    """Do what tutorials do."""
    import keras  # noqa: PLC0415

    from components.classifier.backbones import BACKBONES  # noqa: PLC0415
    from components.classifier.weights import load_weights  # noqa: PLC0415

    keras.utils.set_random_seed(SEED)
    backbone = BACKBONES[setting.backbone]
    base = backbone.build(setting.size_px)
    load_weights(base, backbone, setting.weights)
    training, validation = recipe_batches(setting, "train"), recipe_batches(setting, "validation")
    classes = len(set(files_and_labels(setting.directory, "train")[1]))
    base.trainable = False
    head = [
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(HEAD_UNITS, activation="relu"),
        keras.layers.Dropout(DROPOUT),
        keras.layers.Dense(classes, activation="softmax"),
    ]
    model = keras.Sequential([base, *head])
    taken = Taken({}, {}, {}, 0.0)

    def fit(phase: str, epochs: int, rate: float) -> None:
        started = time.perf_counter()
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(training, validation_data=validation, epochs=epochs, verbose=0).history
        taken.fitting[phase] = taken.whole[phase] = time.perf_counter() - started
        taken.accuracy[phase] = history["val_accuracy"][int(np.argmin(history["val_loss"]))]

    fit("frozen", setting.frozen_epochs, FROZEN_RATE)
    base.trainable = True
    for layer in base.layers[:-UNFROZEN]:
        layer.trainable = False
    fit("fine_tune", setting.fine_tune_epochs, FINE_TUNE_RATE)
    taken.peak_mb = peak_bytes() / 1e6
    return taken


def train_ours_frozen(setting: Setting) -> Taken:
    """Run the step train_frozen but its kfp shell."""
    import_keras_alone()

    from components.train_frozen import frozen_phase, head_training  # noqa: PLC0415
    from components.train_frozen.frozen_settings import FrozenSettings  # noqa: PLC0415

    settings = FrozenSettings(
        setting.backbone,
        setting.weights,
        HEAD_UNITS,
        DROPOUT,
        setting.augmentation,
        _mode(setting),
        UNFROZEN,
        0,
        _fit(setting, setting.frozen_epochs, FROZEN_RATE),
    )
    taken = Taken({}, {}, {}, 0.0)
    frozen_phase.fit_head = _timed(taken, "frozen", head_training.fit_head)  # type: ignore[attr-defined]
    splits, model, cache = (setting.directory / name for name in ("splits", "model", "cache"))
    report = setting.directory / "frozen.html"
    return _whole_step(
        taken, "frozen", lambda: frozen_phase.train_frozen_phase(splits, settings, "", 0.0, model, cache, report)
    )


def train_ours_further(setting: Setting) -> Taken:
    """Run the step fine_tune but its kfp shell."""
    import_keras_alone()

    from components.fine_tune import fine_tune_phase  # noqa: PLC0415
    from components.fine_tune.fine_tune_settings import FineTuneSettings  # noqa: PLC0415

    fit = _fit(setting, setting.fine_tune_epochs, FINE_TUNE_RATE)
    settings = FineTuneSettings(UNFROZEN, False, setting.augmentation, _mode(setting), False, 0, fit)
    taken = Taken({}, {}, {}, 0.0)
    fine_tune_phase._measure_and_fit = _timed(taken, "fine_tune", fine_tune_phase._measure_and_fit)
    splits, model, cache, output = (setting.directory / name for name in ("splits", "model", "cache", "tuned"))
    report = setting.directory / "tuned.html"
    return _whole_step(
        taken,
        "fine_tune",
        lambda: fine_tune_phase.fine_tune_phase(splits, model, cache, settings, "", 0.0, output, report),
    )


def train_ours(setting: Setting) -> Taken:
    """Run both steps as a pipeline does, each in a process of its own."""
    taken = Taken({}, {}, {}, 0.0)
    for step in (train_ours_frozen, train_ours_further):
        of_step = alone(step, setting)
        taken.fitting |= of_step.fitting
        taken.whole |= of_step.whole
        taken.accuracy |= of_step.accuracy
        taken.peak_mb = max(taken.peak_mb, of_step.peak_mb)
    return taken


def _timed(taken: Taken, phase: str, work: Callable[..., Any]) -> Callable[..., Any]:
    def measured(*given: Any) -> Any:
        started = time.perf_counter()
        result = work(*given)
        taken.fitting[phase] = time.perf_counter() - started
        return result

    return measured


def _whole_step(taken: Taken, phase: str, work: Callable[[], dict[str, float]]) -> Taken:
    with contextlib.redirect_stdout(sys.stderr):
        started = time.perf_counter()
        taken.accuracy[phase] = work()["val_accuracy"]
        taken.whole[phase] = time.perf_counter() - started
    taken.peak_mb = peak_bytes() / 1e6
    return taken


def _mode(setting: Setting) -> "ModeSettings":
    from components.classifier.training_mode import ModeSettings  # noqa: PLC0415

    return ModeSettings(setting.mode, setting.views, "float16", 100.0, "")


def _fit(setting: Setting, epochs: int, rate: float) -> "FitSettings":
    return dataclasses.replace(PLAIN_FIT, epochs=epochs, batch_size=setting.batch_size, learning_rate=rate, seed=SEED)


def read_pictures(setting: Setting, way: str) -> list[float]:
    """Return training images a second of an input pipeline alone: of the first epoch, and of the fastest of three more.

    Args:
        setting: What to read.
        way: ``recipe``; ``encoded``, ours where decoded images have no room; ``decoded``, ours, which keeps what it
            decodes in the first epoch.
    """
    import tensorflow as tf  # noqa: PLC0415

    from components.classifier.decoded_images import DecodedImages, EncodedImages  # noqa: PLC0415
    from components.classifier.input_pipeline import Batching, in_batches, open_splits  # noqa: PLC0415

    source = open_splits(setting.directory / "splits")[1]
    batching = Batching(setting.batch_size, 1)
    list(in_batches(tf.data.Dataset.range(64), 64, batching))  # what TensorFlow sets up is of no pipeline
    seconds = []
    for epoch in range(4):
        started = time.perf_counter()
        if epoch == 0 and way != "recipe":
            pictures = (
                DecodedImages("benchmark", source, setting.directory) if way == "decoded" else EncodedImages(source)
            )
        if way == "recipe":
            batches = recipe_batches(setting, "train")
        else:
            batches = pictures.epoch_batches(batching, setting.augmentation, SEED, epoch)
        images = sum(len(labels) for _, labels in batches)
        seconds.append(time.perf_counter() - started)
    return [images / seconds[0], images / min(seconds[1:])]


def of_phases(first: float, later: float, epochs: Sequence[int]) -> float:
    """Return images a second over the epochs of all phases, each of which has a first one."""
    return sum(epochs) / sum(1 / first + (count - 1) / later for count in epochs)


def compare(setting: Setting) -> None:
    """Print what both took."""
    taken = {"recipe": alone(train_by_recipe, setting), "ours": train_ours(setting)}
    print(
        f"{setting.backbone}, {setting.size_px} px, {setting.frozen_epochs} + {setting.fine_tune_epochs} epochs, "
        f"batch {setting.batch_size}, augmentation {setting.augmentation:g}, ours {setting.mode} with {setting.views} "
        f"view(s), {processors()} processors"
    )
    for split in ("train", "validation"):
        print(f"{split}: {len(files_and_labels(setting.directory, split)[0])} images")
    print(f"{'':18} {'recipe s':>9} {'ours s':>9} {'ratio':>6}")
    for name, kind in (("fitting", "fitting"), ("whole step", "whole")):
        times = {way: getattr(result, kind) for way, result in taken.items()}
        for phase in ("frozen", "fine_tune", "both"):
            recipe, ours = (
                sum(times[way].values()) if phase == "both" else times[way][phase] for way in ("recipe", "ours")
            )
            print(f"{name + ', ' + phase:22} {recipe:5.1f} {ours:9.1f} {recipe / ours:6.2f}")
    for way, result in taken.items():
        accuracies = ", ".join(f"{phase} {value:.3f}" for phase, value in result.accuracy.items())
        print(
            f"{way}: validation accuracy at the lowest loss {accuracies}; peak memory {result.peak_mb:,.0f} MB, "
            f"{taken['recipe'].peak_mb / result.peak_mb:.2f} times less than the recipe"
        )


def alone(work: Callable[..., Any], *given: Any) -> Any:
    """Return what work returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def main() -> int:
    """Run one of the two benchmarks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="efficientnet_lite0", help="or inception_v3 (default: %(default)s)")
    parser.add_argument("--weights", help="a file of them (default: those of samples/, or random for inception_v3)")
    parser.add_argument("--images", type=int, default=96, help="photos, of all splits (default: %(default)s)")
    parser.add_argument("--megapixels", type=float, default=0.14, help="of each photo (default: %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="pixels that the model takes (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--frozen-epochs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--fine-tune-epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--augmentation", type=float, default=0.0, help="of both, 0 to 1 (default: %(default)s)")
    parser.add_argument("--views", type=int, default=1, help="in ours' cache (default: %(default)s)")
    parser.add_argument("--mode", default="cached", help="of ours: cached, streaming or auto (default: %(default)s)")
    parser.add_argument(
        "--right-scaling", action="store_true", help="scale the recipe's pixels as the backbone was trained, not / 255"
    )
    parser.add_argument("--input", action="store_true", help="measure reading and decoding alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-training-") as folder:
        directory = Path(folder)
        prepare(directory, options.images, options.megapixels, options.size)
        setting = Setting(
            directory,
            options.backbone,
            options.weights or (str(LITE0_WEIGHTS) if options.backbone == "efficientnet_lite0" else RANDOM),
            options.size,
            options.batch_size,
            options.frozen_epochs,
            options.fine_tune_epochs,
            options.augmentation,
            options.views,
            options.mode,
            options.right_scaling,
        )
        if options.input:
            print(
                f"images a second, {options.megapixels:g} MP JPEG files to {options.size} px, {processors()} processors"
            )
            epochs = (setting.frozen_epochs, setting.fine_tune_epochs)
            print(f"{'':8} {'first epoch':>11} {'ratio':>6} {'later':>6} {'ratio':>6} {'both phases':>11} {'ratio':>6}")
            speeds = {}
            for way in ("recipe", "encoded", "decoded"):
                first, later = alone(read_pictures, setting, way)
                speeds[way] = (first, later, of_phases(first, later, epochs))
            for way, of_way in speeds.items():
                cells = zip(of_way, speeds["recipe"], (11, 6, 11), strict=True)
                print(way.ljust(8), *(f"{speed:{width},.0f} {speed / base:6.2f}" for speed, base, width in cells))
        else:
            compare(setting)
    return 0


if __name__ == "__main__":
    sys.exit(main())
