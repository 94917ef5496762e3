"""The source's own labels file."""

import pytest

from components.failures import UserError
from components.formats.recorded_labels import RecordedLabels, read_recorded_labels

PATHS = ["bird/owl.jpg", "bird/1.jpg", "fish/1.jpg", "fish/cod, fresh.jpg"]


def read(text: str | bytes, wrapping_folder: str = "") -> RecordedLabels:
    data = text if isinstance(text, bytes) else text.encode()
    return read_recorded_labels(data, "labels.csv", PATHS, wrapping_folder)


@pytest.mark.parametrize(
    "text",
    [
        "path,label\nbird/owl.jpg,fish\n",
        "\ufeffpath,label\r\nbird/owl.jpg,fish\r\n",
        "id, Label ,Path\n7, fish , bird/owl.jpg \n\n",
        "path,label\nAnimals/bird/owl.jpg,fish\n",
        "path,label\n./bird/owl.jpg,fish",
        "path,label\nbird\\owl.jpg,fish",
        "filename,label\nowl.jpg,fish\n",
        "filename,label\nbird/owl.jpg,fish\n",
        "path,label\nbird/owl.jpg,fish\nbird/owl.jpg,fish\n",
        "path,label\nbird/owl.jpg,fish\nbird/1.jpg,\n",
    ],
    ids=["plain", "Excel", "columns", "wrapped", "dot", "Windows", "filename", "filename path", "repeated", "no label"],
)
def test_labels_by_path(text: str) -> None:
    assert read(text, wrapping_folder="Animals") == RecordedLabels({"bird/owl.jpg": "fish"}, 0)


def test_quoted_names() -> None:
    assert read('path,label\n"fish/cod, fresh.jpg",fish\n').labels == {"fish/cod, fresh.jpg": "fish"}


def test_rows_about_other_files_are_counted() -> None:
    assert read("path,label\nbird/owl.jpg,bird\nbird/gone.jpg,bird\n") == RecordedLabels({"bird/owl.jpg": "bird"}, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path'; its first line must be: path,label"),
        ("image,label\nbird/owl.jpg,bird\n", "no column 'path'.*found: \\['image', 'label'\\]"),
        ("path;label\nbird/owl.jpg;bird\n", "no column 'path'"),
        ("path,class\nbird/owl.jpg,bird\n", "no column 'label'"),
        ("path,label\nbird/owl.jpg,bird\nbird/1.jpg\n", "line 3 of labels.csv has too few columns"),
        ('path,label\n"bird/owl.jpg,bird\n', "not a CSV file"),
        ("path,label\nbird/\xf6wl.jpg,bird\n".encode("latin-1"), "not UTF-8"),
        ("filename,label\n1.jpg,bird\n", "names '1.jpg', and 2 images are called so; write the path"),
        ("path,label\nbird/owl.jpg,bird\nbird/owl.jpg,fish\n", "line 3 .* as 'fish', an earlier line as 'bird'"),
        ("path,label\nvogel/eule.jpg,bird\n", "none of the 1 rows of labels.csv names an image"),
    ],
)
def test_a_broken_labels_file_is_explained(text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(text)
