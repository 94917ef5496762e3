"""Audit embeddings: finds wrong labels, images that show the same, and images that belong nowhere."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAINING, install_kfp_package=False)
def audit_embeddings(
    archive: dsl.Input[dsl.Dataset],
    audited: dsl.Input[dsl.Dataset],
    backbone: str,
    weights: str,
    outlier_deviation: float,
    label_error_confidence: float,
    semantic_duplicate_distance: float,
    batch_size: int,
    workers: int,
    require_gpu: bool,
    seed: int,
    findings: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Look at every usable image with a pretrained network, and add what that finds to the audit's findings.

    Args:
        archive: Images and their catalog, as ingest writes them.
        audited: The audit's findings about this archive.
        backbone: inception_v3 or efficientnet_lite0.
        weights: imagenet for Keras' own download; a path or gs:// URI of a weights file; or random, which leaves the
            backbone untrained and is for tests of the code alone.
        outlier_deviation: An image is an outlier when its distance from its neighbours is more than so many robust
            standard deviations above the median of its class.
        label_error_confidence: A label is doubted only where predictions give it at most this probability, [0, 1].
        semantic_duplicate_distance: Images show the same when they are at most this many times as far apart as
            neighbours in their class usually are, [0, 1].
        batch_size: Images in one step over all GPUs together.
        workers: Threads that decode; 0 for one per processor.
        require_gpu: Fail without a GPU. Otherwise one is used where there is one.
        seed: Of the folds that labels are judged in.
        findings: All of the audit's findings and those made here, in the same format.
        report: A self-contained page for people.
        metrics: Images looked at, findings per check, and the share of labels that predictions agree with.
    """
    import os
    from pathlib import Path

    # Read when TensorFlow is first imported, below: its remarks about the processor are of no use here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    from components.audit_embeddings.embedding_audit import audit_archive_embeddings
    from components.audit_embeddings.embedding_settings import EmbeddingSettings
    from components.failures import attempts

    for attempt in attempts("audit_embeddings"):
        with attempt:
            settings = EmbeddingSettings(
                backbone=backbone,
                weights=weights,
                outlier_deviation=outlier_deviation,
                label_error_confidence=label_error_confidence,
                semantic_duplicate_distance=semantic_duplicate_distance,
                batch_size=batch_size,
                workers=workers,
                require_gpu=require_gpu,
                seed=seed,
            )
            counted = audit_archive_embeddings(
                Path(archive.path), Path(audited.path), settings, Path(findings.path), Path(report.path)
            )
            for name, value in counted.items():
                metrics.log_metric(name, value)
