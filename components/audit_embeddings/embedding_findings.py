"""What the embedding audit has against images, in the words of the audit's findings."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.audit_embeddings.outliers import NEIGHBOURS
from components.audit_embeddings.semantic_duplicates import SemanticGroups
from components.formats.findings import FINDING_COLUMNS
from components.label_errors.confident_learning import JudgedLabels

SEVERITY = "warning"


@dataclasses.dataclass(frozen=True)
class Looked:
    """The images that were looked at. Each column is ``[images]``.

    Attributes:
        paths: Unique.
        labels: Numbers of classes.
        class_names: By number.
        digests: MD5 of the bytes, hex.
    """

    paths: npt.NDArray[np.object_]
    labels: npt.NDArray[np.int64]
    class_names: Sequence[str]
    digests: npt.NDArray[np.object_]

    def names(self, labels: npt.NDArray[np.int64]) -> list[str]:
        """Return the name of each label."""
        return [self.class_names[label] for label in labels.tolist()]


def label_error_findings(
    images: Looked, judged: JudgedLabels, rows: npt.NDArray[np.int64], limit: float
) -> pd.DataFrame:
    """Return a finding for each label that is probably wrong.

    Args:
        images: The images.
        judged: What predictions say of their labels.
        rows: Whose labels are probably wrong.
        limit: The most that the label's own probability may be.
    """
    messages = [
        f"Filed under '{given}'; models that have not seen it say '{suggested}' ({sure:.2f})."
        for given, suggested, sure in zip(
            images.names(images.labels[rows]),
            images.names(judged.suggested[rows]),
            judged.suggested_confidence[rows].tolist(),
            strict=True,
        )
    ]
    return _findings(images, "label_error", rows, messages, judged.confidence[rows], limit)


def outlier_findings(
    images: Looked, rows: npt.NDArray[np.int64], distances: npt.NDArray[np.float64], limits: npt.NDArray[np.float64]
) -> pd.DataFrame:
    """Return a finding for each image that is far from all of its class.

    Args:
        images: The images.
        rows: Which are.
        distances: ``[images]``, how far each is from its nearest neighbours.
        limits: ``[images]``, beyond which distance it is an outlier.
    """
    messages = [
        f"Unlike the other images of '{label}': even its {NEIGHBOURS} nearest are far."
        for label in images.names(images.labels[rows])
    ]
    return _findings(images, "embedding_outlier", rows, messages, distances[rows], limits[rows])


def semantic_duplicate_findings(images: Looked, groups: SemanticGroups) -> pd.DataFrame:
    """Return a finding for every member of a group of images that show the same."""
    rows = np.flatnonzero(groups.related >= 0)
    others = groups.related[rows]
    messages = [
        "Shows much the same as another image"
        + (" of its class." if label == elsewhere else f", which is filed under '{elsewhere}'.")
        for label, elsewhere in zip(images.names(images.labels[rows]), images.names(images.labels[others]), strict=True)
    ]
    found = _findings(images, "semantic_duplicate", rows, messages, groups.similarity[rows], groups.least[rows])
    names = [f"semantic-{digest[:16]}" for digest in images.digests[groups.head[rows]].tolist()]
    return found.assign(related_path=images.paths[others].astype(str), group=names).astype(dict(FINDING_COLUMNS))


def _findings(
    images: Looked,
    check: str,
    rows: npt.NDArray[np.int64],
    messages: list[str],
    measured: npt.NDArray[np.float64],
    threshold: npt.NDArray[np.float64] | float,
) -> pd.DataFrame:
    found = pd.DataFrame({"path": images.paths[rows], "message": messages, "measured": measured})
    found = found.assign(check=check, severity=SEVERITY, threshold=threshold)
    return found.reindex(columns=list(FINDING_COLUMNS)).astype(dict(FINDING_COLUMNS))
