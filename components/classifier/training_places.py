"""Whether what training keeps can be kept where it should, tried before hours of work depend on it."""

import os
from collections.abc import Iterable
from pathlib import Path

from components import storage
from components.failures import TransientError, UserError


def require_training_places(cache_directory: str, checkpoint_uri: str, outputs: Iterable[Path]) -> None:
    """Check that files can be made and deleted in both places and stay there, and leave nothing behind.

    Args:
        cache_directory: Local folder, which need not exist; empty for none.
        checkpoint_uri: ``gs://`` prefix or local folder, which need not exist; empty for none.
        outputs: Folders that are replaced, with all that lies in them, when a step succeeds. They may lie in one of the
            places: nothing is deleted there but what was kept there.

    Raises:
        UserError: Naming the parameter whose place cannot be written, or would be deleted.
        TransientError: When Cloud Storage does not answer, or a disk is full.
    """
    replaced = list(outputs)
    for name, place in (("cache_directory", cache_directory), ("checkpoint_uri", checkpoint_uri)):
        if place:
            storage.require_sound_path(name, place)
            _require_outside(name, place, replaced)
            try:
                storage.require_writable(place)
            except (UserError, TransientError) as error:
                raise type(error)(f"{name}: {error}") from error


def _require_outside(name: str, place: str, outputs: Iterable[Path]) -> None:
    # Path.resolve raises where links lead back to themselves, which is told by whoever writes there.
    for output in outputs:
        if not storage.is_remote(place) and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(output)):
            raise UserError(
                f"{name}: {place} lies in {output}, an output that is replaced when its step succeeds, with all that "
                "is in it: give another place"
            )
