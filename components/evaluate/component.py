"""Evaluate: measure the trained model on the held-out test split, every image counted once."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAINING, install_kfp_package=False)
def evaluate(
    splits: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    frozen_model: dsl.Input[dsl.Model],
    findings: dsl.Input[dsl.Dataset],
    label_check_images: int,
    registry_uri: str,
    model_name: str,
    pipeline_run: str,
    batch_size: int,
    seed: int,
    evaluation: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    suspected: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
) -> float:
    """Evaluate a trained model on the held-out test split.

    Args:
        splits: The splits the model was trained on.
        model: The trained model.
        frozen_model: Output of train_frozen, whose backbone has not learned the labels of training images and helps to
            judge them; the same as model where that was not fine-tuned.
        findings: The audit's findings about the images, with what it measured in them.
        label_check_images: Training images at most whose labels are judged, of more a random sample; 0 for none.
        registry_uri: Where the registry lies: gs://bucket/prefix or a local folder.
        model_name: Name in the registry: letters, digits, '.', '_' and '-', at most 63.
        pipeline_run: Name of this run, for the report.
        batch_size: Images in one step, at least 1; more is faster and needs more memory.
        seed: Of resamples, and of which right answers the report shows.
        evaluation: Metrics with intervals and calibration, predictions of every test image, tables and charts.
        report: The evaluation as a page: intervals, confusions, calibration, weak spots, mistakes, learning curves.
        suspected: The findings, and those about training images whose label is probably wrong, in the same format;
            these alone for earlier_findings of the next run; and suspected_labels.txt, a list of them for deny_list.
        metrics: Accuracy and mean F1 with intervals, AUC, calibration, the champion beside it, and counts.
        classification: Confusion matrix and micro-averaged ROC for the pipeline's own view.

    Returns:
        Accuracy on the test split, [0, 1].
    """
    from pathlib import Path

    from components.evaluate.evaluation import evaluate_model
    from components.evaluate.pipeline_metrics import matrix_fits, roc_points, scalar_metrics
    from components.failures import attempts

    for attempt in attempts("evaluate"):
        with attempt:
            outcome = evaluate_model(
                Path(splits.path),
                Path(model.path),
                Path(findings.path),
                Path(evaluation.path),
                Path(report.path),
                Path(suspected.path),
                frozen_model=Path(frozen_model.path),
                label_check_images=label_check_images,
                registry_uri=registry_uri,
                model_name=model_name,
                pipeline_run=pipeline_run,
                batch_size=batch_size,
                seed=seed,
            )
            for name, value in scalar_metrics(outcome.evaluation).items():
                metrics.log_metric(name, value)
            metrics.log_metric("suspected_labels", outcome.suspected_labels)
            if matrix_fits(outcome.evaluation):
                classification.log_confusion_matrix(outcome.evaluation.class_names, outcome.evaluation.confusion_matrix)
            if outcome.roc is not None:
                classification.log_roc_curve(*roc_points(outcome.roc))
    return outcome.evaluation.accuracy
