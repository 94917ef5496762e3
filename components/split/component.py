"""Split: the kept images become train, validation and test shards, copies kept together."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def split(
    archive: dsl.Input[dsl.Dataset],
    decisions: dsl.Input[dsl.Dataset],
    train_fraction: float,
    validation_fraction: float,
    test_fraction: float,
    image_size_px: int,
    resize_policy: str,
    group_pattern: str,
    near_duplicate_distance: int,
    near_duplicate_correlation: float,
    near_duplicate_difference: float,
    shard_size_mib: int,
    workers: int,
    seed: int,
    splits: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Assign the kept images to splits, bring them to one size, and write TFRecord shards.

    Args:
        archive: The images and their catalog, from ingest.
        decisions: Which of them are kept, from clean.
        train_fraction: Part of each class to train on, in (0, 1).
        validation_fraction: Part of each class to choose the model by, in (0, 1).
        test_fraction: Part of each class to evaluate on, in (0, 1); the three add up to 1.
        image_size_px: Height and width that every image is brought to.
        resize_policy: stretch (ignore the shape), crop (the middle square) or pad (black borders).
        group_pattern: Regular expression (RE2) on the path: images with the same first capture group, or match without
            one, stay in one split, whatever their class; burst or animal ids for example. Empty: copies only.
        near_duplicate_distance: Of 64 bits of their DCT hashes, copies differ in at most so many, 0 to 11, as in the
            audit.
        near_duplicate_correlation: The thumbnails of copies correlate by at least this, [-1, 1]; as in the audit.
        near_duplicate_difference: Aligned, and tones apart, copies differ nowhere by more standard deviations; as in
            the audit.
        shard_size_mib: A shard is closed once it holds this much.
        workers: Threads that prepare images, 0 for one per processor; they do not change the result.
        seed: Of the assignment and of the order within splits.
        splits: Shards, counts, and the evidence that no copies cross splits.
        report: A self-contained page: classes per split, and the nearest images of different splits.
        metrics: Images per split, classes, shards, groups, how many of them cross splits, and how many pairs of images
            in different splits look like copies.
    """
    from pathlib import Path

    from components.failures import attempts
    from components.split.dataset_split import split_archive
    from components.split.split_settings import SplitSettings

    for attempt in attempts("split"):
        with attempt:
            settings = SplitSettings(
                fractions={"train": train_fraction, "validation": validation_fraction, "test": test_fraction},
                image_size_px=image_size_px,
                resize_policy=resize_policy,
                group_pattern=group_pattern,
                near_duplicate_distance=near_duplicate_distance,
                near_duplicate_correlation=near_duplicate_correlation,
                near_duplicate_difference=near_duplicate_difference,
                shard_size_mib=shard_size_mib,
                workers=workers,
                seed=seed,
            )
            counts = split_archive(
                Path(archive.path), Path(decisions.path), Path(splits.path), Path(report.path), settings
            )
            for name, count in counts.items():
                metrics.log_metric(name, count)
