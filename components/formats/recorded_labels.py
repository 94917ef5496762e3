"""The source's own labels: a CSV file beside the class folders, for the audit to compare the folders with.

    path,label
    bird/owl.jpg,bird

``path`` is relative to the source or to the folder around all classes. A column ``filename`` does as well, also with
bare file names as long as each names one image only.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.failures import UserError


@dataclass(frozen=True)
class RecordedLabels:
    """What a labels file says.

    Attributes:
        labels: Recorded label by image path.
        unmatched: Rows about files that are not images of the source.
    """

    labels: dict[str, str]
    unmatched: int


def read_recorded_labels(data: bytes, name: str, paths: Sequence[str], wrapping_folder: str) -> RecordedLabels:
    """Read a labels file.

    Args:
        data: UTF-8 text with a header line.
        name: The file's name, for messages.
        paths: Every image of the source.
        wrapping_folder: The folder around all classes that ``paths`` leave out, may be empty.

    Raises:
        UserError: When a column is missing, a row is malformed or ambiguous, rows contradict each other, or no row is
            about an image of the source.
    """
    known = set(paths)
    by_filename = defaultdict(list)
    for path in paths:
        by_filename[path.rpartition("/")[2]].append(path)

    labels: dict[str, str] = {}
    unmatched = 0
    for line, written, label in _rows(data, name):
        path = written.replace("\\", "/").removeprefix("./")
        stripped = path.removeprefix(f"{wrapping_folder}/") if wrapping_folder else path
        candidates = [stripped] if stripped in known else by_filename.get(path, [])
        if len(candidates) > 1:
            raise UserError(
                f"line {line} of {name} names {written!r}, and {len(candidates)} images are called so; write the path, "
                f"for example {candidates[0]!r}, or set labels_file to an empty text"
            )
        if not candidates:
            unmatched += 1
        elif label and labels.setdefault(candidates[0], label) != label:
            raise UserError(
                f"line {line} of {name} labels {written!r} as {label!r}, an earlier line as {labels[candidates[0]]!r}; "
                "keep one of the two"
            )
    if unmatched and not labels:
        raise UserError(
            f"none of the {unmatched:,} rows of {name} names an image of the source; write paths such as {paths[0]!r}"
        )
    return RecordedLabels(labels, unmatched)


def _rows(data: bytes, name: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, path and label of each row."""
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        header = [column.strip().lower() for column in next(reader, [])]
        path_column = next((header.index(column) for column in ("path", "filename") if column in header), None)
        if path_column is None:
            raise UserError(f"{name} has no column 'path'; its first line must be: path,label (found: {header})")
        if "label" not in header:
            raise UserError(f"{name} has no column 'label'; its first line must be: path,label (found: {header})")
        label_column = header.index("label")
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) <= max(path_column, label_column):
                raise UserError(f"line {reader.line_num} of {name} has too few columns; write path,label in every line")
            yield reader.line_num, row[path_column].strip(), row[label_column].strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{name} is not a CSV file: {error}; quote values that contain commas or quotes") from error
