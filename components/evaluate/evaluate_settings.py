"""What an evaluation may be asked for, checked before anything is loaded."""

from components.classifier.fit_settings import MOST_IN_BATCH, check_between
from components.failures import UserError


def check_settings(batch_size: int, label_check_images: int) -> None:
    """Raise ``UserError`` when a batch holds no image, or the labels of fewer than no image should be judged."""
    check_between("batch_size", batch_size, 1, MOST_IN_BATCH)
    if label_check_images < 0:
        raise UserError(f"label_check_images is {label_check_images}: give a number of images, 0 for none")
