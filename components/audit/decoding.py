"""Image bytes to pixels, once and at a reduced size: the only place of the audit that trusts nothing it is given.

JPEG goes to libjpeg-turbo, which stops at the first damaged byte and scales by 1/2, 1/4 or 1/8 inside the inverse DCT
(a tenth of the work of a full decode). The rest goes to Pillow, with an allow-list of formats.
"""

import contextlib
import math
import re
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from components.audit import iso_media
from components.audit.decoding_memory import decoding_bytes, is_deep
from components.audit.file_ends import ends_early
from components.audit.jpeg_scans import has_zeros_nobody_codes, leaves_pixels_unread
from components.formats.image_formats import read_formats
from components.formats.stored_pixels import (
    Pixels,
    in_its_turn,
    is_held_whole,
    loaded,
    may_be_turned,
    opened,
    reduced_rgb,
    upright_turn,
)

PIXEL_LIMIT = 89_478_485
"""An image that declares more pixels is refused unread: Pillow's own limit, a quarter of a gibibyte of RGB."""

JPEG_PIXEL_LIMIT = 2**28
"""The same for a JPEG that can be decoded at a reduced size a row at a time: cameras have up to 200 megapixels."""

MEMORY_LIMIT = 800_000_000
"""Bytes; an image that would take more while it is decoded is refused unread: with all else, that stays below 1 GB."""

DECODED_SIDE_PX = 160
"""The reduced image's long side is at least this, where the stored one is: enough for luma statistics, and a quarter
of 640."""

# Leading bytes of the formats that are read (each format's own specification).
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)
# Leading bytes of what turns up under an image's name and is not read.
_OTHER_SIGNATURES = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"8BPS", "a Photoshop file; export it as JPEG or PNG"),
    (b"\x00\x00\x01\x00", "a Windows icon; convert it to PNG"),
)
_FRAMES = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2")  # start one that libjpeg reads (ITU T.81, table B.1)
_JPEG_COMPONENTS = {"Gray": 1, "YCbCr": 3, "RGB": 3, "CMYK": 4, "YCCK": 4}
_JPEG_MODES = {"Gray": "L", "YCbCr": "RGB", "RGB": "RGB", "CMYK": "CMYK", "YCCK": "CMYK"}


class UnreadableImageError(Exception):
    """The bytes are not an image that can be decoded whole.

    Args:
        cause: Name of the check that reports it, ``truncated`` for example.
        message: Why, for a person.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class DecodedImage:
    """What one decode gives.

    Attributes:
        pixels: uint8 RGB ``[height, width, 3]``, reduced, without the EXIF orientation.
        format: One of ``read_formats``, by content.
        mode: Pillow's mode of the stored image.
        width_px: Of the stored image.
        height_px: Of the stored image.
        exif_rotated: The EXIF orientation turns or mirrors the image.
        turn: What brings ``pixels`` upright, ``None`` when they are.
        animated: There is more than one frame or page; the pixels are the first's.
        alpha: There is an alpha channel or a transparent colour.
        sixteen_bit: A stored channel has more than 8 bits.
        warning: What the decoder complained about though it gave a whole image, empty when nothing.
    """

    pixels: Pixels
    format: str
    mode: str
    width_px: int
    height_px: int
    exif_rotated: bool
    turn: Image.Transpose | None
    animated: bool
    alpha: bool
    sixteen_bit: bool
    warning: str


def sniff_format(data: bytes) -> str | None:
    """Return the format that the leading bytes announce, ``None`` for one that is not read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), iso_media.format_of(data))


def decode(data: bytes, minimum_side_px: int) -> DecodedImage:
    """Decode an image at the smallest cheap size whose long side is at least ``minimum_side_px``.

    Raises:
        UnreadableImageError: When the bytes are no image, are damaged or cut short, or declare too many pixels.
    """
    image_format = sniff_format(data)
    if image_format is None or image_format not in read_formats():
        if _is_jpeg_with_stray_start(data):
            raise UnreadableImageError("corrupt", "the JPEG is damaged: stray bytes follow its first marker")
        raise UnreadableImageError("not_an_image" if data else "empty_file", _what_it_is(data))
    if image_format == "JPEG":
        return _decode_jpeg(data, minimum_side_px)
    return _decode_with_pillow(data, image_format, minimum_side_px, warning="")


def decode_whole(data: bytes) -> DecodedImage:
    """Decode an image at full size, by Pillow whatever its format: what stored it again most likely decoded it so.

    Raises:
        UnreadableImageError: As ``decode`` does.
    """
    image_format = sniff_format(data)
    if image_format is None or image_format not in read_formats():
        raise UnreadableImageError("not_an_image", _what_it_is(data))
    return _decode_with_pillow(data, image_format, PIXEL_LIMIT, warning="")


def decode_what_is_there(data: bytes, minimum_side_px: int) -> Pixels | None:
    """Return the upright pixels of an image that may be damaged, for people to see; ``None`` when there are none."""
    pixels: Pixels | None
    try:
        image = decode(data, minimum_side_px)
        pixels, turn = image.pixels, image.turn
    except UnreadableImageError:
        pixels = _decode_damaged_jpeg(data, minimum_side_px)
        turn = None if pixels is None else _jpeg_turn(data)
    return pixels if pixels is None or turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))


def _decode_damaged_jpeg(data: bytes, minimum_side_px: int) -> Pixels | None:
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        if not 0 < height * width <= (PIXEL_LIMIT if _is_held_whole(data, colour) else JPEG_PIXEL_LIMIT):
            return None
        return _turbo(data, height, width, minimum_side_px, strict=False)
    except (ValueError, KeyError):  # the KeyError is simplejpeg's for a colour space that the header does not name
        return None


def _is_jpeg_with_stray_start(data: bytes) -> bool:
    """Return whether bytes that begin as a JPEG does and go on otherwise hold a frame and a scan all the same."""
    if not data.startswith(_SIGNATURES[0][0][:2]):
        return False
    return any(frame in data for frame in _FRAMES) and b"\xff\xda" in data


def _what_it_is(data: bytes) -> str:
    """Return why bytes that announce no image format are not one, as well as can be told."""
    start = data[:512]
    known = next((name for signature, name in _OTHER_SIGNATURES if data.startswith(signature)), None)
    if known or not data:
        return f"not an image that is read: the file holds {known}" if known else "the file is empty (0 bytes)"
    if data[4:8] == b"ftyp":
        return "the content is HEIC, AVIF or video, which is not read; convert it to JPEG or PNG"
    if not any(start):
        return f"not an image: the file begins with {len(start)} zero bytes"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return "not an image: the file holds a web page, as a failed download leaves behind"
    is_text = start.isascii() and b"\x00" not in start
    return f"not an image: the {'file holds text' if is_text else 'content matches no image format that is read'}"


def _check_size(width_px: int, height_px: int, limit_px: int = PIXEL_LIMIT) -> None:
    if width_px * height_px > limit_px:
        raise UnreadableImageError("decompression_bomb", _bomb(width_px * height_px, limit_px))


def _bomb(declared_px: int, limit_px: int = PIXEL_LIMIT) -> str:
    declared, limit = declared_px / 1e6, limit_px / 1e6
    return f"decompression bomb: it declares {declared:,.0f} megapixels, above the limit of {limit:.0f}"


def _is_held_whole(data: bytes, colour: str) -> bool:
    return is_held_whole(data, _JPEG_COMPONENTS.get(colour, max(_JPEG_COMPONENTS.values())))


def _check_memory(image: Image.Image, data: bytes) -> None:
    needed = decoding_bytes(image, data)
    if needed > MEMORY_LIMIT:
        pixels = image.width * image.height
        raise UnreadableImageError(
            "decompression_bomb",
            f"decompression bomb: decoding {pixels / 1e6:,.0f} megapixels stored in this way takes "
            f"{needed / 1e9:,.2f} GB of memory, above the limit of {MEMORY_LIMIT / 1e9:.1f}",
        )


def _decode_jpeg(data: bytes, minimum_side_px: int) -> DecodedImage:
    limit_px = PIXEL_LIMIT
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
        held_whole = _is_held_whole(data, colour)
        limit_px = PIXEL_LIMIT if held_whole else JPEG_PIXEL_LIMIT
        _check_size(width, height, limit_px)
        with in_its_turn((width, height) if held_whole else (0, 0)):
            pixels = _turbo(data, height, width, minimum_side_px, strict=True)
    except ValueError as error:
        complaint = str(error)
        if "extraneous bytes" in complaint and not leaves_pixels_unread(data, complaint):
            _refuse_zeros(data)
            # Common and harmless on the web, so a warning. But damage further on hides behind this first complaint:
            # Pillow, which reads past it, has the last word.
            return _decode_with_pillow(data, "JPEG", minimum_side_px, complaint, limit_px)
        raise _damaged(data, "JPEG", complaint) from error
    _refuse_zeros(data)
    mode = _JPEG_MODES.get(colour, colour)
    turn = _jpeg_turn(data)
    return DecodedImage(pixels, "JPEG", mode, width, height, turn is not None, turn, False, False, False, warning="")


def _refuse_zeros(data: bytes) -> None:
    if has_zeros_nobody_codes(data):
        raise _damaged(data, "JPEG", "zeros lie where its compressed pixels should be")


def _jpeg_turn(data: bytes) -> Image.Transpose | None:
    if not may_be_turned(data):
        return None
    try:
        with opened(data, ("JPEG",)) as image:
            return upright_turn(image)
    except Exception:
        # Pillow reads more of the header than libjpeg-turbo and may stumble there; the pixels are there all the same.
        return None


def _turbo(data: bytes, height: int, width: int, minimum_side_px: int, *, strict: bool) -> Pixels:
    factor = _reduction(max(height, width), minimum_side_px, (8, 4, 2))
    # Without both minimums simplejpeg picks 3/8 or 5/8, which have no fast path.
    pixels: Pixels = simplejpeg.decode_jpeg(
        data, "RGB", min_height=math.ceil(height / factor), min_width=math.ceil(width / factor), strict=strict
    )
    return pixels


def _reduction(long_side_px: int, minimum_side_px: int, factors: tuple[int, ...]) -> int:
    return next((factor for factor in factors if long_side_px >= minimum_side_px * factor), 1)


def _decode_with_pillow(
    data: bytes, image_format: str, minimum_side_px: int, warning: str, limit_px: int = PIXEL_LIMIT
) -> DecodedImage:
    try:
        # The turn ends when the image is closed, and its memory free.
        with contextlib.ExitStack() as turn_taking, opened(data, (image_format,)) as image:
            width, height, mode = image.width, image.height, image.mode
            _check_size(width, height, limit_px)
            # Of TIFF, the orientation is forgotten once Pillow, loading, has turned the image. Of PNG, asking loads the
            # image and hides what is wrong with it. HEIF is turned already.
            turned_by_loading = image_format == "TIFF" and upright_turn(image) is not None
            turned_by_loading |= image.info.get("original_orientation") not in (None, 1)
            if image_format == "JPEG":
                image.draft("RGB", (minimum_side_px, minimum_side_px))
            _check_memory(image, data)
            sixteen_bit = is_deep(image, data)
            factor = max(1, max(image.size) // minimum_side_px)
            turn_taking.enter_context(in_its_turn((width, height)))
            pixels = reduced_rgb(loaded(image, data), factor)
            if image_format == "HEIF":
                width, height = image.size  # only now that of the turned image
            turn = upright_turn(image)
            return DecodedImage(
                pixels,
                image_format,
                mode,
                width,
                height,
                exif_rotated=turned_by_loading or turn is not None,
                turn=turn,
                animated=image_format != "JPEG" and bool(getattr(image, "is_animated", False)),
                alpha=image.has_transparency_data,
                sixteen_bit=sixteen_bit,
                warning=warning,
            )
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        if image_format in ("AVIF", "HEIF"):
            _check_size(iso_media.declared_pixels(data), 1)  # their libraries refuse such a size as a wrong header
        raise _damaged(data, image_format, "its header cannot be read") from error
    except Image.DecompressionBombError as error:
        # Pillow refuses far larger ones before it tells their size otherwise than in its message.
        declared = re.search(r"\d+", str(error))
        message = _bomb(int(declared[0])) if declared else f"decompression bomb: {error}"
        raise UnreadableImageError("decompression_bomb", message) from error
    except MemoryError as error:
        # Perhaps an absurd header, perhaps a small machine: not to be called damaged.
        raise UnreadableImageError("unreadable", "decoding it takes more memory than there is") from error
    except Exception as error:
        # Pillow's format plugins raise whatever a damaged file leads them to (OSError, SyntaxError, struct.error,
        # IndexError...). Each of them is about this file alone, and is recorded in its row.
        complaint = re.sub(r" at 0x[0-9a-f]+", "", str(error)) or type(error).__name__
        raise _damaged(data, image_format, complaint) from error


def _damaged(data: bytes, image_format: str, complaint: str) -> UnreadableImageError:
    if ends_early(data, image_format):
        return UnreadableImageError(
            "truncated", f"the {image_format} is cut short: the file ends before the image does"
        )
    return UnreadableImageError("corrupt", f"the {image_format} is damaged: {complaint}")
