"""File and folder names: what in them breaks scripts, or breaks the pattern that the other names follow."""

import pandas as pd

from components.formats.image_formats import EXTENSIONS

PATTERN_FILES = 20
"""A folder with fewer files has no pattern worth the name."""

GAPS_SHOWN = 5
"""Missing numbers that are listed."""

# (regular expression, what a name that matches it contains); plain names use letters, digits and . _ - + = , @
_ODD = (
    (r"\s", "white space"),
    (r"[^\x00-\x7f]", "letters outside ASCII"),
    (r"[^\w\s.+=,@-]", "characters that shells treat specially"),
    (r"^-", "a leading hyphen"),
)


def odd_names(names: pd.Series) -> pd.Series:
    """Say for each name what it contains that scripts trip over; empty for a plain name."""
    reasons = pd.Series("", index=names.index)
    for expression, contains in _ODD:
        reasons = _add_reason(reasons, names.str.contains(expression, regex=True), contains)
    return reasons.where(reasons == "", "its name contains " + reasons)


def extensions(filenames: pd.Series) -> pd.Series:
    """Return each file name's extension as it is written, with the dot; empty when it has none."""
    return filenames.str.extract(r"[^.](\.[^.]*)$", expand=False).fillna("")


def minority_spellings(filenames: pd.Series) -> pd.Series:
    """Say which names spell their format's extension other than most do (``.JPG`` among ``.jpg``)."""
    extension = extensions(filenames)
    family = extension.str.lower().map(EXTENSIONS).astype("str")
    counts = pd.DataFrame({"extension": extension, "family": family}).dropna().value_counts().reset_index()
    # Ties go to the spelling that sorts last: lower case, and .jpg rather than .jpeg.
    usual = counts.sort_values(["count", "extension"]).groupby("family")["extension"].last()
    expected = family.map(usual).astype("str")
    odd = expected.notna() & (expected != extension)
    reasons = pd.Series("", index=filenames.index)
    return reasons.where(~odd, "its extension is " + extension + " where most files have " + expected)


def name_pattern(filenames: pd.Series) -> pd.Series:
    """Return the shape of each name: ``IMG_0417.jpg`` is ``A_9``, ``fish12.jpg`` ``a9``, ``Red-fox.jpg`` ``Aa-a``."""
    shapes = filenames.str.replace(r"\.[^.]*$", "", regex=True)
    for expression, sign in ((r"\d+", "9"), (r"[a-z]+", "a"), (r"[A-Z]+", "A")):
        shapes = shapes.str.replace(expression, sign, regex=True)
    return shapes


def pattern_breakers(filenames: pd.Series, folders: pd.Series, share: float) -> pd.Series:
    """Say which names break the pattern that at least this share of their folder's files follows."""
    frame = pd.DataFrame({"folder": folders, "pattern": name_pattern(filenames), "filename": filenames})
    counts = frame.groupby(["folder", "pattern"])["filename"].agg(["size", "min"]).reset_index()
    counts["files"] = counts.groupby("folder")["size"].transform("sum")
    usual = counts[(counts["files"] >= PATTERN_FILES) & (counts["size"] >= share * counts["files"])]
    usual = usual.set_index("folder")
    expected = folders.map(usual["pattern"])
    breaks = expected.notna() & (expected != frame["pattern"])
    reasons = pd.Series("", index=filenames.index)
    shares = (folders.map(usual["size"]) / folders.map(usual["files"])).map("{:.0%}".format)
    return reasons.where(
        ~breaks,
        shares
        + " of the names in its folder look like "
        + folders.map(usual["min"]).astype("str")
        + ", this one does not",
    )


def index_gaps(filenames: pd.Series, classes: pd.Series, share: float) -> pd.Series:
    """Say of each class which numbers are missing from its numbered files, ``fish1.jpg``, ``fish2.jpg``, ``fish4.jpg``.

    A class counts as numbered when at least ``PATTERN_FILES`` of its names differ in their last number alone, and at
    least this share of the numbers from the lowest to the highest are there: files are missing, not spread.

    Returns:
        A clause by class, of classes with gaps, sorted.
    """
    parts = filenames.str.extract(r"^(?P<stem>.*?)(?P<number>\d{1,9})(?P<rest>\D*)$")
    frame = parts.assign(label=classes)[parts["number"].notna()]
    frame = frame.assign(digits=frame["number"].str.len(), number=frame["number"].astype("int64"))
    frame = frame.drop_duplicates(["label", "stem", "number"])
    # The fewest digits in a series are those that its numbers are filled up to with zeros.
    series = frame.groupby(["label", "stem"]).agg(
        size=("number", "size"), min=("number", "min"), max=("number", "max"), digits=("digits", "min")
    )
    series = series.reset_index()
    spans = series["max"] - series["min"] + 1
    gapped = series[(series["size"] >= PATTERN_FILES) & (series["size"] < spans)]
    gapped = gapped[gapped["size"] >= share * spans[gapped.index]]
    clauses: dict[str, str] = {}
    for label, stem, size, lowest, highest, digits in gapped.itertuples(index=False):
        there = set(frame.loc[(frame["label"] == label) & (frame["stem"] == stem), "number"])
        missing = [number for number in range(lowest, highest + 1) if number not in there]
        shown = ", ".join(f"{number:0{digits}}" for number in missing[:GAPS_SHOWN])
        more = f" and {len(missing) - GAPS_SHOWN:,} more" if len(missing) > GAPS_SHOWN else ""
        clause = f"of its {size:,} files numbered {stem}{lowest:0{digits}} to {stem}{highest:0{digits}}, {shown}{more} "
        clause += "is missing" if len(missing) == 1 else "are missing"
        clauses[label] = f"{clauses[label]}; {clause}" if label in clauses else clause
    return pd.Series(clauses, dtype="str").sort_index()


def naming_problems(filenames: pd.Series, folders: pd.Series, share: float) -> pd.Series:
    """Say for each file everything that is irregular about its name, as one clause; empty for a regular name.

    Args:
        filenames: Without folders.
        folders: Of each file.
        share: What this share of a folder's names looks like is its pattern.
    """
    problems = odd_names(filenames)
    for further in (minority_spellings(filenames), pattern_breakers(filenames, folders, share)):
        problems = _joined(problems, further, "; ")
    return problems


def _add_reason(reasons: pd.Series, applies: pd.Series, reason: str) -> pd.Series:
    return _joined(reasons, pd.Series("", index=reasons.index).where(~applies, reason), " and ")


def _joined(first: pd.Series, second: pd.Series, separator: str) -> pd.Series:
    both = (first != "") & (second != "")
    return first + pd.Series("", index=first.index).where(~both, separator) + second
