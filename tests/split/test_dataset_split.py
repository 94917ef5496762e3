"""A cleaned archive becomes shards that hold every kept image once, and files that say so."""

import hashlib
import io
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from kfp import dsl
from PIL import Image

from components.failures import UserError
from components.formats.image_archive import SUMMARY_FILE, read_catalog
from components.formats.source_record import SourceRecord
from components.formats.splits import ASSIGNMENTS_FILE, SPLIT_NAMES, read_splits
from components.formats.tfrecords import parse_example
from components.publishing import write_json
from components.split.component import split
from components.split.dataset_split import split_archive
from components.split.split_settings import SplitSettings
from tests.split.archives import decide, drawn_files, drawn_photo, write_archive

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def settings(**changes: Any) -> SplitSettings:
    usual: dict[str, Any] = {
        "fractions": FRACTIONS,
        "image_size_px": 32,
        "resize_policy": "stretch",
        "group_pattern": "",
        "near_duplicate_distance": 10,
        "near_duplicate_correlation": 0.85,
        "near_duplicate_difference": 0.8,
        "shard_size_mib": 1,
        "workers": 2,
        "seed": 7,
    }
    return SplitSettings(**usual | changes)


def examples(directory: Path, name: str) -> list[dict[str, Any]]:
    paths = [str(path) for path in read_splits(directory).shard_paths(directory, name)]
    return [
        {feature: value.numpy() for feature, value in parse_example(record).items()}
        for record in tf.data.TFRecordDataset(paths)
    ]


def tree(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture
def files() -> dict[str, bytes]:
    """Two classes; ``cat`` has a photo that lies there three times."""
    files = drawn_files({"cat": 10, "dog": 20})
    return files | {f"cat/copy-{number}.jpg": files["cat/000.jpg"] for number in (1, 2)}


def test_every_kept_image_is_in_one_split_with_its_label(tmp_path: Path, files: dict[str, bytes]) -> None:
    archive, decisions = write_archive(tmp_path, files)
    decide(decisions, read_catalog(archive), dropped=["dog/003.jpg", "dog/004.jpg"])
    counts = split_archive(archive, decisions, tmp_path / "splits", tmp_path / "report.html", settings())

    made = read_splits(tmp_path / "splits")
    assert made.class_names == ["cat", "dog"]
    assert (made.image_size_px, made.resize_policy, made.seed, made.fractions) == (32, "stretch", 7, FRACTIONS)
    seen: list[str] = []
    for name in SPLIT_NAMES:
        found = examples(tmp_path / "splits", name)
        assert len(found) == made.splits[name].images == counts[f"{name}_images"]
        assert Counter(row["class_name"].decode() for row in found) == made.splits[name].images_per_class
        for row in found:
            path = row["path"].decode()
            seen.append(path)
            assert made.class_names[row["label"]] == row["class_name"].decode() == path.split("/")[0]
            assert row["md5"].decode() == hashlib.md5(files[path], usedforsecurity=False).hexdigest()
    assert sorted(seen) == sorted(set(files) - {"dog/003.jpg", "dog/004.jpg"})
    assert made.splits["train"].images_per_class["dog"] == 11
    assert counts == {
        "images": 30,
        "train_images": made.splits["train"].images,
        "validation_images": made.splits["validation"].images,
        "test_images": made.splits["test"].images,
        "classes": 2,
        "shards": 3,
        "groups_of_copies": 1,
        "groups_of_pattern": 0,
        "groups_across_splits": 0,
        "copies_across_splits": 0,
    }


def test_the_pixels_are_those_of_the_image_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    archive, decisions = write_archive(tmp_path, files)
    split_archive(archive, decisions, tmp_path / "splits", tmp_path / "report.html", settings())
    for row in examples(tmp_path / "splits", "test"):
        with Image.open(io.BytesIO(files[row["path"].decode()])) as original:
            expected = np.asarray(original.resize((32, 32), Image.Resampling.BILINEAR)).astype(float)
        assert np.abs(tf.io.decode_jpeg(row["image"]).numpy() - expected).mean() < 4


def test_what_the_archive_was_made_from_goes_on(tmp_path: Path, files: dict[str, bytes]) -> None:
    archive, decisions = write_archive(tmp_path, files)
    summary = {"source": "gs://b/a.zip", "kind": "zip", "fingerprint": "ab" * 32, "objects_total": 1}
    write_json(archive / SUMMARY_FILE, summary | {"objects": [{"uri": "gs://b/a.zip", "generation": 17}]})
    split_archive(archive, decisions, tmp_path / "splits", tmp_path / "report.html", settings())
    assert read_splits(tmp_path / "splits").source == SourceRecord("gs://b/a.zip", "ab" * 32, 1, 17)


@pytest.mark.parametrize("damaged", ["{", "{}"])
def test_an_archive_whose_summary_is_damaged_is_refused(damaged: str, tmp_path: Path, files: dict[str, bytes]) -> None:
    archive, decisions = write_archive(tmp_path, files)
    (archive / SUMMARY_FILE).write_text(damaged)
    with pytest.raises(UserError, match="the archive does not say where it came from"):
        split_archive(archive, decisions, tmp_path / "splits", tmp_path / "report.html", settings())


def test_assignments_and_certificate_agree_with_the_shards(tmp_path: Path, files: dict[str, bytes]) -> None:
    archive, decisions = write_archive(tmp_path, files)
    split_archive(archive, decisions, tmp_path / "splits", tmp_path / "report.html", settings())
    assignments = pd.read_parquet(tmp_path / "splits" / ASSIGNMENTS_FILE)
    assert list(assignments.columns) == ["path", "label", "split", "duplicate_group", "pattern_group"]
    assert list(assignments["path"]) == list(files)
    for name in SPLIT_NAMES:
        in_shards = {row["path"].decode() for row in examples(tmp_path / "splits", name)}
        assert in_shards == set(assignments.loc[assignments["split"] == name, "path"])
    copies = assignments[assignments["duplicate_group"].notna()]
    assert sorted(copies["path"]) == ["cat/000.jpg", "cat/copy-1.jpg", "cat/copy-2.jpg"]
    assert copies["split"].nunique() == 1
    certificate = read_splits(tmp_path / "splits").certificate
    assert certificate | {"groups": 1, "images_in_groups": 3, "groups_across_splits": 0} == certificate


def test_classes_are_mixed_within_a_split(tmp_path: Path) -> None:
    archive, decisions = write_archive(tmp_path, drawn_files({"cat": 30, "dog": 30}))
    split_archive(archive, decisions, tmp_path / "splits", tmp_path / "report.html", settings())
    labels = [int(row["label"]) for row in examples(tmp_path / "splits", "train")]
    changes = sum(left != right for left, right in itertools.pairwise(labels))
    assert changes > 8  # of 35; sorted by class it would be 1, at random about 17


def test_threads_and_leftovers_do_not_change_a_byte(tmp_path: Path, files: dict[str, bytes]) -> None:
    archive, decisions = write_archive(tmp_path, files)
    split_archive(archive, decisions, tmp_path / "one", tmp_path / "report.html", settings(workers=1))
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "train-00000-of-00009.tfrecord").write_bytes(b"of an earlier attempt")
    (tmp_path / ".two.partial").mkdir()
    split_archive(archive, decisions, tmp_path / "two", tmp_path / "report.html", settings(workers=5))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_the_digest_is_of_the_data_and_its_assignment(tmp_path: Path, files: dict[str, bytes]) -> None:
    archive, decisions = write_archive(tmp_path, files)
    changed = write_archive(tmp_path / "changed", files | {"dog/000.jpg": drawn_photo(999)})
    reordered = write_archive(tmp_path / "reordered", dict(reversed(files.items())))
    digests = []
    variants: list[tuple[tuple[Path, Path], dict[str, Any]]] = [
        ((archive, decisions), {}),
        ((archive, decisions), {"shard_size_mib": 2, "workers": 1, "resize_policy": "pad"}),
        (reordered, {}),
        ((archive, decisions), {"seed": 8}),
        (changed, {}),
    ]
    for number, (folders, changes) in enumerate(variants):
        output = tmp_path / f"splits-{number}"
        split_archive(*folders, output, tmp_path / "report.html", settings(**changes))
        digests.append(read_splits(output).dataset_digest)
    assert digests[0] == digests[1] == digests[2]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"fractions": FRACTIONS | {"test": 0.3}}, "fractions add up to 1.1", id="fractions"),
        pytest.param({"resize_policy": "squash"}, "'squash': use one of stretch, crop, pad", id="policy"),
        pytest.param({"group_pattern": "("}, r"group_pattern '\(' is no regular expression", id="pattern"),
        pytest.param({"image_size_px": 0}, "image_size_px is 0", id="size"),
        pytest.param({"shard_size_mib": 0}, "shard_size_mib is 0", id="shard size"),
        pytest.param({"near_duplicate_difference": -1}, "near_duplicate_difference is -1", id="difference"),
        pytest.param({"workers": -1}, "workers is -1", id="workers"),
    ],
)
def test_bad_settings_are_refused_before_any_work(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_archive(
            tmp_path / "nowhere",
            tmp_path / "nowhere",
            tmp_path / "splits",
            tmp_path / "report.html",
            settings(**changes),
        )


def test_an_image_that_cannot_be_decoded_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    files = drawn_files({"cat": 5, "dog": 5})
    archive, decisions = write_archive(tmp_path, files | {"dog/bad.jpg": drawn_photo(1)[:-200]})
    with pytest.raises(UserError, match=r"'dog/bad.jpg' cannot be decoded .*: name it in clean's deny_list"):
        split_archive(archive, decisions, tmp_path / "splits", tmp_path / "report.html", settings())
    assert not (tmp_path / "splits").exists()
    assert not (tmp_path / ".splits.partial").exists()


def test_decisions_of_another_archive_are_refused(tmp_path: Path) -> None:
    archive, _ = write_archive(tmp_path / "one", drawn_files({"cat": 5, "dog": 5}))
    # A file more in front, so the same number of parts but other bytes at each offset.
    more = {"ant/000.jpg": drawn_photo(77), "ant/1.jpg": drawn_photo(78), "ant/2.jpg": drawn_photo(79)}
    _, decisions = write_archive(tmp_path / "two", more | drawn_files({"cat": 5, "dog": 5}))
    with pytest.raises(UserError, match="split the archive the decisions are about|no part-"):
        split_archive(archive, decisions, tmp_path / "splits", tmp_path / "report.html", settings())
    (archive / "part-00000.tar").unlink()
    with pytest.raises(UserError, match="the archive has no part-00000.tar"):
        split_archive(archive, decisions, tmp_path / "splits", tmp_path / "report.html", settings())


def run_split(directory: Path, archive: Path, decisions: Path, **changes: Any) -> dict[str, Any]:
    metrics = dsl.Metrics(name="metrics", uri=str(directory / "metrics"), metadata={})
    parameters: dict[str, Any] = {
        "train_fraction": 0.6,
        "validation_fraction": 0.2,
        "test_fraction": 0.2,
        "image_size_px": 32,
        "resize_policy": "crop",
        "group_pattern": "",
        "near_duplicate_distance": 10,
        "near_duplicate_correlation": 0.85,
        "near_duplicate_difference": 0.8,
        "shard_size_mib": 1,
        "workers": 0,
        "seed": 1,
    }
    split.python_func(
        archive=dsl.Dataset(name="archive", uri=str(archive), metadata={}),
        decisions=dsl.Dataset(name="decisions", uri=str(decisions), metadata={}),
        splits=dsl.Dataset(name="splits", uri=str(directory / "splits"), metadata={}),
        report=dsl.HTML(name="report", uri=str(directory / "report.html"), metadata={}),
        metrics=metrics,
        **parameters | changes,
    )
    return metrics.metadata


def test_the_component_splits_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, decisions = write_archive(tmp_path, drawn_files({"cat": 10, "dog": 15}))
    metrics = run_split(tmp_path, archive, decisions)
    assert metrics["images"] == 25
    assert (metrics["train_images"], metrics["validation_images"], metrics["test_images"]) == (15, 5, 5)
    assert metrics["groups_across_splits"] == 0
    progress, verdict = capsys.readouterr().out.splitlines()[-2:]
    assert progress.startswith("split: 25 of 25 images, ")
    assert verdict.startswith("split: No image is a copy of an image in another split")
    assert metrics["copies_across_splits"] == 0
    assert "<h1>Split: 25 images in 2 classes</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_component_ends_with_one_sentence_for_a_small_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, decisions = write_archive(tmp_path, drawn_files({"cat": 10, "lynx": 2}))
    with pytest.raises(SystemExit) as ended:
        run_split(tmp_path, archive, decisions)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "split: error: class 'lynx' has 2 images after cleaning; a split into train, validation and test needs at "
        "least 3: add photos or remove the class folder\n"
    )
