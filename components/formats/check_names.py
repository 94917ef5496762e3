"""The names of the audit's checks: what findings carry, what cleaning policies are written in."""

from collections.abc import Mapping

CHECK_MEANINGS: Mapping[str, str] = {
    "unreadable": "the image cannot be decoded: truncated, corrupt, empty or not an image",
    "exact_duplicate": "another image of the class has the same bytes",
    "conflicting_label": "the same bytes lie in folders of different classes",
    "duplicate_filename": "another image in the dataset has the same file name",
    "label_mismatch": "the source's label file and the image's folder disagree",
    "naming_inconsistency": "the name breaks the convention of the names around it",
    "dark": "hardly any light in the image",
    "bright": "hardly anything but light in the image",
    "low_contrast": "hardly any variation in the image",
    "size_outlier": "far larger or smaller than the other images",
    "aspect_outlier": "far wider or taller than the other images",
    "tiny": "too few pixels to show its class",
    "wrong_extension": "the content is of another format than the file name says",
    "decoder_warning": "the image decodes, but its decoder reports stray bytes in the file",
    "grayscale": "no colour in the image",
    "nested_folder": "the image lies deeper than its class folder",
    "class_imbalance": "the class has far fewer images than the largest one",
    "near_empty_class": "the class has hardly any images",
    "similar_class_names": "two class folders differ only in case, spaces or punctuation",
}
"""One line for a person by check name, in the order reports list them."""
