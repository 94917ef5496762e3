"""Whether a phase trains on activations computed once or on pixels, and why. Without TensorFlow, see fit_settings."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from components.classifier.fit_settings import AUTO, check_between, check_choice
from components.classifier.resumed_choice import CHOSEN_EARLIER, begun_with
from components.failures import TransientError, UserError

CACHED, STREAMING = "cached", "streaming"
TRAINING_MODES = (AUTO, CACHED, STREAMING)
CACHE_PRECISIONS = ("float16", "float32")

_MOST_VIEWS = 10_000  # 1.8 GB of each image
_BYTES_PER_GB = 1e9
_SPARED_SHARE = 0.1  # of the free disk, for all else that a step writes


@dataclasses.dataclass(frozen=True)
class ModeSettings:
    """How a phase gets at what its frozen layers give.

    Attributes:
        training_mode: ``cached``: computed once for each view of an image, and kept on disk. ``streaming``: computed
            again in each epoch, which has a view of its own. ``auto``: whichever is cheaper and fits the disk.
        augmented_views: Views of each training image in a cache, 1 to 10,000; epoch e sees view e modulo it.
        cache_precision: ``float16``, half the disk, or ``float32``, which gives the very weights of streaming.
        cache_limit_gb: Most that what a cache lacks may take, 10**9 bytes before compression.
        cache_directory: Local folder that keeps caches, for reruns to find; empty: beside the step's outputs.
    """

    training_mode: str
    augmented_views: int
    cache_precision: str
    cache_limit_gb: float
    cache_directory: str

    def as_record(self, mode: "Mode", epochs: int, augmentation: float) -> dict[str, str | int]:
        """Return what of it decided the result, by name: views and their precision where there was a cache."""
        record: dict[str, str | int] = {"training_mode": mode.name}
        if not mode.cached:
            return record
        views = self.views(epochs, augmentation)
        return {**record, "augmented_views": views, "cache_precision": self.cache_precision}

    def possible_modes(self) -> "list[Mode]":
        """Return what training may come to."""
        if self.training_mode == AUTO:
            return [Mode(True, CHOSEN_EARLIER), Mode(False, CHOSEN_EARLIER)]
        return [Mode(self.training_mode == CACHED, "as asked for")]

    def views(self, epochs: int, augmentation: float) -> int:
        """Return how many views a cache holds: without augmentation all are the same, and none waits for no epoch."""
        return min(self.augmented_views, epochs) if augmentation > 0.0 else 1


@dataclasses.dataclass(frozen=True)
class Mode:
    """What was chosen, and why."""

    cached: bool
    reason: str

    @property
    def name(self) -> str:
        """``cached`` or ``streaming``."""
        return CACHED if self.cached else STREAMING


def check_mode_settings(settings: ModeSettings) -> None:
    """Check values.

    Raises:
        UserError: Naming the parameter, its value and what it can be.
    """
    check_choice("training_mode", settings.training_mode, TRAINING_MODES)
    check_choice("cache_precision", settings.cache_precision, CACHE_PRECISIONS)
    check_between("augmented_views", settings.augmented_views, 1, _MOST_VIEWS)
    if not settings.cache_limit_gb > 0.0:
        raise UserError(f"cache_limit_gb is {settings.cache_limit_gb}: set it above 0")
    if "://" in settings.cache_directory:
        raise UserError(f"cache_directory is {settings.cache_directory}: give a local folder, or leave it empty")


def choose_mode(settings: ModeSettings, missing_bytes: int, folder: Path, *, worthless: str = "") -> Mode:
    """Choose between a cache and streaming.

    Args:
        settings: What is asked for.
        missing_bytes: Most that is still to be written, before compression.
        folder: Where it would be written; need not exist.
        worthless: Why a cache would save nothing; empty when it would.

    Raises:
        UserError: When a cache is asked for that may not be as large as it would be.
    """
    if settings.training_mode == STREAMING:
        return Mode(False, "as asked for")
    need, limit = missing_bytes / _BYTES_PER_GB, settings.cache_limit_gb
    size = f"{size_in_words(missing_bytes)} before compression" if missing_bytes else "nothing more to compute"
    if need > limit:
        too_large = f"the cache would take {size} and cache_limit_gb is {limit:g}"
        if settings.training_mode == CACHED:
            raise UserError(f"{too_large}: raise it, set fewer augmented_views, or set training_mode to streaming")
        return Mode(False, too_large)
    if settings.training_mode == CACHED:
        return Mode(True, f"as asked for; {size}")
    if worthless:
        return Mode(False, worthless)
    free = _spare_gb(folder)
    if need > free:
        return Mode(False, f"the cache would take {size} and {folder} has {free:.3g} GB to spare")
    return Mode(True, f"{size}, within cache_limit_gb {limit:g} and the {free:.3g} GB that {folder} has to spare")


def resumed_mode(
    settings: ModeSettings,
    chosen: Mode,
    finished_epochs: Callable[[Mode], int | None],
    missing_bytes: Callable[[int], int],
    folder: Path,
) -> Mode:
    """Return the mode that an earlier attempt trained in, if it left a checkpoint in that mode alone, else the chosen.

    The modes train on other views, or on values that are rounded otherwise. What ``auto`` chooses hangs on the disk and
    on what is cached there, see ``resumed_choice``.

    Args:
        settings: What is asked for.
        chosen: What ``choose_mode`` returned for it.
        finished_epochs: Says how many epochs the newest checkpoint of a mode has behind it; None when there is none.
        missing_bytes: Says how much is still to be written to go on after so many epochs, before compression.
        folder: Where it would be written; need not exist.

    Raises:
        UserError: When training went on in a cache that may not be as large as it would be now.
        TransientError: When the disk has no room for it; another node's may have.
    """
    if settings.training_mode != AUTO:
        return chosen
    others = [mode for mode in settings.possible_modes() if mode.cached != chosen.cached]
    begun_in = begun_with(chosen, others, lambda mode: finished_epochs(mode) is not None)
    if begun_in is chosen or not begun_in.cached:
        return begun_in
    missing = missing_bytes(finished_epochs(begun_in) or 0)
    need, limit = missing / _BYTES_PER_GB, settings.cache_limit_gb
    begun = (
        f"an earlier attempt left a checkpoint of training mode {CACHED}, which needs {size_in_words(missing)} to go on"
    )
    anew = f"or set training_mode to {STREAMING} to begin anew"
    if need > limit:
        raise UserError(f"{begun}, and cache_limit_gb is {limit:g}: raise it, {anew}")
    free = _spare_gb(folder)
    if need > free:
        raise TransientError(
            f"{begun}, and {folder} has {free:.3g} GB to spare: give the step more ephemeral storage, {anew}"
        )
    return begun_in


def why_no_room(settings: ModeSettings, needed_bytes: int, folder: Path) -> str:
    """Return why what training would like to keep on disk does not fit; empty when it does."""
    need, free = needed_bytes / _BYTES_PER_GB, _spare_gb(folder)
    if need > settings.cache_limit_gb:
        return f"they would take {size_in_words(needed_bytes)} and cache_limit_gb is {settings.cache_limit_gb:g}"
    return (
        f"they would take {size_in_words(needed_bytes)} and {folder} has {free:.3g} GB to spare" if need > free else ""
    )


def size_in_words(size_bytes: int) -> str:
    """Return a size in the unit that suits it.

    >>> size_in_words(30_000), size_in_words(2_500_000_000)
    ('30 kB', '2.5 GB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= size:
            value = size_bytes / size
            return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{size_bytes} bytes"


def free_bytes(folder: Path) -> int:
    """Return how much room the disk of a folder has, which need not exist yet."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def _spare_gb(folder: Path) -> float:
    return free_bytes(folder) * (1.0 - _SPARED_SHARE) / _BYTES_PER_GB
