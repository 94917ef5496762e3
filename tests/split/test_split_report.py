"""The page about a split: its verdict, hostile names, many classes."""

import re
from pathlib import Path
from typing import Any

import pytest

from components.formats.splits import SPLIT_NAMES, Shard, Split, Splits
from components.split.split_report import judge, judge_fractions, write_report
from tests.split.archives import drawn_photo

CERTIFICATE: dict[str, Any] = {
    "groups": 3,
    "images_in_groups": 7,
    "pattern_groups": 0,
    "images_in_pattern_groups": 0,
    "groups_across_splits": 0,
    "hash_bits": 64,
    "copy_distance": 10,
    "copy_correlation": 0.85,
    "copies_across_splits": 0,
    "images_without_hash": 0,
    "left_out_comparisons": 0,
    "nearest": [
        {"splits": ["train", "validation"], "paths": ["a/1.jpg", "a/2.jpg"], "distance": 17, "correlation": 0.4},
        {"splits": ["train", "test"], "paths": ["a/1.jpg", "b/<b>.jpg"], "distance": 14, "correlation": 0.6},
        {"splits": ["validation", "test"], "paths": [], "distance": None, "correlation": None},
    ],
}
NEAR = {"splits": ["train", "test"], "paths": ["a", "b"], "distance": 9, "correlation": 0.3}


@pytest.mark.parametrize(
    ("changes", "tone", "words"),
    [
        pytest.param({}, "good", "nearest two differ in 14 of 64 bits, those of copies in at most 10.", id="far"),
        pytest.param({"nearest": [NEAR]}, "good", "the pictures do not show the same.", id="near by chance"),
        pytest.param({"nearest": []}, "good", "No image is a copy of an image in another split.", id="unknown"),
        pytest.param({"copies_across_splits": 1}, "warn", "1 pair of images looks like copies, .* deny_list", id="one"),
        pytest.param({"copies_across_splits": 2000}, "warn", "2,000 pairs of images look like", id="many"),
        pytest.param({"left_out_comparisons": 9}, "warn", "; 9 comparisons of look-alikes were left out.", id="left"),
    ],
)
def test_the_verdict_is_one_sentence(changes: dict[str, Any], tone: str, words: str) -> None:
    verdict = judge(CERTIFICATE | changes)
    assert verdict.tone == tone
    assert re.search(words, verdict.sentence)


def splits_of(counts: dict[str, tuple[int, int, int]], **changes: Any) -> Splits:
    return Splits(
        class_names=sorted(counts),
        image_size_px=256,
        resize_policy="stretch",
        seed=1,
        fractions={"train": 0.8, "validation": 0.1, "test": 0.1},
        splits={
            name: Split(
                images=sum(of_class[column] for of_class in counts.values()),
                images_per_class={label: of_class[column] for label, of_class in counts.items()},
                shards=[Shard(f"{name}-00000-of-00001.tfrecord", 1, "ab" * 32)],
            )
            for column, name in enumerate(SPLIT_NAMES)
        },
        dataset_digest="cd" * 32,
        certificate=CERTIFICATE | changes,
    )


def page_of(directory: Path, splits: Splits, copies: list[dict[str, Any]]) -> str:
    sizes = dict.fromkeys(SPLIT_NAMES, 150_000_000)
    write_report(splits, copies, sizes, lambda path: drawn_photo(len(path)), directory / "report")
    return (directory / "report").read_text(encoding="utf-8")


def test_splits_far_from_the_fractions_are_said_with_the_reason(tmp_path: Path) -> None:
    splits = splits_of({"cat": (92, 30, 5), "dog": (92, 30, 6)}, pattern_groups=9)
    said = judge_fractions(splits)
    assert "have 184 : 60 : 11 images, far from the 204 : 26 : 26 that" in said
    assert "groups stay whole: let group_pattern make smaller groups" in said
    assert said in page_of(tmp_path, splits, [])


@pytest.mark.parametrize("counts", [{"cat": (80, 10, 10)}, {"cat": (8, 1, 1), "dog": (3, 1, 1)}, {"cat": (81, 9, 11)}])
def test_splits_near_the_fractions_need_no_words(counts: dict[str, tuple[int, int, int]]) -> None:
    assert judge_fractions(splits_of(counts)) == ""


def test_counts_deviations_and_nearest_pairs_are_said(tmp_path: Path) -> None:
    page = page_of(tmp_path, splits_of({"cat": (80, 10, 10), "dog": (12, 6, 2)}), [])
    assert "<h1>Split: 120 images in 2 classes</h1>" in page
    assert 'Class <b style="overflow-wrap:anywhere">dog</b> is farthest off, by 4.0 of 20 images' in page
    assert "<b>14</b> of 64 bits differ, correlation 0.60" in page
    assert "no two hashes differ in 10 bits or fewer" in page
    assert page.count("data:image/jpeg;base64,") == 4
    assert "150.0" in page


def test_small_deviations_are_called_that(tmp_path: Path) -> None:
    assert "Every class is less than one image off." in page_of(tmp_path, splits_of({"cat": (80, 10, 11)}), [])


def test_names_are_text_whatever_they_hold(tmp_path: Path) -> None:
    name = "<script>alert('1')</script> $x$ 狐"
    copies = [{"splits": ["train", "test"], "paths": [name, 'a\n"b'], "distance": 1, "correlation": 0.99}]
    page = page_of(tmp_path, splits_of({name: (8, 1, 1)}, copies_across_splits=1), copies)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert page.count("<script>") == 1  # the page's own


def test_many_classes_stay_a_small_page(tmp_path: Path) -> None:
    page = page_of(tmp_path, splits_of({f"class {n:05d} {'x' * 200}": (8 + n % 7, 1, 1) for n in range(5000)}), [])
    assert len(page) < 5e6
    assert "and 3,000 smaller classes" in page


def test_the_same_split_gives_the_same_page(tmp_path: Path) -> None:
    splits = splits_of({"cat": (8, 1, 1)})
    assert page_of(tmp_path, splits, []) == page_of(tmp_path, splits, [])
