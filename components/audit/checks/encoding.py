"""How an image is stored: what other programs read otherwise than it was meant, or not at all."""

import pandas as pd

from components.audit import naming
from components.audit.checks.conditions import readable
from components.audit.checks.registry import Thresholds, check, image_findings
from components.formats.image_formats import EXTENSIONS


@check("wrong_extension", "warning", "Wrong extension", "The content is of another format than the extension says.")
def wrong_extension(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """The format that the content announces differs from the extension's."""
    images = readable(table)
    extension = naming.extensions(images["filename"])
    wrong = extension.str.lower().map(EXTENSIONS).astype("str") != images["format"]
    found = images[wrong]
    messages = [
        f"The content is {image_format}, the extension is '{written}'."
        for image_format, written in zip(found["format"], extension[wrong], strict=True)
    ]
    return image_findings(found, messages)


@check("exif_rotated", "info", "Stored sideways", "EXIF (tag 274) tells viewers to turn or mirror the image.")
def exif_rotated(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """The EXIF orientation is 2 to 8: programs that ignore it, as most training code does, see the image turned."""
    found = table[table["exif_rotated"]]
    return image_findings(found, ["Its EXIF orientation tells viewers to turn or mirror it."] * len(found))


@check("animated", "info", "Several frames", "The file holds more than one frame or page; only the first is used.")
def animated(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Animations (GIF, PNG, WebP, AVIF) and TIFF files of several pages."""
    found = table[table["animated"]]
    return image_findings(found, [f"The {kind} holds several frames; the first is used." for kind in found["format"]])


@check("cmyk", "info", "Printing colours", "The pixels are CMYK.")
def cmyk(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Images in the four colours of a printer: decoders turn them into RGB differently, some inverted."""
    found = table[table["mode"] == "CMYK"]
    return image_findings(found, ["Its pixels are CMYK, which decoders turn into RGB differently."] * len(found))


@check("alpha", "info", "Transparency", "The image has an alpha channel or a transparent colour.")
def alpha(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """What lies under transparent pixels is arbitrary; they are laid on white, others see black."""
    found = table[table["alpha"]]
    return image_findings(found, [f"It is transparent in places or could be ({mode})." for mode in found["mode"]])


@check("sixteen_bit", "info", "More than 8 bits", "A channel has more than 8 bits.")
def sixteen_bit(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """PNG, TIFF, AVIF and HEIF with 10 to 32 bits a channel: decoders scale, clip or wrap them."""
    found = table[table["sixteen_bit"]]
    return image_findings(found, [f"Its channels have more than 8 bits ({mode})." for mode in found["mode"]])


@check("palette", "info", "Palettes", "The pixels are indices of a palette; GIF, which has no others, is left out.")
def palette(table: pd.DataFrame, _thresholds: Thresholds) -> pd.DataFrame:
    """Images of at most 256 colours: read without their palette, they are noise."""
    found = table[table["mode"].isin(["P", "PA"]) & (table["format"] != "GIF")]
    return image_findings(found, ["Its pixels are indices of a palette of at most 256 colours."] * len(found))
