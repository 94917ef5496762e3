"""What an evaluation may be asked for, checked before anything is loaded."""

from components.failures import UserError

_MOST_IN_BATCH = 1 << 16  # as in training


def check_settings(batch_size: int, label_check_images: int) -> None:
    """Raise ``UserError`` when a batch is out of range, or the labels of fewer than no image should be judged."""
    if not 1 <= batch_size <= _MOST_IN_BATCH:
        raise UserError(f"batch_size is {batch_size}: set it between 1 and {_MOST_IN_BATCH}")
    if label_check_images < 0:
        raise UserError(f"label_check_images is {label_check_images}: give a number of images, 0 for none")
