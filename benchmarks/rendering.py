"""Pictures to files: the usual ways, the odd ways, and pictures that are spoilt before they are stored."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageFilter

from components.formats.image_formats import EXTENSIONS, read_formats

Change = Callable[[Image.Image, np.random.Generator], Image.Image]

AVIF = "AVIF" in read_formats()
"""Whether the installed Pillow reads and writes it; without, no data set holds it."""

# How often data sets use each.
_EXTENSION_SHARES = {".jpg": 0.85, ".png": 0.07, ".gif": 0.01, ".bmp": 0.01, ".webp": 0.04, ".tif": 0.01, ".avif": 0.01}
if not AVIF:
    del _EXTENSION_SHARES[".avif"]


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return an image's bytes in a format."""
    buffer = io.BytesIO()
    # A progressive JPEG must fit into one block, and that of noise is larger than Pillow reckons. The setting is all of
    # Pillow's, and changes the bytes of a PNG too: it is put back.
    before = ImageFile.MAXBLOCK
    ImageFile.MAXBLOCK = 2**25
    try:
        image.save(buffer, image_format, **options)
    finally:
        ImageFile.MAXBLOCK = before
    return buffer.getvalue()


def any_extension(generator: np.random.Generator) -> str:
    """Return an extension as often as data sets use it."""
    shares = np.array(list(_EXTENSION_SHARES.values()))
    return str(generator.choice(list(_EXTENSION_SHARES), p=shares / shares.sum()))


def encoded_somehow(image: Image.Image, generator: np.random.Generator) -> tuple[bytes, str]:
    """Return the bytes of a picture in one of the usual formats, and the extension."""
    extension = any_extension(generator)
    return encoded(image, extension, generator), extension


def encoded(image: Image.Image, extension: str, generator: np.random.Generator, least_quality: int = 70) -> bytes:
    """Return the bytes of a picture; for JPEG, quality, chroma subsampling and progression are left to chance."""
    if extension == ".jpg":
        quality = int(generator.integers(least_quality, 97))
        subsampling, progressive = int(generator.integers(0, 3)), bool(generator.random() < 0.3)
        return saved(image, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    if extension == ".webp":
        return saved(image, "WEBP", quality=int(generator.integers(75, 96)), method=1)
    if extension == ".png":
        return saved(image, "PNG", compress_level=int(generator.integers(1, 7)))
    if extension == ".avif":
        return saved(image, "AVIF", quality=int(generator.integers(60, 91)), speed=9)
    return saved(image, EXTENSIONS[extension])


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    """Return what is left of a picture after JPEG at a quality."""
    return Image.open(io.BytesIO(saved(image, "JPEG", quality=quality))).convert("RGB")


WRONG_EXTENSIONS = (
    (".png", ".jpg"),
    (".jpg", ".png"),
    (".webp", ".jpg"),
    (".gif", ".jpg"),
    (".bmp", ".jpg"),
    (".tif", ".jpg"),
    (".jpg", ".webp"),
    *([(".avif", ".jpg"), (".jpg", ".avif")] if AVIF else []),
)
"""Content and what the name says."""


@dataclass(frozen=True)
class StoredOddly:
    """A way to store a picture that other programs stumble over.

    Attributes:
        how: For the ground truth.
        extension: Of the file.
        checks: What should be found.
        usual: How many, in a data set of the usual size.
        encode: From a picture and a running number to bytes.
    """

    how: str
    extension: str
    checks: tuple[str, ...]
    usual: int
    encode: Callable[[Image.Image, int], bytes]


def _turned(image_format: str) -> Callable[[Image.Image, int], bytes]:
    def encode(image: Image.Image, number: int) -> bytes:
        exif = Image.Exif()
        exif[274] = 2 + number % 7
        return saved(image, image_format, exif=exif)

    return encode


def _animation(image_format: str) -> Callable[[Image.Image, int], bytes]:
    def encode(image: Image.Image, number: int) -> bytes:
        frames = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)] * (1 + number % 3)
        frames = [frame.rotate(7 * index) for index, frame in enumerate(frames)]
        data = saved(image, image_format, save_all=True, append_images=frames, duration=100)
        return _without_times(data) if image_format == "AVIF" else data

    return encode


def _without_times(data: bytes) -> bytes:
    """Return a file of ISO boxes without when it was made: the same picture gives the same bytes."""
    for box in (b"mvhd", b"tkhd", b"mdhd"):
        first, found, rest = data.partition(box)
        data = first + found + rest[:4] + bytes(16) + rest[20:]  # both times come after version and flags
    return data


def _with_alpha(mode: str, image_format: str) -> Callable[[Image.Image, int], bytes]:
    def encode(image: Image.Image, _number: int) -> bytes:
        transparent = image.convert(mode)
        transparent.putalpha(Image.linear_gradient("L").resize(image.size))
        return saved(transparent, image_format)

    return encode


def _transparent_palette(image: Image.Image, _number: int) -> bytes:
    return saved(image.quantize(128), "PNG", transparency=3)


def _sixteen_bit_gray(image_format: str) -> Callable[[Image.Image, int], bytes]:
    def encode(image: Image.Image, _number: int) -> bytes:
        return saved(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), image_format)

    return encode


def _sixteen_bit_colour(image: Image.Image, _number: int) -> bytes:
    levels = np.asarray(image)[..., ::-1].astype(np.uint16) * 257
    return bytes(cv2.imencode(".png", levels)[1])


def _twelve_bit_avif(image: Image.Image, _number: int) -> bytes:
    levels = np.asarray(image)[..., ::-1].astype(np.uint16) * 16
    return bytes(cv2.imencode(".avif", levels, [cv2.IMWRITE_AVIF_DEPTH, 12, cv2.IMWRITE_AVIF_SPEED, 9])[1])


def _gray_as_colour(image_format: str) -> Callable[[Image.Image, int], bytes]:
    return lambda image, _number: saved(image.convert("L").convert("RGB"), image_format)


_STORED_AS_AVIF = (
    StoredOddly("orientation in boxes, AVIF", ".avif", ("exif_rotated",), 3, _turned("AVIF")),
    StoredOddly("AVIF of several frames", ".avif", ("animated",), 2, _animation("AVIF")),
    StoredOddly("RGBA AVIF", ".avif", ("alpha",), 2, _with_alpha("RGB", "AVIF")),
    StoredOddly("12-bit AVIF", ".avif", ("sixteen_bit",), 2, _twelve_bit_avif),
    StoredOddly("gray AVIF", ".avif", ("grayscale",), 2, lambda image, _: saved(image.convert("L"), "AVIF")),
)
STORED_ODDLY = (
    StoredOddly("EXIF orientation, JPEG", ".jpg", ("exif_rotated",), 14, _turned("JPEG")),
    StoredOddly("EXIF orientation, PNG", ".png", ("exif_rotated",), 3, _turned("PNG")),
    StoredOddly("EXIF orientation, WebP", ".webp", ("exif_rotated",), 3, _turned("WEBP")),
    StoredOddly("GIF of several frames", ".gif", ("animated",), 4, _animation("GIF")),
    StoredOddly("WebP of several frames", ".webp", ("animated",), 4, _animation("WEBP")),
    StoredOddly("PNG of several frames", ".png", ("animated",), 3, _animation("PNG")),
    StoredOddly("TIFF of several pages", ".tif", ("animated",), 2, _animation("TIFF")),
    StoredOddly("CMYK JPEG", ".jpg", ("cmyk",), 6, lambda image, _: saved(image.convert("CMYK"), "JPEG", quality=90)),
    StoredOddly("CMYK TIFF", ".tif", ("cmyk",), 2, lambda image, _: saved(image.convert("CMYK"), "TIFF")),
    StoredOddly("RGBA PNG", ".png", ("alpha",), 6, _with_alpha("RGB", "PNG")),
    StoredOddly("RGBA WebP", ".webp", ("alpha",), 3, _with_alpha("RGB", "WEBP")),
    StoredOddly("LA PNG", ".png", ("alpha", "grayscale"), 4, _with_alpha("L", "PNG")),
    StoredOddly("palette PNG with a transparent colour", ".png", ("palette", "alpha"), 3, _transparent_palette),
    StoredOddly("palette PNG", ".png", ("palette",), 6, lambda image, _: saved(image.quantize(200), "PNG")),
    StoredOddly("palette TIFF", ".tif", ("palette",), 2, lambda image, _: saved(image.quantize(200), "TIFF")),
    StoredOddly("16-bit gray PNG", ".png", ("sixteen_bit", "grayscale"), 4, _sixteen_bit_gray("PNG")),
    StoredOddly("16-bit gray TIFF", ".tif", ("sixteen_bit", "grayscale"), 2, _sixteen_bit_gray("TIFF")),
    StoredOddly("16-bit colour PNG", ".png", ("sixteen_bit",), 3, _sixteen_bit_colour),
    StoredOddly("gray JPEG", ".jpg", ("grayscale",), 10, lambda image, _: saved(image.convert("L"), "JPEG")),
    StoredOddly("gray stored as colour, JPEG", ".jpg", ("grayscale",), 10, _gray_as_colour("JPEG")),
    StoredOddly("gray stored as colour, PNG", ".png", ("grayscale",), 4, _gray_as_colour("PNG")),
    *(_STORED_AS_AVIF if AVIF else ()),
)


def _scaled_levels(image: Image.Image, offset: float, factor: float) -> Image.Image:
    return Image.fromarray(np.clip(offset + np.asarray(image) * factor, 0, 255).round().astype(np.uint8))


def _dark(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    return _scaled_levels(image, 0, generator.uniform(0.03, 0.13))


def _black(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    noise = generator.normal(4, 2, (image.height, image.width, 3))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


def _bright(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    factor = generator.uniform(0.02, 0.11)
    return _scaled_levels(image, 255 * (1 - factor), factor)


def _low_contrast(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    deviation = float(np.asarray(image.convert("L")).std())
    factor = generator.uniform(1, 4) / deviation
    return _scaled_levels(image, generator.uniform(60, 180) * (1 - factor), factor)


def _blank(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    colour = generator.uniform(60, 200, 3)
    noise = generator.normal(colour, generator.uniform(0.2, 2.0), (image.height, image.width, 3))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


def _few_tones(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Reduce a picture to two or three flat colours, as a fax or a bad scan does."""
    luma = np.asarray(image.convert("L").filter(ImageFilter.MedianFilter(5)))
    tones = int(generator.integers(2, 4))
    limits = np.quantile(luma, np.arange(1, tones) / tones)
    colours = generator.integers(20, 236, (tones, 3)).astype(np.uint8)
    colours[0], colours[-1] = colours[0] // 4, 255 - colours[-1] // 4
    return Image.fromarray(colours[np.searchsorted(limits, luma)])


def _one_mark(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Return an empty area with one flat mark on it."""
    pixels = np.full((image.height, image.width, 3), generator.integers(60, 180, 3), np.uint8)
    height, width = (int(side * generator.uniform(0.15, 0.5)) for side in pixels.shape[:2])
    top, left = int(generator.integers(image.height - height)), int(generator.integers(image.width - width))
    pixels[top : top + height, left : left + width] = generator.choice([10, 245])
    return Image.fromarray(pixels)


def _out_of_focus(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(max(image.size) * generator.uniform(0.011, 0.03)))


def _lens_blur(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Blur by a disc, as a lens out of focus does."""
    radius = max(2, round(max(image.size) * generator.uniform(0.015, 0.035)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.float32)
    return Image.fromarray(cv2.filter2D(np.asarray(image), -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT))


def _enlarged_thumbnail(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Enlarge a thumbnail of 24 to 40 px, as people do who have nothing better."""
    long_side = int(generator.integers(24, 41))
    scale = long_side / max(image.size)
    small = image.resize((max(4, round(image.width * scale)), max(4, round(image.height * scale))))
    return small.resize(image.size, Image.Resampling.BICUBIC)


PIXEL_DEFECTS: tuple[tuple[str, str, int, Change], ...] = (
    ("dark", "3 to 13 % of its light", 22, _dark),
    ("dark", "black with sensor noise", 4, _black),
    ("bright", "2 to 11 % of its shade", 22, _bright),
    ("low_contrast", "luma deviates by 1 to 4", 14, _low_contrast),
    ("low_contrast", "one colour with noise", 8, _blank),
    ("low_information", "two or three tones", 10, _few_tones),
    ("low_information", "one flat mark", 10, _one_mark),
    ("blurry", "Gaussian, 1.1 to 3 % of the long side", 14, _out_of_focus),
    ("blurry", "disc, 1.5 to 3.5 % of the long side", 8, _lens_blur),
    ("blurry", "enlarged thumbnail", 6, _enlarged_thumbnail),
)
"""Check, how, how many in a data set of the usual size, and what is done to a picture."""


def _tiny(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    scale = int(generator.integers(6, 32)) / min(image.size)
    return image.resize((max(6, int(image.width * scale)), max(6, int(image.height * scale))), Image.Resampling.LANCZOS)


def _huge(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    scale = float(generator.uniform(2600, 3400)) / (image.width * image.height) ** 0.5
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def _strip(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Cut a picture to a strip, along or across."""
    ratio = generator.uniform(3.3, 6)
    across = bool(generator.random() < 0.5)
    long_side = image.width if across else image.height
    short_side = max(36, round(long_side / ratio))
    stretched = image if long_side / short_side > 3.2 else image.resize((image.width * 2, image.height * 2))
    width, height = stretched.size
    if across:
        top = (height - max(36, round(width / ratio))) // 2
        return stretched.crop((0, top, width, height - top))
    left = (width - max(36, round(height / ratio))) // 2
    return stretched.crop((left, 0, width - left, height))


SHAPE_DEFECTS: tuple[tuple[str, str, int, Change], ...] = (
    ("tiny", "shorter side of 6 to 31 px", 16, _tiny),
    ("size_outlier", "enlarged to 7 to 12 megapixels", 5, _huge),
    ("aspect_outlier", "a strip", 16, _strip),
)
"""As ``PIXEL_DEFECTS``."""


def _png_again(image: Image.Image, _generator: np.random.Generator) -> list[tuple[bytes, str]]:
    return [(saved(image, "PNG", compress_level=level), ".png") for level in (1, 9)]


def _commented_jpeg(image: Image.Image, generator: np.random.Generator) -> list[tuple[bytes, str]]:
    data = encoded(image, ".jpg", generator)
    comment = b"\xff\xfe" + (30).to_bytes(2, "big") + b"a camera's note, 28 letters."
    return [(data, ".jpg"), (data[:2] + comment + data[2:], ".jpg")]


def _other_lossless(image: Image.Image, _generator: np.random.Generator) -> list[tuple[bytes, str]]:
    return [(saved(image, "BMP"), ".bmp"), (saved(image, "PNG"), ".png"), (saved(image, "TIFF"), ".tif")]


def _jpeg_as(extension: str) -> Callable[[Image.Image, np.random.Generator], list[tuple[bytes, str]]]:
    def store_again(image: Image.Image, generator: np.random.Generator) -> list[tuple[bytes, str]]:
        data = encoded(image, ".jpg", generator)
        options = {"lossless": True, "method": 1} if extension == ".webp" else {}
        return [(data, ".jpg"), (saved(Image.open(io.BytesIO(data)), EXTENSIONS[extension], **options), extension)]

    return store_again


LOSSLESS_COPIES: Mapping[str, Callable[[Image.Image, np.random.Generator], list[tuple[bytes, str]]]] = {
    "PNG compressed again": _png_again,
    "JPEG with a comment": _commented_jpeg,
    "BMP, PNG and TIFF": _other_lossless,
    "JPEG stored as PNG": _jpeg_as(".png"),
    "JPEG stored as BMP": _jpeg_as(".bmp"),
    "JPEG stored as WebP without loss": _jpeg_as(".webp"),
    "JPEG stored as TIFF": _jpeg_as(".tif"),
}
"""Files with the same pixels and other bytes, by how."""
