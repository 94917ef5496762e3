"""AVIF and HEIF: read like any other format where the installed libraries have them, and named where they have not."""

import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import AvifImagePlugin, Image

from components.audit import iso_media
from components.audit.decoding import decode_what_is_there, sniff_format
from components.audit.measurements import Measurement, analyze
from components.audit.recommended import RECOMMENDED
from components.formats.image_formats import EXTENSIONS, read_formats
from tests.audit.images import photo
from tests.audit.test_checks import found
from tests.audit.test_checks import image as measured_image

needs_avif = pytest.mark.skipif(not AvifImagePlugin.SUPPORTED, reason="this Pillow has no AVIF")


def avif(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "AVIF", **options)
    return buffer.getvalue()


def stored(image: Image.Image, **options: Any) -> Measurement:
    return analyze(avif(image, **options))


def twelve_bits() -> bytes:
    levels = np.full((48, 64, 3), 2048, np.uint16)
    return bytes(cv2.imencode(".avif", levels, [cv2.IMWRITE_AVIF_DEPTH, 12])[1])


@needs_avif
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_avif_is_measured_as_other_formats_are(mode: str) -> None:
    row = analyze(photo(2, 640, 480, "AVIF", mode))
    assert (row.error, row.format, row.width_px, row.height_px) == (None, "AVIF", 640, 480)
    assert row.brightness == pytest.approx(analyze(photo(2, 640, 480, "PNG", mode)).brightness, abs=1)
    assert (row.colour < RECOMMENDED.grayscale_difference) == (mode == "L")
    assert not row.sixteen_bit


@needs_avif
def test_how_avif_is_stored() -> None:
    transparent = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    row = stored(transparent)
    assert (row.mode, row.alpha) == ("RGBA", True)
    assert row.luma_p5 > 250, "transparency lies on white"
    red, blue = (Image.new("RGB", (64, 48), colour) for colour in ("red", "blue"))
    assert stored(red, save_all=True, append_images=[blue]).animated
    assert not stored(red).animated
    assert analyze(twelve_bits()).sixteen_bit
    assert not stored(red).sixteen_bit


@needs_avif
@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_upright_whatever_its_boxes_say(orientation: int) -> None:
    """Pillow writes the orientation as the boxes irot and imir, and reads these back as EXIF."""
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.new("RGB", (64, 96), "white")
    upright.paste((200, 0, 0), (0, 0, 32, 48))
    kept = upright.transpose(undone[orientation]) if orientation in undone else upright
    exif = Image.Exif()
    exif[274] = orientation
    data = avif(kept, exif=exif, quality=95)
    assert analyze(data).exif_rotated == (orientation != 1)
    pixels = decode_what_is_there(data, 32)
    assert pixels is not None
    difference = np.asarray(upright.reduce(3)).astype(int) - pixels
    assert np.abs(difference).mean() < 4


@needs_avif
def test_every_cut_of_an_avif_is_found() -> None:
    for whole in (photo(3, 120, 90, "AVIF"), avif(Image.new("RGB", (64, 48)), save_all=True)):
        for kept in range(12, len(whole) - 1, len(whole) // 60 + 1):
            row = analyze(whole[:kept])
            assert row.cause == "truncated", (kept, row.error)
        assert analyze(whole + bytes(500)).error is None


@needs_avif
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_damage_and_absurd_sizes_are_told_apart() -> None:
    data = bytearray(photo(3, 120, 90, "AVIF"))
    start = data.index(b"mdat") + 20
    for at in range(start, start + 400):
        data[at] ^= 0x5A
    assert analyze(bytes(data)).cause == "corrupt"
    data = bytearray(photo(3, 120, 90, "AVIF"))
    for width, height in ((60_000, 60_000), (10_000, 9_000)):
        struct.pack_into(">II", data, data.index(b"ispe") + 8, width, height)
        row = analyze(bytes(data))
        assert row.cause == "decompression_bomb"
        assert f"declares {width * height // 10**6:,} megapixels" in (row.error or "")


@needs_avif
def test_a_wrong_extension_is_found_in_either_direction() -> None:
    assert EXTENSIONS[".avif"] == analyze(photo(1, 64, 48, "AVIF")).format
    assert ("bird/odd.jpg", "wrong_extension") in found(measured_image("bird/odd.jpg", format="AVIF"))
    assert ("bird/odd.avif", "wrong_extension") in found(measured_image("bird/odd.avif", format="JPEG"))
    assert ("bird/good.avif", "wrong_extension") not in found(measured_image("bird/good.avif", format="AVIF"))


def test_what_is_not_read_here_is_named() -> None:
    heic = b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic"
    video = b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isommp42"
    assert sniff_format(heic) == "HEIF"
    assert sniff_format(video) is None
    for data in (video,) if "HEIF" in read_formats() else (video, heic):
        row = analyze(data)
        assert row.cause == "not_an_image"
        assert "is not read; convert it to JPEG or PNG" in (row.error or "")


def test_heic_is_read_where_pillow_heif_is_installed() -> None:
    pytest.importorskip("pillow_heif")
    assert "HEIF" in read_formats()
    exif = Image.Exif()
    exif[274] = 6
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photo(2, 640, 480, "PNG"))).save(buffer, "HEIF", exif=exif)
    row = analyze(buffer.getvalue())
    assert (row.error, row.format, row.exif_rotated) == (None, "HEIF", True)
    assert analyze(buffer.getvalue()[:4000]).cause == "truncated"


@pytest.mark.parametrize(
    ("data", "early"),
    [
        (b"\0\0\0\x10ftypavif\0\0\0\0" + b"\0\0\0\x0cmdat1234", False),
        (b"\0\0\0\x10ftypavif\0\0\0\0" + b"\0\0\0\x0cmdat123", True),
        (b"\0\0\0\x10ftypavif\0\0\0\0", True),
        (b"\0\0\0\x10ftypavif\0\0\0\0" + b"\0\0\0\0mdat", False),
        (b"\0\0\0\x10ftypavif\0\0\0\0" + b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x14" + b"1234" + bytes(9), False),
        (b"\0\0\0\x10ftypavif\0\0\0\0" + b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x15" + b"1234", True),
        (b"\0\0\0\x10ftypavif\0\0\0\0" + b"\0\0\0\x0cmdat1234" + b"\0\0\0", False),
    ],
    ids=["whole", "cut", "no pixels", "open end", "64-bit size", "64-bit size, cut", "padding"],
)
def test_the_end_of_a_file_of_boxes(data: bytes, early: bool) -> None:
    assert iso_media.ends_early(data) == early


@needs_avif
def test_subsampled_colour_is_told_from_full() -> None:
    image = Image.new("RGB", (64, 48), "red")
    assert iso_media.is_subsampled(avif(image))
    assert not iso_media.is_subsampled(avif(image, subsampling="4:4:4"))
