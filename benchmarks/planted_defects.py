"""Plant every defect that the audit looks for into pictures without defects, and write down where: seeded.

    python -m benchmarks.planted_defects --seed 1 --output FOLDER

writes ``dataset`` (class folders, labels.csv), ``dataset.zip`` (the same files) and ``planted.csv`` into FOLDER. The
last says what an audit should find: path, check, cluster, how, source. Files that share a cluster are copies of each
other, and no others are.
"""

import argparse
import csv
import io
import itertools
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks import damage, rendering
from benchmarks.picture_sources import drawings, photographs
from components.formats.image_formats import EXTENSIONS

TUNING_SEEDS = (1, 2, 3)
"""Thresholds may be chosen by looking at these."""

HELD_OUT_SEEDS = (101, 102, 103)
"""Nobody may look at these when choosing thresholds."""

PHOTOS = Path(__file__).parents[1] / "samples" / "photos"
DEFAULT_FILES = 1500
LABELS_FILE = "labels.csv"

CLASSES = ("badger", "beetle", "falcon", "herring", "lizard", "otter", "salmon", "weasel")
SMALL_CLASS, NEAR_EMPTY_CLASS = "newt", "quokka"
ALIKE_CLASSES = ("sea_lion", "sealion")
GAPPED_CLASS, GAPPED_CLASS_IMAGES, MISSING_NUMBERS = "osprey", 30, (7, 19)
SMALL_CLASS_IMAGES, NEAR_EMPTY_IMAGES = 12, 4
_PHOTO_SHARE = 0.45

_TURNS = {
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "upside down": Image.Transpose.FLIP_TOP_BOTTOM,
    "rotated 90": Image.Transpose.ROTATE_90,
    "rotated 180": Image.Transpose.ROTATE_180,
    "rotated 270": Image.Transpose.ROTATE_270,
    "transposed": Image.Transpose.TRANSPOSE,
}


@dataclass
class PlantedFile:
    """A file to write, and what is wrong with it.

    Attributes:
        data: Its bytes.
        extension: With the dot.
        source: ``photo`` or ``drawn``.
        defects: Check, cluster (empty for none) and how, of each defect.
        label: Its class, chosen at random when empty.
        path: Its path, named after its class and numbered when empty; ``{number}`` is the next number of its class.
        namesake: The file whose name it takes.
        recorded_label: What the labels file says, its class when empty.
    """

    data: bytes
    extension: str
    source: str
    defects: list[tuple[str, str, str]] = field(default_factory=list)
    label: str = ""
    path: str = ""
    recorded_label: str = ""
    namesake: "PlantedFile | None" = None


@dataclass(frozen=True)
class Picture:
    """A picture without defects, used once."""

    image: Image.Image
    source: str


@dataclass(frozen=True)
class PlantedDefect:
    """A row of the ground truth."""

    path: str
    check: str
    cluster: str
    how: str
    source: str


@dataclass(frozen=True)
class PlantedDataset:
    """A data set and the truth about it.

    Attributes:
        files: Bytes by path, ``labels.csv`` included.
        truth: Every defect there is.
    """

    files: dict[str, bytes]
    truth: list[PlantedDefect]


def build_dataset(seed: int, files: int, photos: Path) -> PlantedDataset:
    """Return a data set with every defect planted.

    Args:
        seed: The same seed gives the same data set.
        files: About how many files; each defect has its share of them, and at least one.
        photos: Folder of photographs without defects.
    """
    planter = _Planter(seed, files / DEFAULT_FILES, photos)
    planter.plant_everything()
    while (
        len(planter.planted)
        < files - SMALL_CLASS_IMAGES - NEAR_EMPTY_IMAGES - 2 * SMALL_CLASS_IMAGES - GAPPED_CLASS_IMAGES
    ):
        planter.add_clean()
    planter.damage_clean()
    for label, images in (
        (SMALL_CLASS, SMALL_CLASS_IMAGES),
        (NEAR_EMPTY_CLASS, NEAR_EMPTY_IMAGES),
        *((label, SMALL_CLASS_IMAGES) for label in ALIKE_CLASSES),
    ):
        for _ in range(images):
            planter.add_clean(label)
    planter.add_gapped_class()
    return planter.finished()


def write_dataset(dataset: PlantedDataset, folder: Path) -> None:
    """Write ``dataset/``, ``dataset.zip`` and ``planted.csv``."""
    for path, data in dataset.files.items():
        destination = folder / "dataset" / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(data)
    with zipfile.ZipFile(folder / "dataset.zip", "w", zipfile.ZIP_STORED) as archive:
        for path, data in dataset.files.items():
            archive.writestr(path, data)
    with (folder / "planted.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "check", "cluster", "how", "source"))
        for defect in dataset.truth:
            writer.writerow((defect.path, defect.check, defect.cluster, defect.how, defect.source))


class _Planter:
    """Collects files; every random choice comes from one generator."""

    def __init__(self, seed: int, scale: float, photos: Path) -> None:
        self.generator = np.random.default_rng(seed)
        self.planted: list[PlantedFile] = []
        self._seed, self._scale = seed, scale
        self._photographs = photographs(photos, self.generator)
        self._drawings = drawings(self.generator)
        self._clusters = count(1)

    def plant_everything(self) -> None:
        self._plant_damage()
        self._plant_storage()
        self._plant_pixels()
        self._plant_shapes()
        self._plant_copies()
        self._plant_near_copies()
        self._plant_names()

    def add_clean(self, label: str = "") -> None:
        """Add a picture without any defect, stored in one of the usual ways."""
        picture = self._picture()
        data, extension = rendering.encoded_somehow(picture.image, self.generator)
        self.planted.append(PlantedFile(data, extension, picture.source, label=label))

    def damage_clean(self) -> None:
        """Damage the scans of JPEG files without a defect, by choices of their own that leave all else as it was."""
        generator = np.random.default_rng([self._seed, damage.CORRUPT_IN_OTHER_WAYS])
        clean = [one for one in self.planted if one.extension == ".jpg" and not one.defects]
        ways = itertools.cycle(itertools.product(damage.CORRUPTIONS, damage.DAMAGED_BYTES))
        for one, (kind, lengths), _ in zip(clean, ways, self._times(damage.CORRUPT_IN_OTHER_WAYS), strict=False):
            one.data, how = damage.corrupted(one.data, one.extension, kind, lengths, generator)
            one.defects.append(("corrupt", "", f".jpg {how}"))

    def finished(self) -> PlantedDataset:
        """Name the files and return the data set."""
        self._label()
        self._name()
        files = {one.path: one.data for one in self.planted}
        truth = [
            PlantedDefect(one.path, check, cluster, how, one.source)
            for one in self.planted
            for check, cluster, how in one.defects
        ]
        truth += self._class_truth()
        labels = io.StringIO()
        writer = csv.writer(labels, lineterminator="\n")
        writer.writerow(("path", "label"))
        writer.writerows(sorted((one.path, one.recorded_label or one.label) for one in self.planted if one.label))
        files[LABELS_FILE] = labels.getvalue().encode()
        return PlantedDataset(dict(sorted(files.items())), sorted(truth, key=lambda row: (row.check, row.path)))

    def _picture(self) -> Picture:
        """Return the next photograph or drawing; drawings alone once the photographs are used up."""
        if self.generator.random() < _PHOTO_SHARE:
            photograph = next(self._photographs, None)
            if photograph is not None:
                return Picture(photograph, "photo")
        return Picture(next(self._drawings), "drawn")

    def _times(self, usual: int) -> range:
        return range(max(1, round(usual * self._scale)))

    def _add(self, data: bytes, extension: str, picture: Picture, check: str, how: str, *further: str) -> PlantedFile:
        defects = [(name, "", how) for name in (check, *further)]
        self.planted.append(PlantedFile(data, extension, picture.source, defects))
        return self.planted[-1]

    def _plant_damage(self) -> None:
        for extension, usual in damage.TRUNCATED.items():
            for _ in self._times(usual):
                picture = self._picture()
                data = rendering.encoded(picture.image, extension, self.generator)
                data, how = damage.truncated(data, self.generator)
                self._add(data, extension, picture, "truncated", f"{extension} {how}")
        for extension, usual in damage.CORRUPT.items():
            for _ in self._times(usual):
                picture = self._picture()
                data = rendering.encoded(picture.image, extension, self.generator)
                data, how = damage.corrupted(data, extension, "random bytes", damage.RANDOM_BYTES, self.generator)
                self._add(data, extension, picture, "corrupt", f"{extension} {how}")
        nothing = Picture(Image.new("RGB", (1, 1)), "drawn")
        for _ in self._times(6):
            self._add(b"", rendering.any_extension(self.generator), nothing, "empty_file", "zero bytes")
        for how, make in damage.NOT_IMAGES.items():
            for _ in self._times(2):
                self._add(make(self.generator), ".jpg", nothing, "not_an_image", how)
        for extension, data in damage.bombs().items():
            for _ in self._times(2):
                self._add(data, extension, nothing, "decompression_bomb", f"{extension} that declares too much")

    def _plant_storage(self) -> None:
        for content, written in rendering.WRONG_EXTENSIONS:
            for _ in self._times(3):
                picture = self._picture()
                data = rendering.encoded(picture.image, content, self.generator)
                self._add(data, written, picture, "wrong_extension", f"{content} content as {written}")
        for variant in rendering.STORED_ODDLY:
            for number in self._times(variant.usual):
                picture = self._picture()
                data = variant.encode(picture.image, number)
                self._add(data, variant.extension, picture, variant.checks[0], variant.how, *variant.checks[1:])

    def _plant_pixels(self) -> None:
        for check, how, usual, change in rendering.PIXEL_DEFECTS:
            for _ in self._times(usual):
                picture = self._picture()
                image = change(picture.image, self.generator)
                extension = ".png" if check == "low_information" else self.generator.choice([".jpg", ".jpg", ".png"])
                data = rendering.encoded(image, extension, self.generator, least_quality=88)
                self._add(data, str(extension), picture, check, how)

    def _plant_shapes(self) -> None:
        for check, how, usual, change in rendering.SHAPE_DEFECTS:
            for _ in self._times(usual):
                picture = self._picture()
                data = rendering.encoded(change(picture.image, self.generator), ".jpg", self.generator)
                self._add(data, ".jpg", picture, check, how)

    def _plant_copies(self) -> None:
        for number in self._times(14):
            picture = self._picture()
            data, extension = rendering.encoded_somehow(picture.image, self.generator)
            members = [(data, extension)] * (2 + number % 3)
            self._cluster(picture, members, "exact_duplicate", "the same bytes")
        for number in self._times(10):
            picture = self._picture()
            data, extension = rendering.encoded_somehow(picture.image, self.generator)
            members = [(data, extension)] * (2 + number % 2)
            self._cluster(picture, members, "conflicting_label", "the same bytes in two classes", conflict=True)
        for how, restore in rendering.LOSSLESS_COPIES.items():
            for _ in self._times(5):
                picture = self._picture()
                members = restore(picture.image, self.generator)
                self._cluster(picture, members, "identical_pixels", how)
            for _ in self._times(2):
                picture = self._picture()
                members = restore(picture.image, self.generator)
                self._cluster(picture, members, "near_conflicting_label", f"{how}, in two classes", conflict=True)

    def _plant_near_copies(self) -> None:
        for how, change in self._near_changes().items():
            for _ in self._times(8):
                self._near_cluster(how, [change], "near_duplicate")
            for _ in self._times(2):
                self._near_cluster(f"{how}, in two classes", [change], "near_conflicting_label")
        several = list(self._near_changes().values())
        for _ in self._times(5):
            chosen = [several[index] for index in self.generator.choice(len(several), 3, replace=False)]
            self._near_cluster("three changes of one picture", chosen, "near_duplicate")

    def _near_changes(self) -> dict[str, Callable[[Image.Image], Image.Image]]:
        uniform = self.generator.uniform

        def resized(image: Image.Image, scale: float) -> Image.Image:
            size = (max(48, round(image.width * scale)), max(48, round(image.height * scale)))
            return image.resize(size, Image.Resampling.LANCZOS)

        def cropped(image: Image.Image) -> Image.Image:
            """Cut 5 % of the width and of the height away, on sides that chance chooses."""
            width, height = round(image.width * 0.95), round(image.height * 0.95)
            left, top = (
                int(self.generator.integers(0, full - part + 1))
                for full, part in zip(image.size, (width, height), strict=True)
            )
            return image.crop((left, top, left + width, top + height))

        changes: dict[str, Callable[[Image.Image], Image.Image]] = {
            "reduced": lambda image: resized(image, uniform(0.5, 0.85)),
            "enlarged": lambda image: resized(image, uniform(1.2, 2.0)),
            "recompressed": lambda image: rendering.recompressed(image, int(self.generator.integers(25, 61))),
            "brightened": lambda image: ImageEnhance.Brightness(image).enhance(uniform(1.15, 1.4)),
            "darkened": lambda image: ImageEnhance.Brightness(image).enhance(uniform(0.65, 0.85)),
            "cropped 5 %": cropped,
        }
        for how, turn in _TURNS.items():
            changes[how] = lambda image, turn=turn: image.transpose(turn)  # type: ignore[misc]
        return changes

    def _near_cluster(self, how: str, changes: list[Callable[[Image.Image], Image.Image]], check: str) -> None:
        picture = self._picture()
        images = [picture.image] + [change(picture.image) for change in changes]
        members = [(rendering.encoded(image, ".jpg", self.generator), ".jpg") for image in images]
        self._cluster(picture, members, check, how, conflict=check == "near_conflicting_label")

    def _cluster(
        self, picture: Picture, members: list[tuple[bytes, str]], check: str, how: str, *, conflict: bool = False
    ) -> None:
        cluster = f"{check}-{next(self._clusters)}"
        labels = self.generator.permutation(CLASSES)
        for number, (data, extension) in enumerate(members):
            planted = PlantedFile(data, extension, picture.source, [(check, cluster, how)])
            planted.label = str(labels[min(number, 1) if conflict else 0])
            self.planted.append(planted)

    def _plant_names(self) -> None:
        for how, name in {
            "white space": "{label} {odd}.jpg",
            "parentheses": "{label}_0001({odd}).jpg",
            "a letter outside ASCII": "{label}_ä{odd}.jpg",
            "breaks the pattern of its folder": "IMG-{odd}-final.jpg",
            "upper-case extension": "{label}_{number:04d}.JPG",
            ".jpeg among .jpg": "{label}_{number:04d}.jpeg",
        }.items():
            for odd in self._times(3):
                label = self._class()
                path = f"{label}/{name.replace('{label}', label).replace('{odd}', str(odd + 2))}"
                self._named(label, path, "naming_inconsistency", how)
        for _ in self._times(6):
            first, second = (str(label) for label in self.generator.permutation(CLASSES)[:2])
            how = f"also in {first} and {second}"
            original = self._named(first, "", "duplicate_filename", how)
            self._named(second, "", "duplicate_filename", how).namesake = original
        for _ in self._times(8):
            label = self._class()
            self._named(label, f"{label}/more/{label}_{{number:04d}}.jpg", "nested_folder", "a folder in a class")
        for number in self._times(5):
            self._named("", f"stray_{number:04d}.jpg", "loose_file", "outside any class folder")
        for _ in self._times(10):
            label, other = (str(label) for label in self.generator.permutation(CLASSES)[:2])
            self._named(label, "", "label_mismatch", f"{LABELS_FILE} says {other}").recorded_label = other

    def add_gapped_class(self) -> None:
        """Add a class of one format that misses numbers; in the others every number is there."""
        numbers = [number for number in range(1, GAPPED_CLASS_IMAGES + 1) if number not in MISSING_NUMBERS]
        for number in numbers:
            picture = self._picture()
            data = rendering.encoded(picture.image, ".jpg", self.generator)
            path = f"{GAPPED_CLASS}/{GAPPED_CLASS}_{number:04d}.jpg"
            self.planted.append(PlantedFile(data, ".jpg", picture.source, label=GAPPED_CLASS, path=path))

    def _class(self) -> str:
        return str(self.generator.choice(CLASSES))

    def _named(self, label: str, path: str, check: str, how: str) -> PlantedFile:
        picture = self._picture()
        data = rendering.encoded(picture.image, ".jpg", self.generator)
        planted = self._add(data, ".jpg", picture, check, how)
        planted.label, planted.path = label, path
        return planted

    def _label(self) -> None:
        for one in self.planted:
            if not one.label and not one.path:
                one.label = self._class()

    def _name(self) -> None:
        """Number the files of each class in random order, so that copies are not neighbours."""
        numbers: dict[str, Iterator[int]] = defaultdict(lambda: count(1))
        for index in self.generator.permutation(len(self.planted)):
            one = self.planted[index]
            if "{number" in one.path:
                one.path = one.path.format(number=next(numbers[one.label]))
            elif not one.path and one.namesake is None:
                one.path = f"{one.label}/{one.label}_{next(numbers[one.label]):04d}{one.extension}"
        for one in self.planted:
            if one.namesake is not None:
                one.path = f"{one.label}/{one.namesake.path.rpartition('/')[2]}"

    def _class_truth(self) -> list[PlantedDefect]:
        labelled = [one for one in self.planted if one.label]
        images = Counter(one.label for one in labelled)
        families: dict[str, set[str]] = defaultdict(set)
        for one in labelled:
            families[one.label].add(EXTENSIONS[Path(one.path).suffix.lower()])
        truth = [
            PlantedDefect(label, "naming_inconsistency", "", "extensions of several formats", "class")
            for label, mixed in families.items()
            if len(mixed) > 1
        ]
        missing = f"{len(MISSING_NUMBERS)} numbers are missing"
        truth.append(PlantedDefect(GAPPED_CLASS, "naming_inconsistency", "", missing, "class"))
        few = f"{images[NEAR_EMPTY_CLASS]} images"
        truth.append(PlantedDefect(NEAR_EMPTY_CLASS, "near_empty_class", "", few, "class"))
        most = max(images.values())
        truth += [
            PlantedDefect(label, "class_imbalance", "", f"{number} images, another class has {most}", "class")
            for label, number in images.items()
            if number == SMALL_CLASS_IMAGES and most > 10 * number
        ]
        return truth + [
            PlantedDefect(label, "similar_class_names", "alike", "two names for one class", "class")
            for label in ALIKE_CLASSES
        ]


def main() -> None:
    """Write a data set."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planted_defects", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=TUNING_SEEDS[0])
    parser.add_argument("--files", type=int, default=DEFAULT_FILES, help=f"about how many; default {DEFAULT_FILES}")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of photographs without defects")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    dataset = build_dataset(arguments.seed, arguments.files, arguments.photos)
    write_dataset(dataset, arguments.output)
    print(f"{len(dataset.files):,} files, {len(dataset.truth):,} planted defects in {arguments.output}")


if __name__ == "__main__":
    main()
