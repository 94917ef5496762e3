"""How to split, and what settings make sense: a launcher checks them before a run."""

from collections.abc import Mapping
from dataclasses import dataclass

from components.failures import UserError
from components.formats.splits import RESIZE_POLICIES
from components.split.image_groups import check_group_pattern
from components.split.split_assignment import check_fractions


@dataclass(frozen=True)
class SplitSettings:
    """How to split.

    Attributes:
        fractions: Part of the images by split name, each in (0, 1), adding up to 1.
        image_size_px: Height and width of every prepared image, [16, 4096].
        resize_policy: One of ``RESIZE_POLICIES``.
        group_pattern: Ties images by their paths, see ``components.split.image_groups.pattern_groups``; may be empty.
        near_duplicate_distance: Bits in which the hashes of copies differ at most, as in the audit, [0, 11].
        near_duplicate_correlation: Least correlation of the thumbnails of copies, as in the audit, [-1, 1].
        near_duplicate_difference: Most that these differ anywhere, in standard deviations, as in the audit.
        shard_size_mib: A shard is closed once it holds this much.
        workers: Threads that prepare images, 0 for one per processor; they do not change the result.
        seed: Of the assignment and of the order within splits.
    """

    fractions: Mapping[str, float]
    image_size_px: int
    resize_policy: str
    group_pattern: str
    near_duplicate_distance: int
    near_duplicate_correlation: float
    near_duplicate_difference: float
    shard_size_mib: int
    workers: int
    seed: int


def check_settings(settings: SplitSettings) -> None:
    """Check settings before any work is done.

    Raises:
        UserError: When a setting is out of range.
    """
    check_fractions(settings.fractions)
    check_group_pattern(settings.group_pattern)
    if settings.resize_policy not in RESIZE_POLICIES:
        raise UserError(f"resize_policy is {settings.resize_policy!r}: use one of {', '.join(RESIZE_POLICIES)}")
    if not 16 <= settings.image_size_px <= 4096:
        raise UserError(f"image_size_px is {settings.image_size_px}: set it between 16 and 4096")
    if not 0 <= settings.near_duplicate_distance <= 11:
        raise UserError(f"near_duplicate_distance is {settings.near_duplicate_distance}: set it between 0 and 11")
    if not -1 <= settings.near_duplicate_correlation <= 1:
        raise UserError(f"near_duplicate_correlation is {settings.near_duplicate_correlation}: set it between -1 and 1")
    if not settings.near_duplicate_difference >= 0:
        raise UserError(f"near_duplicate_difference is {settings.near_duplicate_difference}: set it to 0 or more")
    if settings.shard_size_mib < 1:
        raise UserError(f"shard_size_mib is {settings.shard_size_mib}: set it to 1 or more")
    if settings.workers < 0:
        raise UserError(f"workers is {settings.workers}: set it to 0, for one per processor, or more")
