"""Which files are images of which class."""

import pytest

from components.failures import UserError
from components.ingest.class_folders import ClassFolders, find_class_folders


def find(*names: str, labels_file: str = "labels.csv") -> ClassFolders:
    return find_class_folders("Animals.zip", names, labels_file)


def test_the_class_is_the_folder() -> None:
    folders = find("fish/cod.jpg", "bird/owl.jpg", "bird/tit.png")
    assert [(image.path, image.label) for image in folders.images] == [
        ("bird/owl.jpg", "bird"),
        ("bird/tit.png", "bird"),
        ("fish/cod.jpg", "fish"),
    ]
    assert folders.images_per_class() == {"bird": 2, "fish": 1}
    assert folders.wrapping_folder == ""
    assert folders.skipped == []


@pytest.mark.parametrize("wrapping", ["Animals", "data/Animals"])
def test_a_folder_around_all_classes_is_left_out_of_names(wrapping: str) -> None:
    folders = find(f"{wrapping}/fish/cod.jpg", f"{wrapping}/bird/owl.jpg", "__MACOSX/._Animals")
    assert folders.wrapping_folder == wrapping
    assert [(image.member, image.path, image.label) for image in folders.images] == [
        (f"{wrapping}/bird/owl.jpg", "bird/owl.jpg", "bird"),
        (f"{wrapping}/fish/cod.jpg", "fish/cod.jpg", "fish"),
    ]


def test_folders_inside_a_class_belong_to_it() -> None:
    folders = find("bird/owl.jpg", "bird/night/owl.jpg", "bird/night/deep/owl.jpg", "fish/cod.jpg")
    assert {image.path: image.label for image in folders.images} == {
        "bird/night/deep/owl.jpg": "bird",
        "bird/night/owl.jpg": "bird",
        "bird/owl.jpg": "bird",
        "fish/cod.jpg": "fish",
    }


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("__MACOSX/Animals/bird/._owl.jpg", "__MACOSX/Animals/bird/._owl.jpg", "operating system file"),
        ("Animals/bird/._owl.jpg", "bird/._owl.jpg", "operating system file"),
        ("Animals/.DS_Store", ".DS_Store", "operating system file"),
        ("Animals/bird/Thumbs.db", "bird/Thumbs.db", "operating system file"),
        ("Animals/fish/desktop.ini", "fish/desktop.ini", "operating system file"),
        ("Animals/bird/.ipynb_checkpoints/owl.jpg", "bird/.ipynb_checkpoints/owl.jpg", "hidden file"),
        ("Animals/.git/config", ".git/config", "hidden file"),
        ("Animals/bird/README.md", "bird/README.md", "documentation"),
        ("Animals/notes.PDF", "notes.PDF", "documentation"),
        ("Animals/labels.csv", "labels.csv", "labels file"),
        ("labels.csv", "labels.csv", "labels file"),
        ("Animals/logo.jpg", "logo.jpg", "outside any class folder"),
        ("cover.jpg", "cover.jpg", "outside any class folder"),
    ],
)
def test_other_files_are_skipped_with_a_reason(name: str, path: str, reason: str) -> None:
    folders = find("Animals/bird/owl.jpg", "Animals/fish/cod.jpg", name)
    assert folders.skipped == [(path, reason)]
    assert len(folders.images) == 2


def test_everything_else_in_a_class_folder_is_for_the_audit_to_judge() -> None:
    folders = find("bird/owl.jpg", "bird/empty", "bird/movie.mp4", "fish/cod.HEIC")
    assert len(folders.images) == 4


@pytest.mark.parametrize(
    ("labels_file", "member"),
    [
        ("labels.csv", "Animals/labels.csv"),
        ("Animals/labels.csv", "Animals/labels.csv"),
        ("none.csv", None),
        ("", None),
    ],
)
def test_the_labels_file_is_found_inside_and_outside_the_wrapping_folder(labels_file: str, member: str | None) -> None:
    names = ("Animals/bird/owl.jpg", "Animals/fish/cod.jpg", "Animals/labels.csv")
    assert find(*names, labels_file=labels_file).labels_member == member


def test_two_labels_files_are_one_too_many() -> None:
    names = ("Animals/bird/owl.jpg", "Animals/fish/cod.jpg", "Animals/labels.csv", "labels.csv")
    with pytest.raises(UserError, match=r"two labels files, 'Animals/labels.csv' and 'labels.csv'; remove one"):
        find(*names)


def test_a_labels_file_of_any_extension_is_no_image() -> None:
    folders = find("bird/owl.jpg", "fish/cod.jpg", "bird/truth.tsv", "truth.tsv", labels_file="truth.tsv")
    assert folders.labels_member == "truth.tsv"
    assert folders.skipped == [("bird/truth.tsv", "documentation"), ("truth.tsv", "labels file")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no files; put the images of each class into a folder"),
        (["README.md", ".DS_Store"], "holds no images, only 2 other files"),
        (["owl.jpg", "cod.jpg"], "has 2 of its 2 files at the top level, outside any class folder; put the images"),
        (["bird/owl.jpg", "fish/cod.jpg", "1.jpg", "2.jpg", "3.jpg"], "has 3 of its 5 files at the top level"),
        (
            ["bird/owl.jpg", "bird/tit.jpg"],
            "has one class folder, 'bird'; classification needs at least two class folders",
        ),
        (["Animals/bird/owl.jpg"], "has one class folder, 'bird'"),
        (["bird/owl.jpg", "bird/tit.jpg", "bird/near/tit.jpg"], "has one class folder, 'bird'"),
        (
            ["train/bird/1.jpg", "test/bird/2.jpg", "val/fish/3.jpg"],
            "are splits and not classes; point source at a folder",
        ),
        (["Bird/1.jpg", "bird/2.jpg", "fish/3.jpg"], "'Bird' and 'bird', which differ only in case"),
    ],
)
def test_what_is_no_classification_dataset(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(*names)
