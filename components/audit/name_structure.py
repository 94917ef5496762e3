"""How a data set is laid out: its extensions, the shapes of its names, numbered series and their gaps, its nesting."""

from typing import Any

import numpy as np
import pandas as pd

from components.audit import naming
from components.formats.image_formats import EXTENSIONS

ROWS = 12
"""Of each table; the most frequent first."""

SERIES_FILES = 5
"""Fewer numbered files are no series."""

GAPS_NAMED = 8

_LONGEST_NUMBER = 9  # digits; longer ones are dates and digests, not indices


def name_structure(table: pd.DataFrame) -> dict[str, Any]:
    """Return what the names and folders of a catalog look like, as strict JSON.

    Args:
        table: The catalog with its measurements, one row per image.

    Returns:
        ``extensions`` by content, ``patterns`` (``naming.name_pattern``), numbered ``series`` with the numbers that
        are missing, ``depths`` (folders between the root and a file), and counts of names that are spelled oddly.
    """
    filenames = table["filename"]
    extensions = naming.extensions(filenames)
    return {
        "extensions": _extensions(extensions, table["format"]),
        "patterns": _patterns(filenames),
        "series": _series(filenames, table["path"].str.rpartition("/")[0].astype("str")),
        "depths": {str(depth): int(count) for depth, count in _depths(table["path"]).items()},
        "upper_case_extensions": int((extensions != extensions.str.lower()).sum()),
        "without_extension": int((extensions == "").sum()),
        "odd_names": int((naming.odd_names(filenames) != "").sum()),
    }


def _extensions(extensions: pd.Series, formats: pd.Series) -> list[dict[str, Any]]:
    both = pd.DataFrame({"extension": extensions, "content": formats.fillna("unreadable")})
    counts = both.value_counts().rename("images").reset_index()
    counts = counts.sort_values(["images", "extension", "content"], ascending=[False, True, True]).head(ROWS)
    return [
        {
            "extension": extension,
            "content": content,
            "images": int(images),
            "fits": content == "unreadable" or EXTENSIONS.get(extension.lower()) == content,
        }
        for extension, content, images in counts.itertuples(index=False)
    ]


def _patterns(filenames: pd.Series) -> list[dict[str, Any]]:
    frame = pd.DataFrame({"pattern": naming.name_pattern(filenames), "filename": filenames})
    counts = frame.groupby("pattern")["filename"].agg(["size", "min"]).reset_index()
    counts = counts.sort_values(["size", "pattern"], ascending=[False, True]).head(ROWS)
    return [
        {"pattern": pattern, "example": example, "images": int(images)}
        for pattern, images, example in counts.itertuples(index=False)
    ]


def _series(filenames: pd.Series, folders: pd.Series) -> list[dict[str, Any]]:
    stems = filenames.str.replace(r"\.[^.]*$", "", regex=True)
    parts = stems.str.extract(rf"^(?P<before>.*?)(?P<index>\d{{1,{_LONGEST_NUMBER}}})(?P<after>\D*)$")
    frame = parts.assign(folder=folders).dropna(subset="index")
    # The digits before a number too long to be an index end the part before it.
    frame = frame[~frame["before"].str.contains(r"\d$", regex=True)]
    frame["index"] = frame["index"].astype("int64")
    groups = frame.groupby(["folder", "before", "after"])["index"]
    series = groups.agg(["size", "nunique", "min", "max"]).reset_index()
    series = series[series["size"] >= SERIES_FILES]
    series["missing"] = series["max"] - series["min"] + 1 - series["nunique"]
    series = series.sort_values(["size", "folder", "before", "after"], ascending=[False, True, True, True]).head(ROWS)
    return [
        {
            "folder": row["folder"],
            "name": f"{row['before']}#{row['after']}",
            "images": int(row["size"]),
            "first": int(row["min"]),
            "last": int(row["max"]),
            "missing": int(row["missing"]),
            "gaps": _gaps(groups.get_group((row["folder"], row["before"], row["after"]))),
        }
        for _, row in series.iterrows()
    ]


def _gaps(indices: pd.Series) -> list[list[int]]:
    """Return the first gaps of a series, each as its first and last missing number."""
    present = np.unique(indices.to_numpy())
    after = np.flatnonzero(np.diff(present) > 1)[:GAPS_NAMED]
    return [[int(present[at]) + 1, int(present[at + 1]) - 1] for at in after]


def _depths(paths: pd.Series) -> pd.Series:
    return paths.str.count("/").value_counts().sort_index()
