"""Names of files and folders, and where the files lie."""

import pandas as pd

from components.audit import naming
from components.audit.checks.registry import Thresholds, another, check, class_findings, image_findings
from components.formats.image_formats import EXTENSIONS

OUTSIDE_CLASS_FOLDERS = "outside any class folder"
"""The reason that the archive's list of skipped files gives for a loose file."""

NOT_READ = "not read: "
"""What reasons begin with that say why a file with the name of an image is not in the archive."""


@check(
    "duplicate_filename",
    "info",
    "Same name in different folders",
    "A file name occurs in more than one folder.",
    measures="folders",
)
def duplicate_filename(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Equal file names in different folders: they collide when folders are flattened, and may be mislaid copies."""
    found = table[table.duplicated("filename", keep=False)].sort_values(["filename", "path"])
    folders = found.groupby("filename")["path"].transform("size")
    messages = [f"{count} folders hold a file of this name." for count in folders]
    related = another(found["path"], [found["filename"]])
    return image_findings(found, messages, measured=folders, threshold=1, related=related)


@check(
    "naming_inconsistency",
    "info",
    "Irregular names",
    "A name holds white space, non-ASCII or shell characters, spells its extension unlike the rest, "
    "or breaks a pattern that {naming_pattern_share:.0%} of its folder follows; a class mixes formats, or misses a few "
    "numbers of a series.",
)
def naming_inconsistency(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Irregular names of files and of class folders, and class folders that mix extensions; see ``naming``."""
    folders = table["path"].str.rpartition("/")[0].astype("str")
    problems = naming.naming_problems(table["filename"], folders, thresholds.naming_pattern_share)
    found = table[problems != ""]
    of_files = image_findings(found, [f"Irregular name: {problem}." for problem in problems[found.index]])
    problems = _class_folder_problems(table, thresholds.naming_pattern_share)
    of_classes = class_findings(problems, [f"Class folder: {problem}." for problem in problems])
    return pd.concat([of_files, of_classes])


@check("nested_folder", "info", "Nested folders", "The image lies in a folder inside its class folder.")
def nested_folder(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """The image's own folder is not the one that gives its label."""
    folders = table["path"].str.rpartition("/")[0]
    found = table[folders.str.rpartition("/")[2] != table["label"]]
    messages = [
        f"It lies in '{folder}', deeper than its class folder '{label}'."
        for folder, label in zip(folders[found.index], found["label"], strict=True)
    ]
    return image_findings(found, messages)


@check(
    "loose_file",
    "info",
    "Loose files",
    "The file lies outside every class folder, so nobody knows its class.",
    about="skipped",
)
def loose_file(skipped: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Files that ingest left out because no class folder holds them; they are in no archive."""
    found = skipped[skipped["reason"] == OUTSIDE_CLASS_FOLDERS]
    return image_findings(found, ["It lies outside every class folder and was left out."] * len(found))


@check(
    "unread_file",
    "error",
    "Files that could not be read",
    "The source names the file as an image, and its bytes cannot be had: damaged or encrypted in the ZIP file, "
    "absurdly large, a link, a name that is no text, or a second file of the same name.",
    about="skipped",
)
def unread_file(skipped: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Files that nobody could look into; they are in no archive."""
    found = skipped[skipped["reason"].str.startswith(NOT_READ)]
    reasons = found["reason"].str.removeprefix(NOT_READ)
    return image_findings(found, [f"It {reason} and was left out." for reason in reasons])


def _class_folder_problems(table: pd.DataFrame, share: float) -> pd.Series:
    labels = pd.Series(sorted(table["label"].unique()), dtype="str")
    names = naming.odd_names(labels).set_axis(labels)
    extension = naming.extensions(table["filename"]).str.lower()
    families = extension.map(EXTENSIONS).fillna(extension)
    counts = families.groupby([table["label"], families]).size().rename("files").reset_index(level=1)
    mixed = counts[counts.groupby(level=0)["files"].transform("size") > 1].sort_values(
        "files", ascending=False, kind="stable"
    )
    mixtures = (mixed["files"].astype("str") + " " + mixed.iloc[:, 0].astype("str")).groupby(level=0).agg(", ".join)
    mixtures = "its files have extensions of different formats (" + mixtures + ")"
    all_of_them = [names[names != ""], mixtures, naming.index_gaps(table["filename"], table["label"], share)]
    return pd.concat(all_of_them).groupby(level=0).agg("; ".join).sort_index()
