"""The split as one self-contained HTML page: what went where, and how near the splits come to each other."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.formats.splits import SPLIT_NAMES, Splits
from components.report.page import data_uri, write_page
from components.report.series_colours import SERIES

MOST_CLASSES_LISTED = 2000
MOST_COPIES_SHOWN = 12

_FAR_FROM_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The page's first sentence and what colour it deserves."""

    tone: str
    sentence: str


def judge(certificate: dict[str, Any]) -> Verdict:
    """Say in one sentence whether images of one split are copies of images in another."""
    copies = certificate["copies_across_splits"]
    if copies:
        looks = "pair of images looks" if copies == 1 else "pairs of images look"
        return Verdict(
            "warn",
            f"{copies:,} {looks} like copies, were in no group of the audit's, and ended in different splits: look at "
            "them in the report; if they are copies, name one of each in clean's deny_list or tie them by "
            "group_pattern.",
        )
    known = [pair for pair in certificate["nearest"] if pair["paths"]]
    sentence = "No image is a copy of an image in another split"
    near = [pair for pair in known if pair["distance"] <= certificate["copy_distance"]]
    if near:
        sentence += (
            f": where hashes differ in at most {certificate['copy_distance']} of {certificate['hash_bits']} bits, "
            "the pictures do not show the same"
        )
    elif known:
        least = min(pair["distance"] for pair in known)
        sentence += (
            f": the hashes of the nearest two differ in {least} of {certificate['hash_bits']} bits, "
            f"those of copies in at most {certificate['copy_distance']}"
        )
    if certificate["left_out_comparisons"]:
        return Verdict(
            "warn", f"{sentence}; {certificate['left_out_comparisons']:,} comparisons of look-alikes were left out."
        )
    return Verdict("good", f"{sentence}.")


def judge_fractions(splits: Splits) -> str:
    """Say what the splits are where that is far from the fractions asked for, nothing where it is not.

    Each class may be an image off. A split that is off by more than one for each class, and by more than a fifth of its
    share, is so because groups stay whole, or because every split needs an image of each class.
    """
    images = {name: splits.splits[name].images for name in SPLIT_NAMES}
    shares = {name: splits.fractions[name] * sum(images.values()) for name in SPLIT_NAMES}
    far = [
        name
        for name in SPLIT_NAMES
        if abs(images[name] - shares[name]) > max(len(splits.class_names), _FAR_FROM_SHARE * shares[name])
    ]
    if not far:
        return ""
    numbers, asked = (" : ".join(f"{values[name]:,.0f}" for name in SPLIT_NAMES) for values in (images, shares))
    grouped = splits.certificate["groups"] + splits.certificate["pattern_groups"]
    why = "groups stay whole" if grouped else "every split needs an image of each class"
    remedy = "let group_pattern make smaller groups, " if splits.certificate["pattern_groups"] else ""
    return (
        f"{', '.join(SPLIT_NAMES[:-1])} and {SPLIT_NAMES[-1]} have {numbers} images, far from the {asked} that the "
        f"fractions ask for, because {why}: {remedy}add photos, or accept it."
    )


def write_report(
    splits: Splits,
    copies: list[dict[str, Any]],
    shard_bytes: dict[str, int],
    picture: Callable[[str], bytes],
    destination: Path,
) -> None:
    """Write the page.

    Args:
        splits: What was made.
        copies: Pairs in different splits that look like copies, as in the certificate's ``nearest``.
        shard_bytes: Size of all shards, by split name.
        picture: Returns a JPEG of the image with a path, to show it.
        destination: File to write.
    """
    rows = _class_rows(splits)
    certificate = splits.certificate
    write_page(
        destination,
        Path(__file__).parent,
        "split.html",
        splits=splits,
        certificate=certificate,
        verdict=judge(certificate),
        far_from_fractions=judge_fractions(splits),
        split_names=SPLIT_NAMES,
        images=sum(split.images for split in splits.splits.values()),
        shards=sum(len(split.shards) for split in splits.splits.values()),
        shard_bytes=shard_bytes,
        colours=dict(zip(SPLIT_NAMES, SERIES, strict=False)),
        rows=rows[:MOST_CLASSES_LISTED],
        rows_left_out=max(0, len(rows) - MOST_CLASSES_LISTED),
        farthest=max(rows, key=lambda row: (row["off"], row["total"])),
        nearest=[_shown(pair, picture) for pair in certificate["nearest"]],
        copies=[_shown(pair, picture) for pair in copies[:MOST_COPIES_SHOWN]],
    )


def _class_rows(splits: Splits) -> list[dict[str, Any]]:
    """Return what the table says of each class, the largest first."""
    rows = []
    for name in splits.class_names:
        images = [splits.splits[split].images_per_class.get(name, 0) for split in SPLIT_NAMES]
        shares = [splits.fractions[split] * sum(images) for split in SPLIT_NAMES]
        off = max(abs(count - share) for count, share in zip(images, shares, strict=True))
        rows.append({"name": name, "images": images, "total": sum(images), "off": off})
    return sorted(rows, key=lambda row: (-row["total"], row["name"]))


def _shown(pair: dict[str, Any], picture: Callable[[str], bytes]) -> dict[str, Any]:
    return pair | {"pictures": [(path, data_uri(picture(path), "image/jpeg")) for path in pair["paths"]]}
