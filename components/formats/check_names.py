"""The names of the audit's checks: what findings carry, what cleaning policies are written in."""

from collections.abc import Mapping

CHECK_MEANINGS: Mapping[str, str] = {
    "unreadable": "the image cannot be decoded, for a reason that no other check names: its decoder crashed or hung",
    "truncated": "the file ends before the image does",
    "corrupt": "the file is damaged: a strict decoder stops inside it",
    "empty_file": "the file has no bytes",
    "not_an_image": "the content is of no image format that is read",
    "decompression_bomb": "the file declares an absurd number of pixels",
    "exact_duplicate": "another image of the class has the same bytes",
    "identical_pixels": "another image of the class has the same pixels in other bytes",
    "near_duplicate": "another image of the class shows the same picture resized, edited, mirrored or turned",
    "conflicting_label": "the same bytes lie in folders of different classes",
    "near_conflicting_label": "nearly the same picture lies in folders of different classes",
    "duplicate_filename": "another image in the dataset has the same file name",
    "label_mismatch": "the source's label file and the image's folder disagree",
    "naming_inconsistency": "the name breaks the convention of the names around it",
    "dark": "hardly any light in the image",
    "bright": "hardly anything but light in the image",
    "low_contrast": "hardly any variation in the image",
    "low_information": "hardly more than a few shades in the image",
    "blurry": "no sharp edge in the image",
    "size_outlier": "far larger or smaller than the other images",
    "aspect_outlier": "far wider or taller than the other images",
    "tiny": "too few pixels to show its class",
    "wrong_extension": "the content is of another format than the file name says",
    "decoder_warning": "the image decodes, but its decoder reports stray bytes in the file",
    "exif_rotated": "the image is stored turned, and says so only in its EXIF data",
    "animated": "the file holds several frames, of which the first is used",
    "cmyk": "the colours are those of a printer, CMYK",
    "alpha": "the image has transparency",
    "sixteen_bit": "a channel has more than 8 bits",
    "palette": "the pixels are indices of a palette",
    "grayscale": "no colour in the image",
    "nested_folder": "the image lies deeper than its class folder",
    "unread_file": "the source names the file as an image, and its bytes cannot be had",
    "loose_file": "the file lies outside any class folder",
    "class_imbalance": "the class has far fewer images than the largest one",
    "near_empty_class": "the class has hardly any images",
    "similar_class_names": "two class folders differ only in case, spaces or punctuation",
    "label_error": "what the image shows looks like another class than its own",
    "semantic_duplicate": "another image shows much the same scene, cropped, from another side or a moment later",
    "embedding_outlier": "the image looks like no other image of its class",
}
"""One line for a person by check name, in the order reports list them."""

EMBEDDING_CHECKS = ("label_error", "semantic_duplicate", "embedding_outlier")
"""Those of the embedding audit, which a pipeline may leave out."""

SHOWS_NOTHING = ("dark", "bright", "low_contrast", "tiny")
"""Checks whose images have nothing in them to learn from."""
