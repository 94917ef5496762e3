"""How much memory does the largest image that is read take, in each format and mode?

    python -m benchmarks.large_images                       # all of them, ten minutes on two cores
    python -m benchmarks.large_images --only WebP AVIF

Each image has just as many pixels as the audit accepts (most JPEG files may have three times as many as others),
compresses to little, and is measured (as the audit does), drawn as a thumbnail (as its report does) and prepared (as
split does), each in a process of its own. Printed are the peaks of resident memory of the process. The exit code is 1
when one is above 1 GB.
"""

import argparse
import multiprocessing
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.peak_memory import MOST_BYTES, peak_bytes
from components.audit.decoding import JPEG_PIXEL_LIMIT, PIXEL_LIMIT, decode_what_is_there
from components.audit.measurements import analyze
from components.split.image_preparation import Preparation, UndecodableImageError, prepare_image

SIDE_PX = isqrt(PIXEL_LIMIT)
THUMBNAIL_PX = 160


@dataclass(frozen=True)
class Storing:
    """A way to store a large image.

    Attributes:
        format: Pillow's name.
        mode: Pillow's mode of the picture that is stored.
        how: What else matters, for the table.
        options: Of Pillow's ``save``.
        side_px: Of the largest square that is read.
    """

    format: str
    mode: str
    how: str
    options: dict[str, Any]
    side_px: int = SIDE_PX

    @property
    def name(self) -> str:
        """What the table calls it."""
        return " ".join(filter(None, (self.format, self.mode, self.how)))


_ONE_STRIP: dict[str, Any] = {"compression": "tiff_deflate", "strip_size": 2**40}
STORINGS = (
    Storing("JPEG", "RGB", "4:4:4", {"subsampling": 0}, isqrt(JPEG_PIXEL_LIMIT)),
    Storing("JPEG", "CMYK", "", {}, isqrt(JPEG_PIXEL_LIMIT)),
    Storing("JPEG", "RGB", "progressive 4:4:4", {"progressive": True, "subsampling": 0}),
    Storing("JPEG", "CMYK", "progressive", {"progressive": True}),
    Storing("PNG", "L", "", {}),
    Storing("PNG", "RGB", "", {}),
    Storing("PNG", "RGBA", "", {}),
    Storing("PNG", "LA", "", {}),
    Storing("PNG", "P", "transparent", {"transparency": 3}),
    Storing("PNG", "I;16", "", {}),
    Storing("PNG", "RGB", "transparent colour", {"transparency": (1, 2, 3)}),
    Storing("GIF", "P", "", {}),
    Storing("GIF", "P", "transparent", {"transparency": 3}),
    Storing("BMP", "RGB", "", {}),
    Storing("BMP", "RGBA", "", {}),
    Storing("TIFF", "RGB", "deflate, one strip", _ONE_STRIP),
    Storing("TIFF", "RGBA", "deflate, one strip", _ONE_STRIP),
    Storing("TIFF", "CMYK", "deflate, one strip", _ONE_STRIP),
    Storing("TIFF", "I;16", "deflate, one strip", _ONE_STRIP),
    Storing("TIFF", "I", "deflate, one strip", _ONE_STRIP),
    Storing("TIFF", "F", "deflate, one strip", _ONE_STRIP),
    Storing("TIFF", "YCbCr", "JPEG", {"compression": "jpeg"}),
    Storing("WEBP", "RGB", "", {"method": 0}),
    Storing("WEBP", "RGBA", "", {"method": 0}),
    Storing("WEBP", "RGB", "lossless", {"method": 0, "lossless": True, "quality": 0}),
    Storing("WEBP", "RGBA", "lossless", {"method": 0, "lossless": True, "quality": 0}),
    Storing("WEBP", "RGBA", "animated", {"method": 0, "save_all": True}),
    Storing("AVIF", "L", "", {"speed": 10}),
    Storing("AVIF", "RGB", "", {"speed": 10}),
    Storing("AVIF", "RGB", "4:4:4", {"speed": 10, "subsampling": "4:4:4"}),
    Storing("AVIF", "RGBA", "4:4:4", {"speed": 10, "subsampling": "4:4:4"}),
    Storing("AVIF", "RGB", "12 bits", {"speed": 10}),
    Storing("AVIF", "RGBA", "12 bits", {"speed": 10}),
)


def store(storing: Storing, side_px: int, file: Path) -> None:
    """Write a square gradient, transparent in places where the mode can be."""
    if storing.how == "12 bits":
        _store_twelve_bits(storing, side_px, file)
        return
    ramp = Image.linear_gradient("L").resize((side_px, side_px))
    if storing.mode in ("I;16", "I", "F"):
        image = ramp.convert("I") if storing.mode != "F" else ramp.convert("F")
        image = image.convert(storing.mode) if storing.mode == "I;16" else image
    elif storing.mode in ("RGBA", "LA"):
        image = ramp.convert(storing.mode)
        image.putalpha(ramp)
    else:
        image = ramp.convert(storing.mode)
    more = {"append_images": [image.rotate(90)]} if "save_all" in storing.options else {}
    # Pillow writes a TIFF in one strip when its strips may be as large.
    image.save(file, storing.format, **storing.options, **more)


def _store_twelve_bits(storing: Storing, side_px: int, file: Path) -> None:
    row = np.linspace(0, 4095, side_px).astype(np.uint16)
    levels = np.broadcast_to(row[None, :, None], (side_px, side_px, len(storing.mode)))
    settings = [cv2.IMWRITE_AVIF_DEPTH, 12, cv2.IMWRITE_AVIF_SPEED, 10]
    file.write_bytes(bytes(cv2.imencode(".avif", np.ascontiguousarray(levels), settings)[1]))


def measured(data: bytes) -> str:
    """Measure an image as the audit does."""
    return analyze(data).error or "read"


def shown(data: bytes) -> str:
    """Draw an image as the audit's report does."""
    return "read" if decode_what_is_there(data, THUMBNAIL_PX) is not None else "not shown"


def prepared(data: bytes) -> str:
    """Prepare an image as split does."""
    try:
        prepare_image(data, Preparation(256, "stretch"))
    except UndecodableImageError as error:
        return str(error)
    return "read"


WORK: dict[str, Callable[[bytes], str]] = {"measured": measured, "shown": shown, "prepared": prepared}


def peak_of(work: Callable[[bytes], str], file: Path) -> tuple[str, int]:
    """Run ``work`` on a file in a process of its own; return what it said and the process' peak of memory, bytes."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(_run, (work, file))


def _run(work: Callable[[bytes], str], file: Path) -> tuple[str, int]:
    warnings.simplefilter("ignore")  # as in the audit
    said = work(file.read_bytes())
    return said, peak_bytes()


def main() -> int:
    """Measure, print, and return 1 when an image takes too much."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.large_images", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[""], help="images whose name contains one of these")
    parser.add_argument("--keep", type=Path, help="folder to keep the images in, and to take them from")
    arguments = parser.parse_args()
    wanted = [one for one in STORINGS if any(word.lower() in one.name.lower() for word in arguments.only)]
    passed = True
    print(
        f"{SIDE_PX:,} x {SIDE_PX:,} px, JPEG {STORINGS[0].side_px:,} x {STORINGS[0].side_px:,} px unless progressive\n"
        f"peak of resident memory in MB\n{'':34}{'file':>10}",
        *(f"{name:>10}" for name in WORK),
    )
    with TemporaryDirectory(prefix="large-images-") as temporary:
        for storing in wanted:
            folder = arguments.keep or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / storing.name.replace(" ", "-").replace(":", "").replace(";", "")
            if not file.exists():
                context = multiprocessing.get_context("spawn")
                process = context.Process(target=store, args=(storing, storing.side_px, file))
                process.start()
                process.join()
            ends = {"measured": peak_of(measured, file)}
            # What the audit refuses, cleaning drops: split never sees it.
            if ends["measured"][0] == "read":
                ends |= {name: peak_of(work, file) for name, work in WORK.items() if name not in ends}
            passed &= all(peak <= MOST_BYTES for _, peak in ends.values())
            cells = [f"{ends[name][1] / 1e6:10,.0f}" if name in ends else f"{'-':>10}" for name in WORK]
            remarks = sorted({said for said, _ in ends.values()} - {"read"})
            print(f"{storing.name:34}{file.stat().st_size / 1e6:10,.2f}", *cells, *remarks, flush=True)
    print("PASS" if passed else f"MISS: above {MOST_BYTES / 1e6:,.0f} MB")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
