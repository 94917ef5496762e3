"""What an evaluation may be asked for, checked before anything is loaded."""

from components.failures import UserError


def check_settings(batch_size: int, label_check_images: int) -> None:
    """Raise ``UserError`` when a batch holds no image, or the labels of fewer than no image should be judged."""
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}: set it to at least 1")
    if label_check_images < 0:
        raise UserError(f"label_check_images is {label_check_images}: give a number of images, 0 for none")
