"""Training images whose label is probably wrong: a model of the others, that never saw them, says another class.

What is found is written as findings, those of the audit among them, so that cleaning can go by it in the next run.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.evaluate.predictions import verify_shards
from components.evaluate.training_features import see_training_images
from components.failures import UserError
from components.formats.decisions import entry_for
from components.formats.findings import (
    FACTS_FILE,
    FINDING_COLUMNS,
    read_facts,
    read_findings,
    sorted_findings,
    write_findings,
)
from components.formats.splits import ASSIGNMENTS_FILE, Splits
from components.formats.suspected_labels import (
    LABEL_ERROR,
    SUSPECTED_COLUMNS,
    SUSPECTED_LIST_FILE,
    write_suspected_labels,
)
from components.formats.training_features import TRAINING_SPLIT
from components.label_errors.confident_learning import judge_labels, require_cleanlab
from components.publishing import published_directory, write_json
from components.report.shown_text import shown

_SUSPECT_COLUMNS = {
    "path": "str",
    "md5": "str",
    "label": "str",
    "suggested": "str",
    "confidence": "float64",
    "usual_confidence": "float64",
    "suggested_confidence": "float64",
    "position": "int64",
}


@dataclasses.dataclass(frozen=True)
class SuspectedLabels:
    """What was found.

    Attributes:
        table: One row per label that is probably wrong, the least confident first: ``path``, ``md5``, ``label``,
            ``suggested``, ``confidence`` of the label, ``usual_confidence`` of images of its class, which is more, and
            ``suggested_confidence``, [0, 1], and ``position`` in the training shards.
        judged_images: Of how many training images the labels were judged.
        views: Of how many augmented views of each image the backbone's answers are the mean; 0 for the images as the
            split holds them.
        not_judged: Why of none, in words; empty when they were.
    """

    table: pd.DataFrame
    judged_images: int
    views: int
    not_judged: str


def suspect_labels(
    frozen_model: Path | None, splits: Splits, directory: Path, *, most_images: int, batch_size: int, seed: int
) -> SuspectedLabels:
    """Judge the labels of the training split by what the frozen backbone sees in its images.

    Args:
        frozen_model: Folder of train_frozen's model; None for one that nobody has handed over.
        splits: What the folder claims to hold.
        directory: The splits' folder.
        most_images: Images at most, of more a random sample; 0 for none.
        batch_size: Images in one step, at least 1.
        seed: Of the sample and of the folds.

    Raises:
        UserError: When the training shards, the frozen model or its features are damaged or do not fit together, or
            cleanlab is missing.
    """
    if most_images == 0:
        return _none("label_check_images is 0")
    if splits.splits[TRAINING_SPLIT].images == 0:
        return _none("there are no training images")
    if frozen_model is None:
        return _none(
            "this pipeline was compiled when evaluation was not yet handed the model of train_frozen, and the backbone "
            "of this one has learned the labels that are to be judged: compile it again"
        )
    require_cleanlab()
    verify_shards(splits, directory, TRAINING_SPLIT)
    print(f"evaluate: labels of {min(most_images, splits.splits[TRAINING_SPLIT].images)} training images", flush=True)
    seen = see_training_images(
        frozen_model, splits, directory, most_images=most_images, batch_size=batch_size, seed=seed
    )
    if seen is None:
        return _none("the frozen model has no pooled features")
    judged = judge_labels(seen.features, _copies(directory, seen.paths), seen.labels, seed)
    if not judged.judged.any():
        return _none("no two classes have enough training images")
    names = np.asarray(splits.class_names, object)
    rows = np.flatnonzero(judged.wrong & (judged.confidence < judged.usual_confidence))
    rows = rows[np.argsort(judged.confidence[rows], kind="stable")]
    table = pd.DataFrame(
        {
            "path": np.asarray(seen.paths, object)[rows],
            "md5": np.asarray(seen.digests, object)[rows],
            "label": names[seen.labels[rows]],
            "suggested": names[judged.suggested[rows]],
            "confidence": judged.confidence[rows],
            "usual_confidence": judged.usual_confidence[rows],
            "suggested_confidence": judged.suggested_confidence[rows],
            "position": seen.positions[rows],
        }
    ).astype(_SUSPECT_COLUMNS)
    return SuspectedLabels(table, int(judged.judged.sum()), seen.views, "")


def write_suspected_findings(suspects: pd.DataFrame, findings: Path, measurements: pd.DataFrame, output: Path) -> None:
    """Publish the audit's findings and those about suspected labels, and these alone: see ``SUSPECTED_COLUMNS``.

    Args:
        suspects: ``SuspectedLabels.table``.
        findings: Folder of the audit's findings.
        measurements: Those in it.
        output: Folder to publish.

    Raises:
        UserError: When the folder holds no findings.
    """
    try:
        known, facts = read_findings(findings), read_facts(findings)
    except (OSError, ValueError) as error:
        raise UserError(f"the findings are not whole ({error}): give the output of the audit step") from error
    messages = [
        f"Filed under '{label}'; models that have not seen it say '{suggested}' ({sure:.2f})."
        for label, suggested, sure in suspects[["label", "suggested", "suggested_confidence"]].itertuples(index=False)
    ]
    new = suspects.rename(columns={"confidence": "measured", "usual_confidence": "threshold"})
    new = new.assign(check=LABEL_ERROR, severity="warning", message=pd.Series(messages, suspects.index, "str"))
    new = new.reindex(columns=list(SUSPECTED_COLUMNS)).astype(dict(SUSPECTED_COLUMNS))
    # An embedding audit may have found the same: once is enough.
    known = known[~((known["check"] == LABEL_ERROR) & known["path"].isin(new["path"]))]
    everything = pd.concat([known[list(FINDING_COLUMNS)], new[list(FINDING_COLUMNS)]], ignore_index=True)
    with published_directory(output) as directory:
        write_findings(sorted_findings(everything), measurements, directory)
        write_json(directory / FACTS_FILE, facts)
        write_suspected_labels(new, directory)
        with (directory / SUSPECTED_LIST_FILE).open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in _lines(suspects))


def _lines(suspects: pd.DataFrame) -> Iterator[str]:
    yield f"# Training images whose label is probably wrong, {len(suspects)}, the least credible first. Best is to move"
    yield "# each into the folder of its class. To drop them in the next run, delete the lines of those whose label is"
    yield "# right, and name the file in deny_list: '@' and its absolute path or gs:// URI. Or name its folder in"
    yield "# earlier_findings, and the cleaning policy decides about all of them, under label_error."
    for row in suspects.to_dict("records"):
        given, suggested = shown(row["label"]), shown(row["suggested"])
        yield f"# {given} {row['confidence']:.2f}, {suggested} {row['suggested_confidence']:.2f}"
        yield entry_for(row["path"])


def _none(reason: str) -> SuspectedLabels:
    return SuspectedLabels(pd.DataFrame(columns=list(_SUSPECT_COLUMNS)).astype(_SUSPECT_COLUMNS), 0, 0, reason)


def _copies(directory: Path, paths: list[str]) -> npt.NDArray[np.int64]:
    """Return a number for each image that it shares with its copies and with what its path ties it to."""
    try:
        assigned = pd.read_parquet(directory / ASSIGNMENTS_FILE).drop_duplicates("path").set_index("path")
    except FileNotFoundError as error:
        raise UserError(f"the splits hold no {ASSIGNMENTS_FILE}: give the output of the split step") from error
    groups = assigned.reindex(paths)
    # An image is in a group of copies, of the pattern, or alone; the pattern's groups are the wider ones.
    name = groups["pattern_group"].fillna(groups["duplicate_group"])
    alone = pd.Series([f"alone {number}" for number in range(len(paths))], index=groups.index)
    return np.asarray(pd.factorize(name.fillna(alone))[0], np.int64)
