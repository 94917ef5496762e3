"""Labels: whether class folders make sense, and agree with what else is known."""

import pandas as pd

from components.audit.checks.registry import Thresholds, another, check, class_findings, image_findings


@check(
    "label_mismatch",
    "error",
    "Label file disagrees",
    "The source's own label file names another class than the folder.",
)
def label_mismatch(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Images whose recorded label differs from their class folder, exactly."""
    found = table[table["recorded_label"].notna() & (table["recorded_label"] != table["label"])]
    messages = [
        f"The label file says '{recorded}', the class folder says '{label}'."
        for recorded, label in zip(found["recorded_label"], found["label"], strict=True)
    ]
    return image_findings(found, messages)


@check(
    "near_empty_class",
    "warning",
    "Nearly empty classes",
    "A class has fewer than {near_empty_class_images:g} readable images.",
    measures="readable images",
)
def near_empty_class(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Classes with few readable images; the finding's path is the class folder.

    With fewer than 10 at 80/10/10, less than one is left for validation and test.
    """
    images, least = _readable_images(table), thresholds.near_empty_class_images
    found = images[images < least]
    messages = [
        f"The class has {count} readable {'image' if count == 1 else 'images'}, below {least}." for count in found
    ]
    return class_findings(found, messages, measured=found, threshold=least)


@check(
    "class_imbalance",
    "warning",
    "Class imbalance",
    "The largest class has more than {class_imbalance_ratio:g} times the readable images of a class.",
    measures="ratio to the largest class",
)
def class_imbalance(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Classes that the largest outnumbers by far; nearly empty ones are reported as that."""
    images, most = _readable_images(table), thresholds.class_imbalance_ratio
    images = images[images >= thresholds.near_empty_class_images]
    ratio = images.max() / images
    found = ratio[ratio > most]
    messages = [
        f"The class has {images[label]:,} readable images; the largest has {images.max():,}, "
        f"{value:.1f} times as many, above {most:g}."
        for label, value in found.items()
    ]
    return class_findings(found, messages, measured=found, threshold=most)


@check(
    "similar_class_names",
    "warning",
    "Class names that look alike",
    "Two class folders differ only in case, spaces or punctuation.",
)
def similar_class_names(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Class folders whose letters and digits are equal when case is ignored: one class by mistake split in two."""
    labels = pd.Series(sorted(table["label"].unique()), dtype="str")
    folded = labels.str.casefold().str.replace(r"[\W_]+", "", regex=True)
    found = labels[folded.duplicated(keep=False) & (folded != "")]
    keys = folded[found.index]
    found = found.loc[keys.sort_values(kind="stable").index]
    related = another(found, [keys])
    messages = [f"The class folder is named almost like '{other}'; are they one class?" for other in related]
    return class_findings(pd.Series(found.array, index=found.array), messages, related=related)


def _readable_images(table: pd.DataFrame) -> pd.Series:
    """Return readable images per class folder, a class with none included, sorted by name."""
    return table["error"].isna().groupby(table["label"]).sum().sort_index()
