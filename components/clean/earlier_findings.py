"""Findings of an earlier run: what its evaluation found out about training labels, for this run to clean by.

An image is named by its path, but what was found out holds for its bytes: who has moved an image to the right class or
put another one in its place has answered the finding.
"""

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components import storage
from components.clean.cleaning_policy import named
from components.failures import UserError
from components.formats.findings import FINDING_COLUMNS
from components.formats.suspected_labels import SUSPECTED_LABELS_FILE, read_suspected_labels

APPLIES = "applies"
OUTCOMES = (APPLIES, "changed", "moved", "gone")
"""What has become of the image of an earlier finding. applies: it is as it was. changed: other bytes have its path.
moved: its bytes have another path. gone: neither is there."""

OUTCOMES_IN_WORDS = {
    APPLIES: "still applies",
    "changed": "no longer applies: the file has other bytes than before",
    "moved": "no longer applies: the image lies elsewhere now",
    "gone": "no longer applies: the image is not there",
}


@dataclass(frozen=True)
class EarlierFindings:
    """What an earlier run found, beside the images of this one.

    Attributes:
        uri: The file it lies in.
        findings: ``FINDING_COLUMNS`` and ``outcome``, one of ``OUTCOMES``.
    """

    uri: str
    findings: pd.DataFrame

    @property
    def applying(self) -> pd.DataFrame:
        """``FINDING_COLUMNS`` of those about images that are as they were."""
        return self.findings.loc[self.findings["outcome"] == APPLIES, list(FINDING_COLUMNS)]

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are by outcome, none left out."""
        counts = self.findings["outcome"].value_counts()
        return {outcome: int(counts.get(outcome, 0)) for outcome in OUTCOMES}

    @property
    def in_words(self) -> str:
        """How many of them count, and why others do not, in one line."""
        counts = self.counts
        other = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number and outcome != APPLIES)
        return f"of {len(self.findings)} findings of an earlier run {counts[APPLIES]} still apply" + (
            f" ({other})" if other else ""
        )


def find_earlier_findings(uri: str) -> str:
    """Return the URI of the one file of suspected labels in a folder, or in folders below it.

    Args:
        uri: What the evaluate step called ``suspected``, or any folder around it, a run's for example: a local path or
            a gs:// URI.

    Raises:
        UserError: When there is none, or more than one.
        TransientError: When Cloud Storage does not answer.
    """
    file = storage.join(uri, SUSPECTED_LABELS_FILE)
    if storage.stat_file(file) is not None:
        return file
    below = [one.uri for one in storage.list_files(uri) if one.uri.endswith(f"/{SUSPECTED_LABELS_FILE}")]
    if len(below) > 1:
        raise UserError(f"earlier_findings has several runs in it, {named(below)}: name the folder of one of them")
    if not below:
        raise UserError(
            f"earlier_findings has no {SUSPECTED_LABELS_FILE} in {uri}: give the folder or gs:// URI of an earlier "
            "run, or of what its evaluate step called 'suspected'"
        )
    return below[0]


def read_earlier_findings(uri: str, catalog: pd.DataFrame) -> EarlierFindings:
    """Read what an earlier run found, and look each of its images up.

    Args:
        uri: As for ``find_earlier_findings``.
        catalog: ``path`` and ``md5`` of this run's images.

    Raises:
        UserError: When there is no such file, or it is damaged.
        TransientError: When Cloud Storage does not answer.
    """
    file = find_earlier_findings(uri)
    try:
        found = read_suspected_labels(io.BytesIO(storage.read_bytes(file)))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged, it holds no findings: evaluate that run again") from error
    return EarlierFindings(file, found.assign(outcome=_outcomes(found, catalog)).drop(columns="md5"))


def _outcomes(found: pd.DataFrame, catalog: pd.DataFrame) -> np.ndarray:
    position = pd.Index(catalog["path"]).get_indexer(pd.Index(found["path"]))
    known = position >= 0
    # Position -1 takes some other image's digest, which `known` makes of no account.
    same = known & (catalog["md5"].to_numpy()[position] == found["md5"].to_numpy()) if len(catalog) else known
    elsewhere = found["md5"].isin(catalog["md5"]).to_numpy()
    return np.select([same, known, elsewhere], OUTCOMES[:3], OUTCOMES[3])
