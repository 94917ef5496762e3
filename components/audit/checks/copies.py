"""Copies: the same picture more than once, whatever was done to it in between."""

import pandas as pd

from components.audit.checks.conditions import readable
from components.audit.checks.registry import Thresholds, another, check, image_findings


@check("conflicting_label", "error", "Same image, different labels", "The same bytes (MD5) lie in two class folders.")
def conflicting_label(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Every member of a group of identical files that spans class folders; all share ``group``, their MD5."""
    found = readable(table).sort_values(["md5", "path"])
    found = found[found.groupby("md5")["label"].transform("nunique") > 1]
    groups = found.groupby("md5")
    in_first_label = found["label"] == groups["label"].transform("first")
    first_elsewhere = found[~in_first_label].groupby("md5")["path"].first()
    related = groups["path"].transform("first").where(~in_first_label, found["md5"].map(first_elsewhere))
    labels = groups["label"].transform(lambda names: ", ".join(f"'{name}'" for name in sorted(set(names))))
    messages = [f"The same bytes are filed under {names}; at most one can be right." for names in labels]
    return image_findings(found, messages, related=related, group=found["md5"])


@check(
    "exact_duplicate",
    "warning",
    "Exact duplicates",
    "The same bytes (MD5) occur more than once in a class.",
    measures="copies",
)
def exact_duplicate(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Every member of a group of identical files within a class; all share ``group``, their MD5."""
    found = readable(table)
    found = found[found.duplicated(["label", "md5"], keep=False)].sort_values(["label", "md5", "path"])
    keys = [found["label"], found["md5"]]
    copies = found.groupby(keys)["path"].transform("size")
    messages = [f"{count} files in this class have the same bytes." for count in copies]
    return image_findings(
        found, messages, measured=copies, threshold=1, related=another(found["path"], keys), group=found["md5"]
    )


@check(
    "identical_pixels",
    "warning",
    "Identical pixels in other bytes",
    "Images of a class have the same upright size and the same pixels, and their bytes differ: compared as they are "
    "measured, at 160 px or more, and a JPEG with a near duplicate in another format at full size.",
    measures="copies",
)
def identical_pixels(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Images stored again without loss; all members of a group share ``group``. Blank images have no pixels to share.

    What is compared is a digest of the upright size and of the upright RGB pixels as they were decoded for measuring,
    with a long side of 160 px or more: a difference that vanishes there is not seen. A JPEG and what it was stored as
    in another format differ by rounding there; such near duplicates are read a second time, see ``same_pixels``.
    """
    found = _same_pixels(table, thresholds, ["label", "pixels"])
    found = found.sort_values(["label", "pixels", "path"])
    keys = [found["label"], found["pixels"]]
    copies = found.groupby(keys)["path"].transform("size")
    messages = [f"{count} files in this class have the same pixels, not all the same bytes." for count in copies]
    return image_findings(
        found, messages, measured=copies, threshold=1, related=another(found["path"], keys), group=_pixel_group(found)
    )


@check(
    "near_duplicate",
    "warning",
    "Near duplicates",
    "Images of a class whose 64-bit DCT hashes, in any of 8 orientations and cropped a little or not, differ in at "
    "most {near_duplicate_distance} bits, while their thumbnails correlate by at least {near_duplicate_correlation:g} "
    "and, aligned and tones apart, their luma differs nowhere by more than {near_duplicate_difference:g} standard "
    "deviations and their colour by no more than 40 levels; fine detail must correlate by 0.7, colours by 0.6.",
    measures="correlation of thumbnails",
)
def near_duplicate(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Images resized, compressed again, brightened, cropped a little, mirrored or turned; see ``components.copies``.

    All members of a group share ``group``; ``measured`` is the correlation with the member that all are like, and
    ``related_path`` that member, or another where that one lies in another class.
    """
    found = table[table["near_group"].notna()]
    found = found[found.groupby(["label", "near_group"])["pixels"].transform("nunique") > 1]
    found = found.sort_values(["label", "near_group", "path"])
    elsewhere = found["near_path"].map(table.set_index("path")["label"]) != found["label"]
    related = found["near_path"].mask(elsewhere, another(found["path"], [found["label"], found["near_group"]]))
    messages = [
        f"Nearly the same picture as another of its class; their thumbnails correlate by {correlation:.3f}."
        for correlation in found["near_correlation"]
    ]
    return image_findings(
        found,
        messages,
        measured=found["near_correlation"],
        threshold=thresholds.near_duplicate_correlation,
        related=related,
        group=found["near_group"],
    )


@check(
    "near_conflicting_label",
    "error",
    "Nearly the same image, different labels",
    "Images with the same pixels, or near duplicates, lie in two class folders.",
    measures="correlation of thumbnails",
)
def near_conflicting_label(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Every member of a group of near duplicates, or of identical pixels in other bytes, that spans class folders."""
    found = readable(table)
    same_pixels = _pixel_group(found).where(found["contrast"] >= thresholds.low_contrast)
    found = found.assign(copies=found["near_group"].fillna(same_pixels)).dropna(subset="copies")
    groups = found.groupby("copies")
    found = found[(groups["label"].transform("nunique") > 1) & (groups["md5"].transform("nunique") > 1)]
    found = found.sort_values(["copies", "path"])
    groups = found.groupby("copies")
    labels = groups["label"].transform(lambda names: ", ".join(f"'{name}'" for name in sorted(set(names))))
    messages = [f"Nearly the same picture is filed under {names}; at most one can be right." for names in labels]
    return image_findings(
        found,
        messages,
        measured=found["near_correlation"].fillna(1.0),
        threshold=thresholds.near_duplicate_correlation,
        related=found["near_path"].fillna(another(found["path"], [found["copies"]])),
        group=found["copies"],
    )


def _same_pixels(table: pd.DataFrame, thresholds: Thresholds, keys: list[str]) -> pd.DataFrame:
    """Return the images whose pixels, though not whose bytes, occur more than once among those of equal ``keys``."""
    found = readable(table)
    found = found[(found["contrast"] >= thresholds.low_contrast) & found.duplicated(keys, keep=False)]
    return found[found.groupby(keys)["md5"].transform("nunique") > 1]


def _pixel_group(found: pd.DataFrame) -> pd.Series:
    return "pixels-" + found["pixels"].map("{:016x}".format).astype("str")
