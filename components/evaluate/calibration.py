"""Whether the model's probabilities can be taken at their word, and one number that mends most of it.

Expected calibration error and temperature scaling as in Guo, Pleiss, Sun and Weinberger, On Calibration of Modern
Neural Networks, ICML 2017: fifteen bins of equal width over the probability of the answer.

The loss that a temperature is fitted by is the logarithm of the softmax itself, with no least probability: a sum of
log-sum-exps, convex in 1/T, so it has one minimum. Where a probability counts as 1e-7 at least, as in the log loss that
is reported, the loss of what a model is badly wrong about is flat, and the least of it may lie the other way.
"""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from components.evaluate.scores import Labels, Probabilities, log_loss
from components.formats.evaluation import LEAST_PROBABILITY, Calibration, CalibrationBin, with_temperature

BINS = 15
LEAST_VALIDATION_IMAGES = 30
"""A temperature of fewer images would be one of their chance."""

# Beyond these no minimum was found: probabilities would be all but equal, or all but certain.
_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 0.05, 100.0
_AT_A_LIMIT = 1.02
_EQUAL = 1e-6
_VALUES_AT_ONCE = 4_000_000
_ALL_EQUAL = "the model's probabilities for the validation images are all but equal"


def calibrate(
    validation: tuple[Labels, Probabilities] | None, labels: Labels, probabilities: Probabilities
) -> Calibration:
    """Fit a temperature on the validation split, and say what it does to the test split.

    Args:
        validation: Labels and probabilities of the validation split, None when it has no image.
        labels: Of the test split.
        probabilities: Of the test split.
    """
    temperature, reason = fit_temperature(*validation) if validation else (None, "there are no validation images")
    before = believed(labels, probabilities, None)
    after = before if temperature is None else believed(labels, probabilities, temperature)
    bins = calibration_bins(probabilities.argmax(axis=1) == labels, before.sure, after.sure)
    return Calibration(
        temperature=1.0 if temperature is None else temperature,
        fitted=temperature is not None,
        reason=reason,
        validation_images=len(validation[0]) if validation else 0,
        ece_before=_mean_gap([(one.images_before, one.confidence_before, one.accuracy_before) for one in bins]),
        ece_after=_mean_gap([(one.images_after, one.confidence_after, one.accuracy_after) for one in bins]),
        log_loss_before=log_loss(before.true),
        log_loss_after=log_loss(after.true),
        bins=bins,
    )


def fit_temperature(labels: Labels, probabilities: Probabilities) -> tuple[float | None, str]:
    """Return the temperature that makes the true labels most likely; or None and why there is none.

    Args:
        labels: Of images that the model was not trained on.
        probabilities: What it says of them.
    """
    if reason := _nothing_to_fit(labels, probabilities):
        return None, reason

    def loss(logarithm: float) -> float:
        return scaled_loss(labels, probabilities, math.exp(logarithm))

    limits = (math.log(_LEAST_TEMPERATURE), math.log(_MOST_TEMPERATURE))
    temperature = math.exp(minimize_scalar(loss, bounds=limits, method="bounded", options={"xatol": 1e-6}).x)
    if temperature < _LEAST_TEMPERATURE * _AT_A_LIMIT:
        return None, _ALL_EQUAL
    if temperature > _MOST_TEMPERATURE / _AT_A_LIMIT:
        return None, "the model does no better than guessing on the validation images"
    if scaled_loss(labels, probabilities, temperature) >= scaled_loss(labels, probabilities, 1.0):
        return None, "no temperature makes the validation images' labels more likely"
    return temperature, ""


def _nothing_to_fit(labels: Labels, probabilities: Probabilities) -> str:
    """Return why these images tell no temperature; empty when they may."""
    if len(labels) < LEAST_VALIDATION_IMAGES:
        return f"{len(labels)} validation images are too few, it takes {LEAST_VALIDATION_IMAGES}"
    if (probabilities.argmax(axis=1) == labels).all():
        return "the model gets every validation image right, so no probability is too sure for them"
    # Of equal probabilities every temperature makes the same.
    return _ALL_EQUAL if np.ptp(probabilities, axis=1).max() < _EQUAL else ""


def scaled_loss(labels: Labels, probabilities: Probabilities, temperature: float) -> float:
    """Return the mean negative logarithm of the true class's probability with a temperature, however small it is.

    Args:
        labels: ``[images]``.
        probabilities: ``[images, classes]``, before the temperature. What lies below ``LEAST_PROBABILITY`` is not known
            any better than that.
        temperature: Above 0.
    """
    total = 0.0
    at_once = max(1, _VALUES_AT_ONCE // probabilities.shape[1])
    for begin in range(0, len(labels), at_once):
        given, true = probabilities[begin : begin + at_once], labels[begin : begin + at_once]
        logits = np.log(np.maximum(given.astype(np.float64), LEAST_PROBABILITY)) / temperature
        logits -= logits.max(axis=1, keepdims=True)
        total += float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(true)), true]).sum())
    return total / len(labels)


@dataclasses.dataclass(frozen=True)
class Believed:
    """What a model believes of images, float64 ``[images]`` each.

    Attributes:
        sure: Probability of its answer.
        true: Probability of the true class.
    """

    sure: npt.NDArray[np.float64]
    true: npt.NDArray[np.float64]


def believed(labels: Labels, probabilities: Probabilities, temperature: float | None) -> Believed:
    """Return how sure a model is, some images at a time: of a thousand classes all would fill memory several times.

    Args:
        labels: ``[images]``.
        probabilities: ``[images, classes]``.
        temperature: To scale them by; None as they are.
    """
    sure, true = np.empty((2, len(labels)))
    at_once = max(1, _VALUES_AT_ONCE // probabilities.shape[1])
    for begin in range(0, len(labels), at_once):
        part = slice(begin, begin + at_once)
        given = probabilities[part].astype(np.float64)
        if temperature is not None:
            given = with_temperature(given, temperature)
        sure[part] = given.max(axis=1)
        true[part] = given[np.arange(len(given)), labels[part]]
    return Believed(sure, true)


def calibration_bins(
    right: npt.NDArray[np.bool_], before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]
) -> list[CalibrationBin]:
    """Return how often the model is right by how sure it is.

    Args:
        right: ``[images]``, whether it is.
        before: ``[images]``, how sure it is.
        after: Likewise, with the temperature.
    """
    edges = np.linspace(0.0, 1.0, BINS + 1)
    columns = []
    for sure in (before, after):
        # (lower, upper], so that certainty is in the last bin.
        of_image = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, BINS - 1)
        images = np.bincount(of_image, minlength=BINS)
        confidence = np.bincount(of_image, sure, BINS)
        hits = np.bincount(of_image, right, BINS)
        columns.append(
            [
                (int(count), float(total / count) if count else None, float(hit / count) if count else None)
                for count, total, hit in zip(images, confidence, hits, strict=True)
            ]
        )
    return [
        CalibrationBin(float(lower), float(upper), *of_before, *of_after)
        for lower, upper, of_before, of_after in zip(edges[:-1], edges[1:], *columns, strict=True)
    ]


def _mean_gap(bins: list[tuple[int, float | None, float | None]]) -> float:
    """Return the expected calibration error: the gap between confidence and accuracy, weighted by images."""
    gaps = [
        (images, abs(confidence - accuracy))
        for images, confidence, accuracy in bins
        if confidence is not None and accuracy is not None
    ]
    return sum(images * gap for images, gap in gaps) / sum(images for images, _ in gaps)
