"""Splits small enough to train on in a test, written in the very format the split step writes."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from components.formats.splits import SPLIT_NAMES, Shard, Split, Splits, write_splits
from components.formats.tfrecords import serialize_example

PHOTOS = Path(__file__).parents[2] / "samples" / "photos"

SHAPES = ("circle", "square", "stripes")


def write_small_splits(
    directory: Path, images: Mapping[str, Mapping[str, Sequence[Image.Image]]], size_px: int, *, shards: int = 1
) -> Splits:
    """Write splits.

    Args:
        directory: To be made.
        images: By split name and class name, classes in the same order in each.
        size_px: Height and width to resize them to.
        shards: TFRecord files of each split.
    """
    directory.mkdir(parents=True)
    class_names = list(images["train"])
    whole = hashlib.sha256()
    made = {}
    for split in SPLIT_NAMES:
        examples = []
        for label, class_name in enumerate(class_names):
            for number, image in enumerate(images[split][class_name]):
                buffer = io.BytesIO()
                image.convert("RGB").resize((size_px, size_px), Image.Resampling.BILINEAR).save(
                    buffer, "JPEG", quality=95, subsampling=0
                )
                data = buffer.getvalue()
                path = f"{class_name}/{split}-{number}.jpg"
                md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
                whole.update(f"{path} {label} {md5} {split}\n".encode())
                examples.append(serialize_example(data, label, class_name, path, md5))
        made[split] = Split(
            images=len(examples),
            images_per_class={name: len(images[split][name]) for name in class_names},
            shards=[_write_shard(directory, split, number, shards, examples) for number in range(shards)],
        )
    splits = Splits(
        class_names=class_names,
        image_size_px=size_px,
        resize_policy="stretch",
        seed=0,
        fractions={"train": 0.6, "validation": 0.2, "test": 0.2},
        splits=made,
        dataset_digest=whole.hexdigest(),
        certificate={"groups": 0, "groups_across_splits": 0},
    )
    write_splits(splits, directory)
    return splits


def _write_shard(directory: Path, split: str, number: int, shards: int, examples: list[bytes]) -> Shard:
    mine = examples[number::shards]
    file = f"{split}-{number:05d}-of-{shards:05d}.tfrecord"
    with tf.io.TFRecordWriter(str(directory / file)) as writer:
        for example in mine:
            writer.write(example)
    return Shard(file, len(mine), hashlib.sha256((directory / file).read_bytes()).hexdigest())


def draw_shape(shape: str, random: np.random.Generator) -> Image.Image:
    """Draw one shape in a random colour and place on a random background, 128 px."""
    image = Image.new("RGB", (128, 128), tuple(random.integers(0, 90, 3).tolist()))
    draw = ImageDraw.Draw(image)
    colour = tuple(random.integers(140, 256, 3).tolist())
    left, top = random.integers(5, 45, 2).tolist()
    box = (left, top, left + 70, top + 70)
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "square":
        draw.rectangle(box, fill=colour)
    else:
        for offset in range(0, 128, 16):
            draw.line((0, offset, 128, offset), fill=colour, width=6)
    return image


def drawn_shapes(counts: Mapping[str, int], seed: int) -> dict[str, dict[str, list[Image.Image]]]:
    """Return images of ``SHAPES`` by split and class, ``counts`` of each class by split."""
    random = np.random.default_rng(seed)
    return {
        split: {shape: [draw_shape(shape, random) for _ in range(count)] for shape in SHAPES}
        for split, count in counts.items()
    }


def sample_photos(seed: int) -> dict[str, dict[str, list[Image.Image]]]:
    """Return the sample photographs, 60/20/20 within each class, by split and class."""
    random = np.random.default_rng(seed)
    images: dict[str, dict[str, list[Image.Image]]] = {split: {} for split in SPLIT_NAMES}
    for folder in sorted(path for path in PHOTOS.iterdir() if path.is_dir()):
        paths = sorted(folder.glob("*.jpg"))
        order = [paths[position] for position in random.permutation(len(paths))]
        held_out = round(0.2 * len(paths))
        parts = (order[2 * held_out :], order[:held_out], order[held_out : 2 * held_out])
        for split, part in zip(SPLIT_NAMES, parts, strict=True):
            images[split][folder.name] = [Image.open(path) for path in part]
    return images
