"""Ingest: brings a ZIP file or a folder of class folders into an archive of tar parts and a catalog."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def ingest(
    source: str,
    source_fingerprint: str,
    labels_file: str,
    part_size_mib: int,
    max_files: int,
    max_file_mib: int,
    max_total_gib: int,
    max_compression_ratio: int,
    workers: int,
    archive: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Bring a dataset into an archive; the class of an image is the folder it lies in.

    Args:
        source: A ZIP file or a folder of class folders, gs:// or local, for example gs://bucket/Animals.zip.
        source_fingerprint: What the source held at submission; a source that changed fails the step. Empty takes the
            source as it is now.
        labels_file: Name of an optional CSV file inside the source with the columns path and label, whose labels the
            audit compares with the folders. Empty for none.
        part_size_mib: A tar part is closed once it is this large, at least 1.
        max_files: More files than this fail the step.
        max_file_mib: A larger file fails the step.
        max_total_gib: A larger source fails the step.
        max_compression_ratio: A file in a ZIP that unpacks to more than this many times its size fails the step.
        workers: Threads that work at a time; 0 for as many as suit the step, here four per processor, at most 32.
        archive: Original image bytes in tar parts, the catalog of them, and what was skipped and why.
        metrics: Images, classes, skipped files, megabytes and tar parts.
    """
    from dataclasses import asdict
    from pathlib import Path

    from components.failures import attempts
    from components.ingest.ingestion import ingest_source
    from components.ingest.limits import Limits

    for attempt in attempts("ingest"):
        with attempt:
            limits = Limits(max_files, max_file_mib, max_total_gib, max_compression_ratio)
            ingested = ingest_source(
                source, source_fingerprint, labels_file, part_size_mib, limits, workers, Path(archive.path)
            )
            for name, value in asdict(ingested).items():
                metrics.log_metric(name, value)
