"""What light, detail and colour there are in an image; every formula on the luma of the reduced image."""

import pandas as pd

from components.audit.checks.conditions import is_bright, is_dark, is_flat, is_tiny, readable, shows_something
from components.audit.checks.registry import Thresholds, check, image_findings
from components.audit.decoding import DECODED_SIDE_PX

_LEAST_SIDE_PX = 53
"""Of the reduced image; a narrower one shows too little to tell soft from smooth."""


@check(
    "dark",
    "warning",
    "Extremely dark",
    "95 % of the pixels have luma below {dark_brightness:g}; a night photograph with lit detail does not.",
    measures="95th percentile of luma",
)
def dark(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """The 95th percentile of luma is below ``dark_brightness`` (after cleanvision, which uses the 99th)."""
    found = table[is_dark(table, thresholds)]
    messages = [
        f"Extremely dark: 95 % of its pixels have luma up to {p95:.0f} of 255, below {thresholds.dark_brightness:g}."
        for p95 in found["luma_p95"]
    ]
    return image_findings(found, messages, measured=found["luma_p95"], threshold=thresholds.dark_brightness)


@check(
    "bright",
    "warning",
    "Extremely bright",
    "95 % of the pixels have luma above {bright_brightness:g}, so even shadows are bright.",
    measures="5th percentile of luma",
)
def bright(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """The 5th percentile of luma is above ``bright_brightness`` (as in cleanvision)."""
    found = table[is_bright(table, thresholds)]
    messages = [
        f"Extremely bright: 95 % of its pixels have luma from {p5:.0f} of 255, above {thresholds.bright_brightness:g}."
        for p5 in found["luma_p5"]
    ]
    return image_findings(found, messages, measured=found["luma_p5"], threshold=thresholds.bright_brightness)


@check(
    "low_contrast",
    "warning",
    "Blank or nearly so",
    "The standard deviation of luma is below {low_contrast:g}, and the image is neither dark, bright nor tiny.",
    measures="deviation of luma",
)
def low_contrast(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """RMS contrast, the standard deviation of luma, is below ``low_contrast``."""
    found = table[is_flat(table, thresholds) & ~is_tiny(table, thresholds)]
    messages = [
        f"Blank or nearly so: its luma deviates by {contrast:.1f} from {mean:.0f}, below {thresholds.low_contrast:g}."
        for contrast, mean in zip(found["contrast"], found["brightness"], strict=True)
    ]
    return image_findings(found, messages, measured=found["contrast"], threshold=thresholds.low_contrast)


@check(
    "low_information",
    "warning",
    "Hardly any information",
    "The entropy of luma is below {low_entropy_bits:g} of 8 bits, and the image is neither dark, bright, blank nor "
    "tiny.",
    measures="entropy of luma, bits",
)
def low_information(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Shannon's entropy of the histogram of luma, -sum p log2 p, in bits (cleanvision takes that of all colours)."""
    found = table[shows_something(table, thresholds) & (table["entropy"] < thresholds.low_entropy_bits)]
    messages = [
        f"Hardly any information: its luma has {entropy:.2f} bits of entropy, below {thresholds.low_entropy_bits:g}."
        for entropy in found["entropy"]
    ]
    return image_findings(found, messages, measured=found["entropy"], threshold=thresholds.low_entropy_bits)


@check(
    "blurry",
    "warning",
    "Blurry",
    "A 3 x 3 blur leaves more than a share of {blur_ratio:g} of the deviation of the Laplacian of luma, at 160 px, and "
    "the image is neither dark, bright, blank, tiny, poor in information nor narrower than 53 px there.",
    measures="share of detail left",
)
def blurry(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """A slight blur takes hardly any detail away: there was none (after Crete et al. 2007, "The blur effect")."""
    sides = table[["width_px", "height_px"]]
    measured_side = sides.min(axis=1) * (DECODED_SIDE_PX / sides.max(axis=1).clip(lower=DECODED_SIDE_PX))
    judged = (table["entropy"] >= thresholds.low_entropy_bits) & (measured_side >= _LEAST_SIDE_PX)
    found = table[shows_something(table, thresholds) & judged & (table["blur"] > thresholds.blur_ratio)]
    messages = [
        f"Blurry: blurring it a little more leaves {blur:.0%} of its detail, above {thresholds.blur_ratio:.0%}."
        for blur in found["blur"]
    ]
    return image_findings(found, messages, measured=found["blur"], threshold=thresholds.blur_ratio)


@check(
    "grayscale",
    "info",
    "Grayscale among colour",
    "No colour (mean |R - G| + |G - B| below {grayscale_difference:g}), in a set where most images have colour.",
    measures="colour",
)
def grayscale(table: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Images without colour where they are the minority; blank, dark and bright ones are reported as that."""
    images = readable(table)
    if images["grayscale"].mean() > 0.5:
        return image_findings(table[:0], [])
    explained = is_dark(images, thresholds) | is_bright(images, thresholds) | is_flat(images, thresholds)
    found = images[images["grayscale"] & ~explained]
    share = images["grayscale"].mean()
    messages = [f"It has no colour ({mode}); {1 - share:.0%} of the images have." for mode in found["mode"]]
    return image_findings(found, messages, measured=found["colour"], threshold=thresholds.grayscale_difference)
