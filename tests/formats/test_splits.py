"""``splits.json`` comes back as it was written."""

import dataclasses
import json
from pathlib import Path

import pytest

from components.formats.source_record import SourceRecord
from components.formats.splits import SPLIT_NAMES, SPLITS_FILE, Shard, Split, Splits, read_splits, write_splits

SPLITS = Splits(
    class_names=["löwe", "狐"],
    image_size_px=256,
    resize_policy="stretch",
    seed=3,
    fractions={"train": 0.8, "validation": 0.1, "test": 0.1},
    splits={
        name: Split(
            images=3,
            images_per_class={"löwe": 1, "狐": 2},
            shards=[Shard(f"{name}-0000{n}-of-00002.tfrecord", images, "ab" * 32) for n, images in enumerate((1, 2))],
        )
        for name in SPLIT_NAMES
    },
    dataset_digest="cd" * 32,
    certificate={
        "groups": 1,
        "groups_across_splits": 0,
        "nearest": [
            {"splits": ["train", "test"], "paths": ["löwe/1.jpg", "狐/2.jpg"], "distance": 14, "correlation": 0.512},
            {"splits": ["validation", "test"], "paths": [], "distance": None, "correlation": None},
        ],
    },
    source=SourceRecord("gs://bilder/tiere.zip", "ef" * 32, 1, 1_700_000_000_000_001),
)


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_splits(SPLITS, tmp_path)
    assert read_splits(tmp_path) == SPLITS


def test_it_is_readable_json_and_always_the_same_bytes(tmp_path: Path) -> None:
    write_splits(SPLITS, tmp_path)
    first = (tmp_path / SPLITS_FILE).read_bytes()
    write_splits(read_splits(tmp_path), tmp_path)
    assert (tmp_path / SPLITS_FILE).read_bytes() == first
    assert json.loads(first)["class_names"] == ["löwe", "狐"]
    assert "狐".encode() in first


def test_splits_of_before_the_source_was_told_are_read(tmp_path: Path) -> None:
    write_splits(SPLITS, tmp_path)
    known = json.loads((tmp_path / SPLITS_FILE).read_text(encoding="utf-8"))
    del known["source"]
    (tmp_path / SPLITS_FILE).write_text(json.dumps(known), encoding="utf-8")
    assert read_splits(tmp_path) == dataclasses.replace(SPLITS, source=None)


def test_shard_paths_are_in_order(tmp_path: Path) -> None:
    expected = [tmp_path / "test-00000-of-00002.tfrecord", tmp_path / "test-00001-of-00002.tfrecord"]
    assert SPLITS.shard_paths(tmp_path, "test") == expected


def test_a_folder_without_splits_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_splits(tmp_path)
