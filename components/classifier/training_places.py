"""Whether what training keeps can be kept where it should, tried before hours of work depend on it."""

from components import storage
from components.failures import TransientError, UserError


def require_training_places(cache_directory: str, checkpoint_uri: str) -> None:
    """Check that files can be made and deleted in both places, and leave nothing behind.

    Args:
        cache_directory: Local folder, which need not exist; empty for none.
        checkpoint_uri: ``gs://`` prefix or local folder, which need not exist; empty for none.

    Raises:
        UserError: Naming the parameter whose place cannot be written.
        TransientError: When Cloud Storage does not answer, or a disk is full.
    """
    for name, place in (("cache_directory", cache_directory), ("checkpoint_uri", checkpoint_uri)):
        if place:
            try:
                storage.require_writable(place)
            except (UserError, TransientError) as error:
                raise type(error)(f"{name}: {error}") from error
