"""Files that cannot be decoded, by cause, and those that decode with a complaint."""

import pandas as pd

from components.audit.checks.registry import Thresholds, check, image_findings


@check(
    "unreadable",
    "error",
    "Unreadable for another reason",
    "The decoder crashed, or took longer than ten seconds.",
)
def unreadable(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Files that cannot be read for a reason that no other check names."""
    return _unreadable(table, "unreadable")


@check("truncated", "error", "Cut short", "The file ends before the image does.")
def truncated(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Files that no longer hold the end that their format demands; found by decoding, strictly, all there is."""
    return _unreadable(table, "truncated")


@check("corrupt", "error", "Damaged", "The file has its end, and a strict decoder stops before it.")
def corrupt(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Files that libjpeg-turbo, stopping at its first warning, or Pillow cannot decode whole."""
    return _unreadable(table, "corrupt")


@check("empty_file", "error", "Empty files", "The file has no bytes.")
def empty_file(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Files of zero bytes."""
    return _unreadable(table, "empty_file")


@check("not_an_image", "error", "No images", "The leading bytes are not those of an image format that is read.")
def not_an_image(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Text, web pages, archives, and images in formats that are not read, under whatever extension."""
    return _unreadable(table, "not_an_image")


@check(
    "decompression_bomb",
    "error",
    "Absurd sizes",
    "The file declares more than 89,478,485 pixels (Pillow's limit; a JPEG that can be reduced while it is read, "
    "268,435,456), or fewer that take above 0.8 GB to decode.",
)
def decompression_bomb(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Files that declare so many pixels that decoding them would take the memory of the machine; never decoded."""
    return _unreadable(table, "decompression_bomb")


@check(
    "decoder_warning",
    "warning",
    "Decoder warnings",
    "The image decodes whole, but its decoder reports stray bytes: padding, or a damaged stripe.",
)
def decoder_warning(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """JPEG files with extraneous bytes between their segments: mostly harmless, sometimes a damaged scan."""
    found = table[table["decoder_warning"].notna()]
    return image_findings(found, [f"It decodes, with a warning: {warning}." for warning in found["decoder_warning"]])


def _unreadable(table: pd.DataFrame, cause: str) -> pd.DataFrame:
    found = table[table["cause"] == cause]
    return image_findings(found, [f"Cannot be read: {error}." for error in found["error"]])
