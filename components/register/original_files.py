"""How the SavedModel answers to files as they were in the source, beside what was evaluated of the same images.

The evaluation saw each image decoded, resized and stored by the split step, as a JPEG of the model's size; a client
sends the file, and the SavedModel decodes and resizes it. So answers differ a little even where nothing is wrong. What
shows a mistake, another order of channels or another way to resize for example, is not how much they differ: most
photographs get the same answer with red and blue exchanged. It is whether the model was shown the same picture.
"""

import dataclasses
import hashlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.failures import UserError
from components.formats.original_images import ORIGINALS_FILE, OriginalImage

SAME_PIXELS_TOLERANCE = 1e-4
"""How far a probability from a file may be from the model's answer to the pixels that the file is resized to."""

PIXEL_TOLERANCE = 6.0
"""How many of 255 gray levels the median image may be off what was evaluated, on average of its pixels. Storing as JPEG
and two ways to resize leave 1 to 3 of photographs and 4.5 of white noise; with red and blue exchanged, an image turned,
or cropped instead of stretched, 15 and more."""

FEWEST_TO_JUDGE = 4
"""Fewer images may answer otherwise by chance."""


@dataclasses.dataclass(frozen=True)
class OriginalsCheck:
    """What the SavedModel answered to files as they were.

    Attributes:
        images: How many it was asked about.
        unread: Of them it could not read.
        same_answers: Of them have the likeliest class that was evaluated.
        largest_difference: Of any probability from the evaluated, calibrated one, [0, 1].
        median_difference: The median over images of the largest difference, [0, 1].
        from_model: The largest difference from what ``model.keras`` answers to the pixels of the very files.
        pixel_difference: The median over images of how many gray levels pixels are off the evaluated ones on average.
    """

    images: int
    unread: int
    same_answers: int
    largest_difference: float
    median_difference: float
    from_model: float
    pixel_difference: float

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the SavedModel must not be used, a sentence each."""
        said = []
        if 2 * self.unread > self.images:
            said.append(f"the SavedModel cannot read {self.unread} of {self.images} original test images")
        if self.from_model > SAME_PIXELS_TOLERANCE:
            said.append(
                f"the SavedModel differs by {self.from_model:.2e} from the model itself on the pixels of original test "
                f"images, {SAME_PIXELS_TOLERANCE:.0e} is allowed: the export is wrong"
            )
        if self.pixel_difference > PIXEL_TOLERANCE:
            said.append(
                f"the SavedModel makes other pictures of original test images than were evaluated, by "
                f"{self.pixel_difference:.1f} gray levels, {PIXEL_TOLERANCE:.0f} are allowed: it decodes or resizes "
                "them otherwise than the split step"
            )
        if self.images >= FEWEST_TO_JUDGE and 2 * self.same_answers < self.images:
            said.append(
                f"the SavedModel answers {self.images - self.same_answers} of {self.images} original test images "
                "otherwise than the evaluated model: what was evaluated does not tell how files are answered"
            )
        return tuple(said)

    def __str__(self) -> str:
        unread = f", {self.unread} could not be read" if self.unread else ""
        return (
            f"original files: {self.same_answers} of {self.images} test images get the evaluated answer{unread}; any "
            f"probability is off by {self.largest_difference:.1e} at most, {self.median_difference:.1e} in the median "
            f"image, for its pixels are off by {self.pixel_difference:.1f} of 255 gray levels; from the model itself, "
            f"on the same pixels, by {self.from_model:.1e}"
        )


def rows_of_originals(originals: Sequence[OriginalImage], predictions: pd.DataFrame) -> pd.DataFrame:
    """Return what was predicted of the originals, in their order.

    Args:
        originals: From the splits.
        predictions: ``PREDICTION_COLUMNS`` of the test split.

    Raises:
        UserError: When one was not evaluated, or had other bytes.
    """
    known = predictions.set_index("path")
    for original in originals:
        if original.path not in known.index:
            raise UserError(
                f"{ORIGINALS_FILE} holds {original.path!r}, which was not evaluated: give the splits of the evaluation"
            )
        md5 = hashlib.md5(original.image, usedforsecurity=False).hexdigest()
        if "md5" in known and known.loc[original.path, "md5"] != md5:
            raise UserError(
                f"{ORIGINALS_FILE} holds other bytes of {original.path!r} than were evaluated: give the splits of the "
                "evaluation"
            )
    return known.loc[[original.path for original in originals]].reset_index()


def check_originals(answers: Sequence[Mapping[str, Any] | None], expected: npt.NDArray[np.float64]) -> OriginalsCheck:
    """Compare answers with what was evaluated.

    Args:
        answers: Of each image ``saved_model``, ``model`` and ``pixel_difference``, see
            ``components.classifier.export_process``; None where the SavedModel could not read it.
        expected: Evaluated probabilities, float64 ``[images, classes]``.
    """
    differences, from_model, pixels, same = [], [], [], 0
    for answer, evaluated in zip(answers, expected, strict=True):
        if answer is None:
            continue
        given, own = (np.asarray(answer[name], np.float64) for name in ("saved_model", "model"))
        sound = given.shape == evaluated.shape and bool(np.isfinite(given).all() and np.isfinite(own).all())
        differences.append(float(np.abs(given - evaluated).max()) if sound else 1.0)
        from_model.append(float(np.abs(given - own).max()) if sound else 1.0)
        pixels.append(float(answer["pixel_difference"]))
        same += int(sound and given.argmax() == evaluated.argmax())
    return OriginalsCheck(
        images=len(answers),
        unread=len(answers) - len(differences),
        same_answers=same,
        largest_difference=max(differences, default=1.0),
        median_difference=statistics.median(differences or [1.0]),
        from_model=max(from_model, default=0.0),
        pixel_difference=statistics.median(pixels or [0.0]),
    )
