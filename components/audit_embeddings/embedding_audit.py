"""The embedding audit: features of every image once, then three questions to them, and one page about the answers."""

from pathlib import Path

import numpy as np
import pandas as pd

from components.audit_embeddings.audited_images import copy_groups, joined, taking_part
from components.audit_embeddings.embedding_findings import (
    Looked,
    label_error_findings,
    outlier_findings,
    semantic_duplicate_findings,
)
from components.audit_embeddings.embedding_settings import EmbeddingSettings, check_settings
from components.audit_embeddings.image_features import EmbeddedImages, embed_images
from components.audit_embeddings.neighbours import Images
from components.audit_embeddings.outcome import Outcome
from components.audit_embeddings.outliers import class_distances, class_limits, distances_to, usual_distances
from components.audit_embeddings.report import write_report
from components.audit_embeddings.semantic_duplicates import find_semantic_duplicates
from components.failures import UserError
from components.formats.check_names import EMBEDDING_CHECKS
from components.formats.findings import (
    FACTS_FILE,
    read_facts,
    read_findings,
    read_measurements,
    sorted_findings,
    write_findings,
)
from components.formats.image_archive import ArchiveReader, read_catalog
from components.label_errors.confident_learning import JudgedLabels, judge_labels, require_cleanlab
from components.publishing import published_directory, require_publishable, write_json


def audit_archive_embeddings(
    archive: Path, findings: Path, settings: EmbeddingSettings, output: Path, report: Path
) -> dict[str, int | float]:
    """Look at every usable image of an audited archive with a pretrained network, and add what that finds.

    Args:
        archive: Folder of the archive.
        findings: Folder of the audit's findings about it.
        settings: How to look.
        output: Folder to write, ``components.formats.findings``: the audit's findings and those made here.
        report: HTML file to write.

    Returns:
        Counts by name, and the share of labels that the predictions agree with.

    Raises:
        UserError: When the findings are of another archive, fewer than two images can be looked at, a setting makes no
            sense, the weights do not fit, cleanlab or a required GPU is missing, or an output cannot be written.
        TransientError: When the weights cannot be reached for now.
    """
    require_publishable(folders=[output], files=[report])
    check_settings(settings)
    require_cleanlab()
    catalog, found, measurements = read_catalog(archive), read_findings(findings), read_measurements(findings)
    if not catalog["path"].equals(measurements["path"]):
        raise UserError(
            "the findings are of another archive: run the audit on this archive and give its findings to this step"
        )
    facts = read_facts(findings)
    rows = np.flatnonzero(taking_part(measurements, found))
    if len(rows) < 2:
        raise UserError("fewer than two images can be looked at; see the audit's report for what is wrong with them")
    embedded = embed_images(archive, catalog, rows, settings)
    known = found[~found["check"].isin(EMBEDDING_CHECKS)]  # a rerun on its own output adds nothing twice
    new, judged = _look(catalog, known, embedded, settings)
    outcome = _outcome(catalog, embedded, judged, new)
    everything = sorted_findings(pd.concat([known, new], ignore_index=True))
    with ArchiveReader(archive) as reader:
        write_report(report, catalog, new, outcome, settings, reader)
    with published_directory(output) as directory:
        write_findings(everything, measurements, directory)
        write_json(directory / FACTS_FILE, {**facts, "embedding": outcome.as_facts(settings)})
    print(f"audit_embeddings: {outcome.sentence}", flush=True)
    return outcome.metrics()


def _look(
    catalog: pd.DataFrame, known: pd.DataFrame, embedded: EmbeddedImages, settings: EmbeddingSettings
) -> tuple[pd.DataFrame, JudgedLabels]:
    """Ask the three questions; return the findings and what was predicted."""
    class_names = sorted(catalog["label"].unique())
    rows, features = embedded.rows, embedded.features
    images = Looked(
        paths=catalog["path"].to_numpy(object)[rows],
        labels=pd.Index(class_names).get_indexer(pd.Index(catalog["label"]))[rows].astype(np.int64),
        class_names=class_names,
        digests=catalog["md5"].to_numpy(object)[rows],
    )
    among = Images(features, copy_groups(catalog["path"], known)[rows])
    usual = usual_distances(class_distances(among, images.labels), images.labels)
    semantic = find_semantic_duplicates(among, usual, settings.semantic_duplicate_distance)
    if not semantic.complete:
        print("audit_embeddings: so many images show the same that not all pairs of them were looked at", flush=True)
    # What shows the same is a copy from here on: it must neither vouch for a label nor be a neighbour.
    members = np.flatnonzero(semantic.head >= 0)
    among = Images(features, joined(among.groups, np.stack([members, semantic.head[members]], axis=1)))
    judged = judge_labels(among.features, among.groups, images.labels, settings.seed)
    distances = class_distances(among, images.labels)
    limits = class_limits(distances, images.labels, settings.outlier_deviation)
    doubted = judged.wrong & (judged.confidence <= settings.label_error_confidence)
    # Each image gets one of the two: what is unlike its own class and like the suggested one has a wrong label, and
    # what is unlike both belongs nowhere.
    suggested = np.where(doubted, judged.suggested, -1)
    elsewhere = distances_to(among, images.labels, suggested) > limits.reindex(suggested).to_numpy()
    of_own = limits.reindex(images.labels).to_numpy()
    outlying = (distances > of_own) & (~doubted | elsewhere)
    wrong = label_error_findings(images, judged, np.flatnonzero(doubted & ~outlying), settings.label_error_confidence)
    outliers = outlier_findings(images, np.flatnonzero(outlying), distances, of_own)
    new = pd.concat([wrong, semantic_duplicate_findings(images, semantic), outliers], ignore_index=True)
    return new, judged


def _outcome(catalog: pd.DataFrame, embedded: EmbeddedImages, judged: JudgedLabels, new: pd.DataFrame) -> Outcome:
    labels = catalog["label"].to_numpy(object)[embedded.rows]
    class_names = np.array(sorted(catalog["label"].unique()), dtype=object)
    seen = judged.judged
    suggested = np.full(len(labels), None, dtype=object)
    suggested[seen] = class_names[judged.suggested[seen]]
    table = pd.DataFrame(
        {
            "path": catalog["path"].to_numpy(object)[embedded.rows],
            "label": labels,
            "suggested": suggested,
            "confidence": judged.suggested_confidence,
        }
    )
    return Outcome(
        images=len(catalog),
        looked_at=table,
        undecodable={str(catalog["path"].iloc[row]): why for row, why in embedded.undecodable.items()},
        counts={check: int((new["check"] == check).sum()) for check in EMBEDDING_CHECKS},
        device=embedded.device,
        weights_sha256=embedded.weights_sha256,
    )
