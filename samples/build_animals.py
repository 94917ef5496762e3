"""Build ``animals.zip`` from ``photos/``: 77 real photographs with planted, labelled defects. Seeded, deterministic.

    python samples/build_animals.py [FOLDER]

writes ``animals.zip`` and ``planted.csv`` into FOLDER, by default the folder of this file. ``planted.csv`` says what
an audit should find, and nothing else: columns path, check, related_path, how.

Where a defect may be left in the data by a cleaning policy (an odd name, a wrong extension), the original itself
carries it. Where a defect must be dropped (damage, darkness, a wrong label), an extra file made from a photograph
does. So hardly an original is lost, and no copy of one slips into another split.
"""

import csv
import io
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SAMPLES = Path(__file__).parent
SEED = 20_240_501
JPEG_QUALITY = 85
ZIP_DATE = (2024, 5, 1, 12, 0, 0)


@dataclass
class Animals:
    """The files of the archive, by path below ``animals/``, and what is planted in them."""

    files: dict[str, bytes] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)  # path -> photograph, what was changed
    planted: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, path: str, data: bytes, source: str = "", changes: str = "", label: str = "") -> None:
        """Add an image; ``label`` is what the label file says, by default the class folder."""
        self.files[path] = data
        self.labels[path] = label or path.partition("/")[0]
        if source:
            self.sources[path] = (source, changes)

    def replace(self, old: str, new: str, data: bytes | None = None, changes: str = "renamed") -> None:
        """Put an original under another name, or other bytes in its place."""
        kept = self.files.pop(old)
        del self.labels[old], self.sources[old]
        self.add(new, kept if data is None else data, old, changes)

    def plant(self, path: str, check: str, how: str, related: str = "") -> None:
        """Record what an audit should find."""
        self.planted.append((path, check, related, how))


def build(destination: Path) -> None:
    """Write ``animals.zip`` and ``planted.csv`` into a folder."""
    animals = Animals()
    for photo in sorted((SAMPLES / "photos").glob("*/*.jpg")):
        path = photo.relative_to(SAMPLES / "photos").as_posix()
        animals.add(path, photo.read_bytes(), path, "none")
    generator = np.random.default_rng(SEED)
    plant_unreadable_files(animals, generator)
    plant_copies(animals)
    plant_wrong_labels(animals)
    plant_exposures(animals, generator)
    plant_sizes(animals)
    plant_formats(animals)
    plant_names(animals)
    _write_zip(animals, destination / "animals.zip")
    with (destination / "planted.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "check", "related_path", "how"))
        writer.writerows(sorted(animals.planted))


def plant_unreadable_files(animals: Animals, generator: np.random.Generator) -> None:
    """Add files that no decoder can decode whole."""
    moose = animals.files["mammal/moose.jpg"]
    animals.add("mammal/moose-2.jpg", moose[: len(moose) * 6 // 10], "mammal/moose.jpg", "cut short")
    animals.plant("mammal/moose-2.jpg", "truncated", "the first 60 % of the bytes of mammal/moose.jpg")

    damaged = bytearray(animals.files["fish/fish5.jpg"])
    start = len(damaged) // 2
    damaged[start : start + 3000] = generator.integers(0, 256, 3000, dtype=np.uint8).tobytes()
    animals.add("fish/fish29.jpg", bytes(damaged), "fish/fish5.jpg", "3,000 bytes overwritten at random")
    animals.plant("fish/fish29.jpg", "corrupt", "3,000 random bytes in the middle of fish/fish5.jpg")

    animals.add("bird/eagle.jpg", b"")
    animals.plant("bird/eagle.jpg", "empty_file", "zero bytes")
    animals.add("bird/notes.jpg", b"Remember to ask the zoo for better pictures of the toucan.\n")
    animals.plant("bird/notes.jpg", "not_an_image", "a text file under an image's name")
    animals.add("mammal/elephant.png", _declared_png(60_000, 60_000))
    animals.plant("mammal/elephant.png", "decompression_bomb", "a PNG of 69 bytes that declares 60,000 x 60,000 pixels")
    animals.plant("mammal", "naming_inconsistency", "the class folder mixes .jpg with one .png, mammal/elephant.png")


def plant_copies(animals: Animals) -> None:
    """Add the same bytes again: in the same class, and in another one."""
    for original, copies in {
        "mammal/cat.jpg": ["mammal/cat-again.jpg"],
        "bird/owl.jpg": ["bird/owl-2.jpg", "bird/owl-3.jpg"],
        "fish/fish3.jpg": ["fish/fish30.jpg"],
    }.items():
        for copy in copies:
            animals.add(copy, animals.files[original], original, "none")
        first, second, *_ = members = sorted((original, *copies))
        for path in members:
            related = second if path == first else first
            animals.plant(path, "exact_duplicate", f"the bytes of {original}", related)

    dolphin = _jpeg(_mirrored_crop(animals.files["mammal/dolphin.jpg"]))
    for path, other in (("fish/fish31.jpg", "mammal/dolphin-2.jpg"), ("mammal/dolphin-2.jpg", "fish/fish31.jpg")):
        animals.add(path, dolphin, "mammal/dolphin.jpg", "mirrored and cropped")
        animals.plant(path, "conflicting_label", "one mirrored crop of mammal/dolphin.jpg in two classes", other)
        animals.plant(path, "near_conflicting_label", "a mirrored crop of mammal/dolphin.jpg", other)
    how = "mirrored and cropped in both classes"
    animals.plant("mammal/dolphin.jpg", "near_conflicting_label", how, "fish/fish31.jpg")
    plant_near_copy(animals, "mammal/dolphin.jpg", "mammal/dolphin-2.jpg", "mirrored and cropped")


def plant_near_copy(animals: Animals, original: str, copy: str, how: str) -> None:
    """Record that a photograph and a changed copy of it are near duplicates."""
    animals.plant(original, "near_duplicate", f"{how} in {copy}", copy)
    animals.plant(copy, "near_duplicate", f"{original}, {how}", original)


def plant_wrong_labels(animals: Animals) -> None:
    """Add images whose row in the label file disagrees with their folder."""
    for path, original, label in (
        ("bird/penguin-2.jpg", "bird/penguin.jpg", "fish"),
        ("mammal/narwhal-2.jpg", "mammal/narwhal.jpg", "fish"),
        ("mammal/flying-fox-2.jpg", "mammal/flying-fox.jpg", "bird"),
    ):
        image = _jpeg(_mirrored_crop(animals.files[original]))
        animals.add(path, image, original, "mirrored and cropped", label=label)
        animals.plant(path, "label_mismatch", f"a mirrored crop of {original} that labels.csv calls {label}")
        if original != "mammal/narwhal.jpg":  # whose crop cuts so much away that it is another picture
            plant_near_copy(animals, original, path, "mirrored and cropped")


def plant_exposures(animals: Animals, generator: np.random.Generator) -> None:
    """Add images with nothing to see: too dark, too bright, blank."""
    for path, original in (("mammal/gibbon-2.jpg", "mammal/gibbon.jpg"), ("bird/toucan-2.jpg", "bird/toucan.jpg")):
        image = _open(animals.files[original]).point(lambda level: round(level * 0.1))
        animals.add(path, _jpeg(image), original, "darkened")
        animals.plant(path, "dark", f"{original} at a tenth of its luma")
        plant_near_copy(animals, original, path, "darkened")
    for path, original in (("mammal/sheep-2.jpg", "mammal/sheep.jpg"), ("bird/gosling-2.jpg", "bird/gosling.jpg")):
        image = _open(animals.files[original]).point(lambda level: round(255 - (255 - level) * 0.1))
        animals.add(path, _jpeg(image), original, "brightened")
        animals.plant(path, "bright", f"{original} with its distance from white cut to a tenth")
        plant_near_copy(animals, original, path, "brightened")
    animals.add("mammal/mole.jpg", _jpeg(Image.new("RGB", (512, 288))))
    animals.plant("mammal/mole.jpg", "dark", "a black frame, as with the lens cap on")
    noise = generator.normal((124.0, 138.0, 150.0), 1.5, (214, 320, 3))
    animals.add("fish/fish32.jpg", _jpeg(Image.fromarray(noise.round().astype(np.uint8))))
    animals.plant("fish/fish32.jpg", "low_contrast", "murky water: one colour with noise of standard deviation 1.5")


def plant_sizes(animals: Animals) -> None:
    """Give originals unusual sizes and shapes."""
    bear = _open(animals.files["mammal/polar-bear.jpg"])
    large = bear.resize((bear.width * 4, bear.height * 4), Image.Resampling.BICUBIC)
    animals.replace("mammal/polar-bear.jpg", "mammal/polar-bear.jpg", _jpeg(large, 60), "enlarged 4 times")
    animals.plant("mammal/polar-bear.jpg", "size_outlier", "enlarged 4 times, to 2048 x 1536")
    small = _open(animals.files["fish/fish16.jpg"]).resize((84, 56), Image.Resampling.LANCZOS)
    animals.replace("fish/fish16.jpg", "fish/fish16.jpg", _jpeg(small), "reduced to 84 x 56")
    animals.plant("fish/fish16.jpg", "size_outlier", "reduced to 84 x 56")
    tiny = _open(animals.files["fish/fish28.jpg"]).resize((36, 24), Image.Resampling.LANCZOS)
    animals.replace("fish/fish28.jpg", "fish/fish28.jpg", _jpeg(tiny), "reduced to 36 x 24")
    animals.plant("fish/fish28.jpg", "tiny", "reduced to 36 x 24")
    camels = _open(animals.files["mammal/camels.jpg"]).crop((0, 96, 512, 236))
    animals.replace("mammal/camels.jpg", "mammal/camels.jpg", _jpeg(camels), "cropped to a strip")
    animals.plant("mammal/camels.jpg", "aspect_outlier", "cropped to a strip of 512 x 140")


def plant_formats(animals: Animals) -> None:
    """Give originals a content that their extension does not tell, and no colour."""
    png = io.BytesIO()
    # Stored, not compressed: compressors differ between processors, and these bytes must not.
    _open(animals.files["fish/fish12.jpg"]).save(png, "PNG", compress_level=0)
    animals.replace("fish/fish12.jpg", "fish/fish12.jpg", png.getvalue(), "stored as PNG")
    animals.plant("fish/fish12.jpg", "wrong_extension", "PNG content under .jpg")
    koala = _jpeg(_open(animals.files["mammal/koala.jpg"]).convert("L"))
    animals.replace("mammal/koala.jpg", "mammal/koala.jpg", koala, "made grayscale")
    animals.plant("mammal/koala.jpg", "grayscale", "stored with one channel")
    kitten = _jpeg(_open(animals.files["mammal/kitten.jpg"]).convert("L").convert("RGB"))
    animals.replace("mammal/kitten.jpg", "mammal/kitten.jpg", kitten, "made grayscale")
    animals.plant("mammal/kitten.jpg", "grayscale", "gray stored with three channels")


def plant_names(animals: Animals) -> None:
    """Give originals the names that people give files."""
    for old, new, how in (
        ("mammal/red-panda.jpg", "mammal/red panda.jpg", "white space"),
        ("mammal/jaguar.jpg", "mammal/jaguar (1).jpg", "white space and parentheses"),
        ("bird/spoonbills.jpg", "bird/löffler.jpg", "a letter outside ASCII"),
        ("mammal/pig.jpg", "mammal/pig.JPG", "upper-case extension"),
        ("bird/heron.jpg", "bird/heron.jpeg", ".jpeg among .jpg"),
        ("fish/fish9.jpg", "fish/reef.jpg", "breaks the pattern fish1, fish2, ..."),
    ):
        animals.replace(old, new)
        animals.plant(new, "naming_inconsistency", how)
    animals.plant("fish", "naming_inconsistency", "fish9.jpg, now reef.jpg, is missing from fish1 to fish32")
    for path in ("bird/duck.jpg", "mammal/goat.jpg"):
        animals.replace(path, f"{path.partition('/')[0]}/IMG_0417.jpg")
    for path, other in (("bird", "mammal"), ("mammal", "bird")):
        how = "bird/duck.jpg and mammal/goat.jpg, each under the name its camera gave it"
        animals.plant(f"{path}/IMG_0417.jpg", "duplicate_filename", how, f"{other}/IMG_0417.jpg")
    for number in (7, 21):
        animals.replace(f"fish/fish{number}.jpg", f"fish/aquarium/fish{number}.jpg", changes="moved")
        animals.plant(f"fish/aquarium/fish{number}.jpg", "nested_folder", "moved into a folder inside its class folder")


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _jpeg(image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _mirrored_crop(data: bytes) -> Image.Image:
    image = ImageOps.mirror(_open(data))
    width, height = image.size
    return image.crop((width // 12, height // 12, width - width // 16, height - height // 16))


def _declared_png(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and holds a single byte of image data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    stored = b"\x78\x01\x01\x01\x00\xfe\xff\x00\x00\x01\x00\x01"  # a zlib stream of one zero byte, not compressed
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", stored), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _attribution(animals: Animals) -> bytes:
    """Return author, source and licence of each image in the archive that comes from a photograph."""
    with (SAMPLES / "photos" / "ATTRIBUTION.csv").open(encoding="utf-8", newline="") as file:
        photographs = {row["file"]: row for row in csv.DictReader(file)}
    columns = ("author", "source", "licence")
    rows = [
        (path, *(photographs[source][column] for column in columns), source, changes)
        for path, (source, changes) in sorted(animals.sources.items())
    ]
    return _table(("file", *columns, "photograph", "changes"), rows)


def _junk() -> dict[str, bytes]:
    """Return what macOS and Windows leave in ZIP files: no images, whatever their names say."""
    resource_fork = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(56)
    return {
        "__MACOSX/animals/bird/._owl.jpg": resource_fork,
        "__MACOSX/animals/._bird": resource_fork,
        "animals/.DS_Store": b"\x00\x00\x00\x01Bud1" + bytes(64),
        "animals/fish/.DS_Store": b"\x00\x00\x00\x01Bud1" + bytes(64),
        "animals/mammal/Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64),
        "animals/desktop.ini": b"[.ShellClassInfo]\r\nIconIndex=0\r\n",
    }


def _write_zip(animals: Animals, destination: Path) -> None:
    members = {f"animals/{path}": data for path, data in animals.files.items()}
    members["animals/labels.csv"] = _table(("path", "label"), sorted(animals.labels.items()))
    members["animals/ATTRIBUTION.csv"] = _attribution(animals)
    members |= _junk()
    # Stored: JPEG does not compress, and stored bytes are the same under every version of zlib.
    with zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            member = zipfile.ZipInfo(name, ZIP_DATE)
            member.create_system = 3  # Unix, wherever it is built
            member.external_attr = 0o100644 << 16
            archive.writestr(member, members[name])


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES)
