"""Evaluate a model on the test split and write everything a person or the registry needs to judge it."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from components.evaluate.calibration import calibrate
from components.evaluate.comparison import compare_with_champion
from components.evaluate.evaluate_settings import check_settings
from components.evaluate.evidence_figures import reliability_figure, slices_figure
from components.evaluate.figures import confusion_figure, roc_figure
from components.evaluate.grad_cam import explain
from components.evaluate.intervals import bootstrap_intervals
from components.evaluate.mistakes import choose_examples
from components.evaluate.pictures import decoded
from components.evaluate.pipeline_metrics import MAXIMUM_ROC_POINTS, matrix_fits
from components.evaluate.predictions import (
    TEST_SPLIT,
    VALIDATION_SPLIT,
    Predictions,
    file_sha256,
    load_classifier,
    predict_split,
    read_images,
    verify_shards,
)
from components.evaluate.report import MOST_SUSPECTS_SHOWN, Charts, Shown, write_report
from components.evaluate.scores import (
    RocCurve,
    class_roc,
    count_confusions,
    macro_roc,
    mean_log_loss,
    micro_roc,
    score_classes,
    wilson_interval,
)
from components.evaluate.slices import is_worse, slice_test_split
from components.evaluate.suspected_labels import SuspectedLabels, suspect_labels, write_suspected_findings
from components.failures import UserError
from components.formats.evaluation import (
    CONFUSION_MATRIX_FILE,
    CURVES_FILE,
    RELIABILITY_FILE,
    ROC_FILE,
    Evaluation,
    digest_of_tested,
    svg_of,
    write_evaluation,
    write_per_class,
    write_predictions,
    write_slices,
)
from components.formats.findings import read_measurements
from components.formats.splits import Splits, read_splits
from components.formats.trained_model import (
    FROZEN_PHASE,
    HISTORY_FILE,
    KERAS_FILE,
    TrainingRecord,
    read_training_record,
)
from components.formats.training_features import TRAINING_SPLIT
from components.publishing import published_directory, require_publishable
from components.report.charts import chart_style, inline_svg, save_png
from components.report.training_curves import TrainingCurves


@dataclasses.dataclass(frozen=True)
class _Inputs:
    splits: Splits
    training: TrainingRecord
    history: pd.DataFrame
    measurements: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the step hands to the pipeline's metrics.

    Attributes:
        evaluation: All scores.
        roc: The micro-averaged one-against-the-rest curve, None where it is undefined.
        suspected_labels: How many labels of training images are probably wrong.
    """

    evaluation: Evaluation
    roc: RocCurve | None
    suspected_labels: int


def evaluate_model(
    splits: Path,
    model: Path,
    findings: Path,
    evaluation: Path,
    report: Path,
    suspected: Path,
    *,
    frozen_model: Path | None = None,
    pipeline_run: str = "",
    label_check_images: int,
    registry_uri: str,
    model_name: str,
    batch_size: int,
    seed: int,
) -> Outcome:
    """Evaluate a trained model on every image of the test split.

    Args:
        splits: Folder of the splits the model was trained on.
        model: Folder of the trained model.
        findings: Folder of the audit's findings about the images.
        evaluation: Folder to publish, see ``components.formats.evaluation``.
        report: HTML file to publish.
        suspected: Folder to publish, the findings and those about labels of training images that are probably wrong.
        frozen_model: Folder of train_frozen's model, by whose backbone labels of training images are judged; the same
            as ``model`` for one that was not fine-tuned. None in a pipeline that was compiled before there was this
            input: then labels are judged only where ``model`` kept the frozen backbone.
        pipeline_run: Name of this run, for the report; empty in a pipeline that was compiled before it told.
        label_check_images: Training images at most whose labels are judged; 0 for none.
        registry_uri: Where the champion lies that the model is compared with; empty for no comparison.
        model_name: Its name there, and this model's.
        batch_size: Images in one step, at least 1; it does not change the result.
        seed: Of resamples and of which right answers are shown.

    Raises:
        UserError: When the inputs are damaged or do not fit together, the registry may not be read, or an output cannot
            be written.
        TransientError: When the registry does not answer.
    """
    require_publishable(folders=[evaluation, suspected], files=[report])
    check_settings(batch_size, label_check_images)
    inputs = _read_inputs(splits, model, findings)
    if frozen_model:
        _check_frozen(frozen_model, inputs.splits)
    elif inputs.training.best_phase == FROZEN_PHASE:
        frozen_model = model
    contents = inputs.splits
    with_validation = contents.splits[VALIDATION_SPLIT].images > 0
    for split in (TEST_SPLIT, *([VALIDATION_SPLIT] if with_validation else [])):
        verify_shards(contents, splits, split)
    classifier = load_classifier(model, contents)
    print(f"evaluate: {contents.splits[TEST_SPLIT].images} test images", flush=True)
    predictions = predict_split(classifier, contents, splits, TEST_SPLIT, batch_size)
    validation = predict_split(classifier, contents, splits, VALIDATION_SPLIT, batch_size) if with_validation else None
    micro = micro_roc(predictions.labels, predictions.probabilities, MAXIMUM_ROC_POINTS)
    scores, per_class = _score(predictions, validation, micro, contents, file_sha256(model / KERAS_FILE), seed)
    right = predictions.probabilities.argmax(axis=1) == predictions.labels
    slices = slice_test_split(predictions.paths, right, inputs.measurements)
    doubts = suspect_labels(
        frozen_model, contents, splits, most_images=label_check_images, batch_size=batch_size, seed=seed
    )
    with published_directory(evaluation) as directory:
        table = write_predictions(
            predictions.paths,
            predictions.digests,
            predictions.labels,
            predictions.probabilities,
            scores.class_names,
            directory,
        )
        comparison, not_compared = compare_with_champion(
            table,
            scores.class_names,
            scores.dataset_digest,
            registry_uri=registry_uri,
            model_name=model_name,
            seed=seed,
        )
        scores = dataclasses.replace(scores, comparison=comparison, test_digest=digest_of_tested(table))
        write_evaluation(scores, directory)
        write_per_class(per_class, directory)
        write_slices(slices, directory)
        charts = _draw_charts(scores, predictions, slices, inputs, directory)
        write_report(
            report,
            scores,
            per_class,
            slices,
            table,
            charts,
            _pictures(classifier, contents, splits, table, batch_size, seed),
            contents,
            inputs.training,
            doubts,
            _suspect_images(doubts, contents, splits),
            names=(model_name, pipeline_run),
            not_compared=not_compared,
            matrix_in_metadata=matrix_fits(scores),
        )
        write_suspected_findings(doubts.table, findings, inputs.measurements, suspected)
    print(
        f"evaluate: {scores.correct_images} of {scores.test_images} right, accuracy {scores.accuracy:.4f}, "
        f"majority guess {scores.majority_baseline:.4f}",
        flush=True,
    )
    return Outcome(scores, micro, len(doubts.table))


def _read_inputs(splits: Path, model: Path, findings: Path) -> _Inputs:
    try:
        contents = read_splits(splits)
    except FileNotFoundError as error:
        raise UserError("the splits hold no splits.json: give the output of the split step") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"splits.json is damaged ({error}): run the split step again") from error
    with _readable("model"):
        training = read_training_record(model)
        history = pd.read_csv(model / HISTORY_FILE)
    try:
        measurements = read_measurements(findings)
    except (OSError, ValueError) as error:
        raise UserError(f"the findings hold no measurements ({error}): give the output of the audit step") from error
    if TEST_SPLIT not in contents.splits or contents.splits[TEST_SPLIT].images < 1:
        raise UserError("the test split is empty: give it a larger fraction in the split step")
    if training.dataset_digest != contents.dataset_digest or training.class_names != contents.class_names:
        raise UserError(
            "the model was trained on other splits, so these test images may have been trained on: "
            "evaluate it on the splits it was trained on"
        )
    if not training.is_of(contents):
        raise UserError(
            "the model was trained on other pixels of the same images, prepared in another way: "
            "evaluate it on the splits it was trained on"
        )
    return _Inputs(contents, training, history, measurements)


def _check_frozen(frozen_model: Path, splits: Splits) -> None:
    with _readable("frozen model"):
        record = read_training_record(frozen_model)
    if record.best_phase != FROZEN_PHASE:
        raise UserError(
            f"the frozen model is one of phase '{record.best_phase}', whose backbone has learned the labels that are "
            "to be judged by it: give the output of train_frozen"
        )
    if record.dataset_digest != splits.dataset_digest or record.class_names != splits.class_names:
        raise UserError(
            f"the frozen model was trained on other splits (digest {record.dataset_digest[:12]}, these have "
            f"{splits.dataset_digest[:12]}): give the output of train_frozen that the model began from"
        )


@contextlib.contextmanager
def _readable(model: str) -> Iterator[None]:
    """Say in a sentence what is wrong with the folder of a trained model that is read in the block."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(
            f"the {model} holds no {Path(error.filename).name}: give the output of a training step"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"the {model}'s records are damaged ({error}): run the training step again") from error


def _pictures(
    classifier: keras.Model, contents: Splits, splits: Path, predictions: pd.DataFrame, batch_size: int, seed: int
) -> Shown:
    """Read the images to show, and ask the model what its answers rest on."""
    examples = choose_examples(predictions, seed)
    images = read_images(contents, splits, TEST_SPLIT, examples.positions)
    asked = examples.explained
    heat = []
    if asked:
        pixels = np.stack([decoded(images[position]) for position in asked])
        answers = [contents.class_names.index(name) for name in predictions["predicted_class"].iloc[asked]]
        heat = explain(classifier, pixels, answers, batch_size) or []
    return Shown(examples, images, dict(zip(asked, heat, strict=False)))


def _suspect_images(doubts: SuspectedLabels, contents: Splits, splits: Path) -> dict[int, bytes]:
    positions = doubts.table["position"].head(MOST_SUSPECTS_SHOWN).tolist()
    return read_images(contents, splits, TRAINING_SPLIT, positions) if positions else {}


def _score(
    predictions: Predictions,
    validation: Predictions | None,
    micro: RocCurve | None,
    splits: Splits,
    model_sha256: str,
    seed: int,
) -> tuple[Evaluation, pd.DataFrame]:
    labels, probabilities, names = predictions.labels, predictions.probabilities, splits.class_names
    confusions = count_confusions(labels, probabilities)
    intervals = bootstrap_intervals(confusions, seed)
    per_class = score_classes(labels, probabilities, names, intervals.recall)
    tested = per_class[per_class["test_images"] > 0]
    aucs = per_class["auc"].dropna()
    correct, total = int(confusions.trace()), len(labels)
    low, high = wilson_interval(correct, total)
    majority = int(per_class["test_images"].to_numpy().argmax())
    evaluation = Evaluation(
        class_names=names,
        dataset_digest=splits.dataset_digest,
        model_sha256=model_sha256,
        test_images=total,
        correct_images=correct,
        accuracy=correct / total,
        accuracy_low=low,
        accuracy_high=high,
        majority_class=names[majority],
        majority_baseline=int(per_class["test_images"].max()) / total,
        macro_precision=float(tested["precision"].mean()),
        macro_recall=float(tested["recall"].mean()),
        macro_f1=float(tested["f1"].mean()),
        auc_macro=float(aucs.mean()) if len(aucs) else None,
        auc_micro=micro.auc if micro else None,
        log_loss=mean_log_loss(labels, probabilities),
        confusion_matrix=confusions.tolist(),
        accuracy_bootstrap_low=intervals.accuracy.low if intervals.accuracy else None,
        accuracy_bootstrap_high=intervals.accuracy.high if intervals.accuracy else None,
        macro_f1_low=intervals.macro_f1.low if intervals.macro_f1 else None,
        macro_f1_high=intervals.macro_f1.high if intervals.macro_f1 else None,
        calibration=calibrate(
            (validation.labels, validation.probabilities) if validation else None, labels, probabilities
        ),
    )
    return evaluation, per_class


def _draw_charts(
    evaluation: Evaluation, predictions: Predictions, slices: pd.DataFrame, inputs: _Inputs, directory: Path
) -> Charts:
    """Save each chart that goes into a model's bundle as PNG and, for its card, as SVG; return all as SVG."""
    names = evaluation.class_names
    rocs = [
        class_roc(predictions.labels, predictions.probabilities, label, MAXIMUM_ROC_POINTS)
        for label in range(len(names))
    ]

    def publish(figure: Figure, file: str, alternative_text: str) -> Markup:
        save_png(figure, directory / file)
        svg = inline_svg(figure, alternative_text)
        (directory / svg_of(file)).write_text(svg, encoding="utf-8")
        return svg

    with chart_style():
        return Charts(
            confusion=publish(
                confusion_figure(np.asarray(evaluation.confusion_matrix), names),
                CONFUSION_MATRIX_FILE,
                f"Confusion matrix: {evaluation.correct_images} of {evaluation.test_images} images on the diagonal",
            ),
            roc=publish(
                roc_figure(rocs, macro_roc([curve for curve in rocs if curve is not None]), names),
                ROC_FILE,
                "Receiver operating characteristic of each class against the rest",
            ),
            curves=publish(
                TrainingCurves.of(inputs.training, inputs.history).both(),
                CURVES_FILE,
                "Accuracy and loss per epoch of both training phases, the kept epoch ringed",
            ),
            reliability=publish(
                reliability_figure(evaluation.calibration),
                RELIABILITY_FILE,
                "How often answers are right by how sure they are, and how sure they are",
            ),
            slices=None
            if slices["accuracy"].isna().all()
            else inline_svg(
                slices_figure(slices, is_worse(slices, evaluation.accuracy).tolist(), evaluation.accuracy),
                "Accuracy of each part of the test split with its interval",
            ),
        )
