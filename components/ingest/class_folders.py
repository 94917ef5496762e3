"""Which files of a source are images of which class, by the folders they lie in, and which are not and why.

Animals/                 a folder around everything is stripped: the image is named bird/owl.jpg
  bird/owl.jpg           class bird
  bird/night/owl2.jpg    class bird, too; the name keeps its folder
  logo.jpg               skipped: outside any class folder
  labels.csv, README.md  skipped: labels file, documentation
  .DS_Store              skipped: operating system file
"""

import unicodedata
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass

from components.failures import UserError
from components.ingest.limits import suffix_of

OPERATING_SYSTEM_FILE = "operating system file"
HIDDEN_FILE = "hidden file"
LABELS_FILE = "labels file"
DOCUMENTATION = "documentation"
OUTSIDE_CLASS_FOLDERS = "outside any class folder"

_OPERATING_SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})
_DOCUMENTATION_SUFFIXES = frozenset({".txt", ".md", ".csv", ".json", ".xml", ".html", ".pdf"})
_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


@dataclass(frozen=True)
class ClassImage:
    """A file in a class folder. Nobody has looked inside it yet.

    Attributes:
        member: Its name in the source.
        path: The image's name everywhere else: ``member`` without the folder around everything.
        label: Its class folder.
    """

    member: str
    path: str
    label: str


@dataclass(frozen=True)
class ClassFolders:
    """What a source holds.

    Attributes:
        wrapping_folder: The folder around everything that image names leave out, empty when there is none.
        images: By path.
        skipped: Path and reason of every other file, by path.
        labels_member: Name in the source of the labels file, None when it has none.
    """

    wrapping_folder: str
    images: list[ClassImage]
    skipped: list[tuple[str, str]]
    labels_member: str | None

    def images_per_class(self) -> dict[str, int]:
        """Return how many images each class has, by class name."""
        return dict(sorted(Counter(image.label for image in self.images).items()))


def junk_reason(name: str) -> str | None:
    """Return why a file is nobody's content, for names such as ``.DS_Store``, or None."""
    parts = name.split("/")
    if "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1].lower() in _OPERATING_SYSTEM_FILES:
        return OPERATING_SYSTEM_FILE
    # Also folders: .ipynb_checkpoints is the class most often trained on by accident.
    return HIDDEN_FILE if any(part.startswith(".") for part in parts) else None


def find_class_folders(source: str, names: Sequence[str], labels_file: str) -> ClassFolders:
    """Sort the files of a source into images of classes and files to skip.

    Args:
        source: For messages.
        names: Every file of the source, as safe relative POSIX paths.
        labels_file: Name of the labels file, relative to the source or to the folder around everything; may be empty.

    Raises:
        UserError: When there are fewer than two class folders, the folders are not classes, or there are two labels
            files.
    """
    reasons = {name: junk_reason(name) for name in names}
    content = [name for name, reason in reasons.items() if reason is None and not _is_documentation(name, labels_file)]
    wrapping = _wrapping_folder(content)
    labels_member = _labels_member(source, reasons, wrapping, labels_file)

    images, skipped = [], []
    for name in names:
        path = name.removeprefix(wrapping)
        reason = reasons[name]
        if name == labels_member:
            reason = LABELS_FILE
        elif reason is None and _is_documentation(name, labels_file):
            reason = DOCUMENTATION
        elif reason is None and not (name.startswith(wrapping) and "/" in path):
            reason = OUTSIDE_CLASS_FOLDERS
        if reason is None:
            images.append(ClassImage(name, path, path.partition("/")[0]))
        else:
            skipped.append((path, reason))
    folders = ClassFolders(
        wrapping.rstrip("/"), sorted(images, key=lambda image: image.path), sorted(skipped), labels_member
    )
    _require_classes(source, folders)
    return folders


def _labels_member(source: str, names: Container[str], wrapping: str, labels_file: str) -> str | None:
    found = sorted(name for name in {wrapping + labels_file, labels_file} if labels_file and name in names)
    if len(found) > 1:
        raise UserError(f"{source} holds two labels files, {found[0]!r} and {found[1]!r}; remove one")
    return found[0] if found else None


def _is_documentation(name: str, labels_file: str) -> bool:
    return suffix_of(name) in _DOCUMENTATION_SUFFIXES or f"/{name}".endswith(f"/{labels_file or '/'}")


def _wrapping_folder(content: Sequence[str]) -> str:
    """Return the folder or folders around all class folders with a slash at the end, empty when there are none."""
    wrapping = ""
    while True:
        inside = [name.removeprefix(wrapping) for name in content if name.startswith(wrapping)]
        folders = {name.partition("/")[0] for name in inside if "/" in name}
        nested = sum(name.count("/") > 1 for name in inside)
        # A lone folder that mostly holds files itself is a class with subfolders, not a folder around classes.
        if len(folders) != 1 or nested <= sum(name.count("/") == 1 for name in inside):
            return wrapping
        wrapping += f"{folders.pop()}/"


def _require_classes(source: str, folders: ClassFolders) -> None:
    classes = folders.images_per_class()
    loose = sum(reason == OUTSIDE_CLASS_FOLDERS for _, reason in folders.skipped)
    how = "put the images of each class into a folder named after the class"
    if not classes and not loose:
        held = f"no images, only {len(folders.skipped):,} other files" if folders.skipped else "no files"
        raise UserError(f"{source} holds {held}; {how}")
    if loose > len(folders.images):
        raise UserError(
            f"{source} has {loose:,} of its {loose + len(folders.images):,} files at the top level, outside any class "
            f"folder; {how}"
        )
    if len(classes) == 1:
        raise UserError(
            f"{source} has one class folder, {next(iter(classes))!r}; classification needs at least two class folders"
        )
    if {name.lower() for name in classes} <= _SPLIT_NAMES:
        raise UserError(
            f"the folders {', '.join(classes)} of {source} are splits and not classes; point source at a folder whose "
            "subfolders are classes, the pipeline makes its own splits"
        )
    by_key: dict[str, str] = {}
    for name in classes:
        other = by_key.setdefault(unicodedata.normalize("NFC", name).casefold().strip(), name)
        if other != name:
            raise UserError(
                f"{source} has the class folders {other!r} and {name!r}, which differ only in case or spaces; merge or "
                "rename them"
            )
