"""An image stored again without loss is found as such, whatever the formats."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from components.audit import measuring_process
from components.audit.checks import run_checks
from components.audit.image_audit import measured_table
from components.audit.measuring_pass import measure_archive, whole_pixels
from components.audit.near_copies import near_copies
from components.audit.same_pixels import with_same_pixels
from components.formats.image_archive import read_catalog, read_skipped
from tests.audit.conftest import RECOMMENDED, SAMPLES, MakeArchive
from tests.audit.test_measuring_pass import DOES_WHAT_FILES_SAY

OWL, DOG = (Image.open(SAMPLES / "photos" / name).convert("RGB") for name in ("bird/owl.jpg", "mammal/dog.jpg"))


def file(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def turned(data: bytes, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    image = decoded(data)
    return file(image, "JPEG", exif=exif, quality="keep")


def findings(archive: Path) -> pd.DataFrame:
    catalog = read_catalog(archive)
    measured = measure_archive(archive, catalog, 2, None)
    measurements = measured.table(catalog, 0.6)
    near = near_copies(catalog, measurements, measured.fingerprints, RECOMMENDED)
    measurements = with_same_pixels(
        archive, catalog, measurements, near["near_group"], measured.fingerprints.thumbnails, 2
    )
    return run_checks(measured_table(catalog, measurements, near), read_skipped(archive), RECOMMENDED)


def groups(found: pd.DataFrame, check: str) -> list[list[str]]:
    found = found[found["check"] == check]
    return sorted(sorted(paths) for paths in found.groupby("group")["path"].agg(list))


JPEG = file(OWL, "JPEG", quality=85, progressive=True)
GRAY = file(DOG.convert("L"), "JPEG", quality=70)
INKS = file(DOG.transpose(Image.Transpose.FLIP_LEFT_RIGHT).convert("CMYK"), "JPEG", quality=90)


def test_every_format_without_loss_holds_the_pixels_of_a_jpeg(
    make_archive: MakeArchive, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "bird/a.jpg": JPEG,
        "bird/a.png": file(decoded(JPEG), "PNG"),
        "bird/a.bmp": file(decoded(JPEG), "BMP"),
        "bird/a.tif": file(decoded(JPEG), "TIFF"),
        "bird/a.webp": file(decoded(JPEG), "WEBP", lossless=True),
        "dog/gray.jpg": GRAY,
        "dog/gray.png": file(decoded(GRAY), "PNG"),
        "dog/inks.jpg": INKS,
        "dog/inks.png": file(decoded(INKS).convert("RGB"), "PNG"),
    }
    found = findings(make_archive(files))
    of_owl = sorted(path for path in files if path.startswith("bird"))
    expected = sorted([of_owl, ["dog/gray.jpg", "dog/gray.png"], ["dog/inks.jpg", "dog/inks.png"]])
    assert groups(found, "identical_pixels") == expected
    assert groups(found, "near_duplicate") in ([], [["dog/gray.jpg", "dog/gray.png", "dog/inks.jpg", "dog/inks.png"]])
    assert "audit: 6 images were read again" in capsys.readouterr().out, "one of those with the same reduced pixels"


@pytest.mark.parametrize("orientation", [3, 5, 6])
def test_a_jpeg_that_says_how_it_is_turned_holds_the_pixels_of_the_upright_image(
    make_archive: MakeArchive, orientation: int
) -> None:
    sideways = turned(JPEG, orientation)
    undo = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270}[orientation]
    upright = file(decoded(sideways).transpose(undo), "PNG")
    found = findings(make_archive({"bird/a.jpg": sideways, "bird/b.png": upright}))
    assert groups(found, "identical_pixels") == [["bird/a.jpg", "bird/b.png"]]
    assert groups(found, "near_duplicate") == []


def test_a_single_other_pixel_makes_a_near_duplicate(make_archive: MakeArchive) -> None:
    levels = np.array(decoded(JPEG))
    levels[100, 100, 1] ^= 1
    found = findings(make_archive({"bird/a.jpg": JPEG, "bird/b.png": file(Image.fromarray(levels), "PNG")}))
    assert groups(found, "identical_pixels") == []
    assert groups(found, "near_duplicate") == [["bird/a.jpg", "bird/b.png"]]


def test_copies_in_two_classes_are_a_conflict_and_all_copies_of_the_jpeg_go_with_it(make_archive: MakeArchive) -> None:
    commented = JPEG[:2] + b"\xff\xfe\x00\x06note" + JPEG[2:]
    files = {"bird/a.jpg": JPEG, "bird/b.jpg": commented, "bird/c.png": file(decoded(JPEG), "PNG"), "owl/d.jpg": JPEG}
    found = findings(make_archive(files))
    assert groups(found, "identical_pixels") == [["bird/a.jpg", "bird/b.jpg", "bird/c.png"]]
    assert set(found.loc[found["check"] == "near_conflicting_label", "path"]) == set(files)


def test_only_images_in_other_formats_that_look_the_same_are_read_again(
    make_archive: MakeArchive, capsys: pytest.CaptureFixture[str]
) -> None:
    smaller = OWL.resize((OWL.width // 2, OWL.height // 2))
    files = {
        "bird/a.jpg": JPEG,
        "bird/b.jpg": file(OWL, "JPEG", quality=50),
        "bird/smaller.png": file(smaller, "PNG"),
        "dog/a.png": file(DOG, "PNG"),
    }
    found = findings(make_archive(files))
    assert groups(found, "near_duplicate") == [["bird/a.jpg", "bird/b.jpg", "bird/smaller.png"]]
    assert "were read again" not in capsys.readouterr().out


def test_a_decoder_that_crashes_at_full_size_costs_one_digest(
    make_archive: MakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = DOES_WHAT_FILES_SAY.replace("measure = measuring.measure", "measure = measuring.whole_pixels_of")
    program = program.replace("measuring.measure = does", "measuring.whole_pixels_of = does")
    monkeypatch.setattr(measuring_process, "PROGRAM", ("-c", program))
    archive = make_archive({"bird/a.jpg": JPEG, "bird/b.jpg": b"crash", "bird/c.jpg": b"text", "bird/d.jpg": JPEG})
    digests = whole_pixels(archive, read_catalog(archive), 2)
    assert digests[0] == digests[3] != 0
    assert digests[1] == digests[2] == 0
