"""Splits: TFRecord shards per split, and ``splits.json``, which says what is in them.

The folder:

    splits/
      train-00000-of-00002.tfrecord ...   see components.formats.tfrecords for the records
      validation-00000-of-00001.tfrecord
      test-00000-of-00001.tfrecord
      splits.json                         Splits
      assignments.parquet                 path, label, split, duplicate_group and pattern_group of every image kept
      test_originals.parquet              a few test images as they were, see components.formats.original_images
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from components.formats.json_records import record_of
from components.formats.source_record import SourceRecord
from components.publishing import write_json

SPLIT_NAMES = ("train", "validation", "test")
RESIZE_POLICIES = ("stretch", "crop", "pad")
"""How an image becomes a square. stretch: the whole image, its shape ignored. crop: the middle square. pad: the whole
image on black."""

SPLITS_FILE = "splits.json"
ASSIGNMENTS_FILE = "assignments.parquet"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file of a split."""

    file: str
    images: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Split:
    """One of train, validation and test."""

    images: int
    images_per_class: dict[str, int]
    shards: list[Shard]


@dataclasses.dataclass(frozen=True)
class Splits:
    """What ``splits.json`` says.

    Attributes:
        class_names: In label order: label ``i`` in a record means ``class_names[i]``.
        image_size_px: Height and width of every image.
        resize_policy: One of ``RESIZE_POLICIES``.
        seed: Seed of the assignment.
        fractions: What was asked for, by split name.
        splits: What was made, by split name.
        dataset_digest: SHA-256 over paths, labels, image digests and assignments: the identity of this data.
        certificate: Evidence that no copies cross splits. Of groups of copies of at least two images ``groups`` and
            ``images_in_groups``, of groups of the pattern ``pattern_groups`` and ``images_in_pattern_groups``;
            ``groups_across_splits``, always 0. By perceptual hash: ``copies_across_splits``, pairs of images in
            different splits whose hashes differ in at most ``copy_distance`` of ``hash_bits`` bits, whose thumbnails
            correlate by ``copy_correlation`` at least and which, aligned and tones apart, differ nowhere by more than
            ``copy_difference`` standard deviations, see ``components.copies``; ``images_without_hash``, images of one
            colour; ``left_out_comparisons``, 0 for a complete search; and ``nearest``, for each two splits their
            nearest images: ``splits``, ``paths``, ``distance``, ``correlation``, without paths and null where no two
            are as near as copies and there were too many to look further.
        source: What the images were read from; None where nobody knows.
    """

    class_names: list[str]
    image_size_px: int
    resize_policy: str
    seed: int
    fractions: dict[str, float]
    splits: dict[str, Split]
    dataset_digest: str
    certificate: dict[str, Any]
    source: SourceRecord | None = None  # splits of earlier versions do not tell

    def shard_paths(self, directory: Path, split: str) -> list[Path]:
        """Return the shard files of one split in order."""
        return [directory / shard.file for shard in self.splits[split].shards]

    def shards_digest(self, *names: str) -> str:
        """Return the SHA-256 over those of some splits' shards in order: which pixels are where.

        ``dataset_digest`` speaks of source images alone, whatever was made of them.
        """
        shards = [shard.sha256 for name in names for shard in self.splits[name].shards]
        return hashlib.sha256("".join(shards).encode()).hexdigest()


def write_splits(splits: Splits, directory: Path) -> None:
    """Write ``splits.json``."""
    write_json(directory / SPLITS_FILE, dataclasses.asdict(splits))


def read_splits(directory: Path) -> Splits:
    """Read ``splits.json``.

    Raises:
        FileNotFoundError: When the folder holds no splits.
        ValueError: When the file is not what ``write_splits`` writes.
    """
    value = json.loads((directory / SPLITS_FILE).read_text(encoding="utf-8"))
    return record_of(Splits, value, SPLITS_FILE)
