"""What is to be said of the model that a phase keeps."""

from collections.abc import Sequence


def chance_warning(accuracy: float, images_per_class: Sequence[int]) -> str:
    """Return a warning where a model is no better than one that names the largest class always, else nothing.

    Args:
        accuracy: On the validation images, [0, 1].
        images_per_class: Of the validation images.
    """
    largest = max(images_per_class) / sum(images_per_class)
    if not accuracy <= largest < 1.0:
        return ""
    return (
        f"validation accuracy {accuracy:.1%} is no better than the {largest:.1%} of always naming the largest class: "
        "look at the labels and at weights, lower the learning rate, or train longer"
    )
