"""Audit: finds the images that should not be trained on, or that a person should look at, and says why."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def audit(
    archive: dsl.Input[dsl.Dataset],
    dark_brightness: float,
    bright_brightness: float,
    low_contrast: float,
    size_outlier_iqr: float,
    aspect_outlier: float,
    tiny_side_px: int,
    blur_ratio: float,
    low_entropy_bits: float,
    near_duplicate_distance: int,
    near_duplicate_correlation: float,
    near_duplicate_difference: float,
    near_empty_class_images: int,
    class_imbalance_ratio: float,
    grayscale_difference: float,
    naming_pattern_share: float,
    sample_images: int,
    workers: int,
    seed: int,
    findings: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Check every image of an archive in one pass and report what is wrong with which.

    Args:
        archive: Images and their catalog, as ingest writes them.
        dark_brightness: An image is dark when 95 % of its pixels have luma below this, [0, 255].
        bright_brightness: An image is bright when 95 % of its pixels have luma above this, [0, 255].
        low_contrast: An image is blank when the standard deviation of its luma is below this, [0, 127.5].
        size_outlier_iqr: How many interquartile ranges beyond the quartiles a log size is an outlier.
        aspect_outlier: An image has an unusual shape when its longer side is more than this many times the shorter.
        tiny_side_px: An image is tiny when its shorter side has fewer pixels.
        blur_ratio: An image is blurry when a 3 x 3 blur leaves more than this share of its detail, [0, 1].
        low_entropy_bits: An image holds hardly any information when its luma has less entropy, [0, 8] bits.
        near_duplicate_distance: Near duplicates differ in at most so many of the 64 bits of their DCT hashes, 0 to 11.
        near_duplicate_correlation: The thumbnails of near duplicates correlate by at least this, [-1, 1].
        near_duplicate_difference: Aligned, and tones apart, near duplicates differ nowhere by more standard deviations.
        near_empty_class_images: A class is nearly empty when it has fewer readable images.
        class_imbalance_ratio: A class is outnumbered when the largest has more than so many times its images.
        grayscale_difference: An image has no colour when its mean |R - G| + |G - B| is below this, [0, 510].
        naming_pattern_share: What this share of a folder's names looks like is its pattern, [0.5, 1].
        sample_images: How many random images the report shows, at most 200.
        workers: Threads that decode; 0 for one per processor.
        seed: Of whatever is random, 0 to 2147483647; here, which images the report shows.
        findings: One row per finding, and one row of measurements per image, as Parquet.
        report: A self-contained page for people.
        metrics: Images, classes, usable images, and findings per severity and check.
    """
    from pathlib import Path

    from components.audit.checks import Thresholds
    from components.audit.image_audit import audit_archive
    from components.failures import attempts

    for attempt in attempts("audit"):
        with attempt:
            thresholds = Thresholds(
                dark_brightness=dark_brightness,
                bright_brightness=bright_brightness,
                low_contrast=low_contrast,
                size_outlier_iqr=size_outlier_iqr,
                aspect_outlier=aspect_outlier,
                tiny_side_px=tiny_side_px,
                blur_ratio=blur_ratio,
                low_entropy_bits=low_entropy_bits,
                near_duplicate_distance=near_duplicate_distance,
                near_duplicate_correlation=near_duplicate_correlation,
                near_duplicate_difference=near_duplicate_difference,
                near_empty_class_images=near_empty_class_images,
                class_imbalance_ratio=class_imbalance_ratio,
                grayscale_difference=grayscale_difference,
                naming_pattern_share=naming_pattern_share,
            )
            counted = audit_archive(
                Path(archive.path),
                Path(findings.path),
                Path(report.path),
                thresholds,
                sample_images=sample_images,
                workers=workers,
                seed=seed,
            )
            for name, value in counted.items():
                metrics.log_metric(name, value)
