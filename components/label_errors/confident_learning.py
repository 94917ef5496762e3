"""Labels that are probably wrong, by confident learning over predictions that never saw the image.

A multinomial logistic regression on the features gives each image the probabilities of the classes, learned from the
other folds alone; copies are always in one fold. Cleanlab then finds the errors: Northcutt, Jiang and Chuang,
"Confident Learning: Estimating Uncertainty in Dataset Labels", 2021. It prunes by noise rate and ranks by
self-confidence, the probability of the given label.
"""

import dataclasses
import importlib.util

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from components.failures import UserError

FOLDS = 5
LEAST_CLASS_GROUPS = 5
"""A class with fewer pictures, copies counted once, is not judged: each fold must have some to learn from."""

# Of the regression, for features of length 1: chosen among 1, 10 and 100 by the likelihood of held-out labels.
_INVERSE_REGULARIZATION = 10.0
_MOST_ITERATIONS = 1000
# More hardly change what a linear model learns, and would not fit in memory: 400 MB with InceptionV3.
_MOST_TRAINING_IMAGES = 50_000


@dataclasses.dataclass(frozen=True)
class JudgedLabels:
    """What predictions say of labels. Each array is ``[images]``.

    Attributes:
        confidence: float64, probability of the image's own label, [0, 1]; NaN for images that are not judged.
        suggested: int64, the likeliest label; -1 likewise.
        suggested_confidence: float64, its probability; NaN likewise.
        usual_confidence: float64, mean ``confidence`` of the images with the same label; NaN likewise. Confident
            learning counts an image as one of a class from this on: t_j in equation 2 of the article.
        wrong: Whether confident learning takes the label for wrong.
    """

    confidence: npt.NDArray[np.float64]
    suggested: npt.NDArray[np.int64]
    suggested_confidence: npt.NDArray[np.float64]
    usual_confidence: npt.NDArray[np.float64]
    wrong: npt.NDArray[np.bool_]

    @property
    def judged(self) -> npt.NDArray[np.bool_]:
        """Which images are judged."""
        return self.suggested >= 0


def judge_labels(
    features: npt.NDArray[np.float16], groups: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], seed: int
) -> JudgedLabels:
    """Judge the label of every image whose class has enough of them.

    Args:
        features: ``[images, features]`` of length 1.
        groups: ``[images]``, a number that an image shares with its copies.
        labels: ``[images]``, numbers of classes.
        seed: Of the folds.
    """
    count = len(labels)
    folds = folds_of(labels, groups, seed)
    rows = np.flatnonzero(folds >= 0)
    classes, codes = np.unique(labels[rows], return_inverse=True)
    confidence, suggested_confidence, usual_confidence = np.full((3, count), np.nan)
    judged = JudgedLabels(
        confidence, np.full(count, -1, np.int64), suggested_confidence, usual_confidence, np.zeros(count, bool)
    )
    if len(classes) < 2:
        return judged
    probabilities = _held_out_probabilities(features, rows, codes, folds[rows], len(classes), seed)
    judged.confidence[rows] = probabilities[np.arange(len(rows)), codes]
    judged.suggested[rows] = classes[probabilities.argmax(axis=1)]
    judged.suggested_confidence[rows] = probabilities.max(axis=1)
    usual = np.bincount(codes, judged.confidence[rows], len(classes)) / np.bincount(codes, minlength=len(classes))
    judged.usual_confidence[rows] = usual[codes]
    judged.wrong[rows[find_wrong_labels(codes, probabilities)]] = True
    return judged


def require_cleanlab() -> None:
    """Check that cleanlab is there, before hours of work that need it.

    Raises:
        UserError: When it is not installed.
    """
    if importlib.util.find_spec("cleanlab") is None:
        raise UserError("cleanlab is not installed: install this package with its extras training and embedding")


def find_wrong_labels(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the rows whose label is wrong by confident learning, the least confident first.

    Args:
        labels: ``[images]``, 0 to below ``classes``, every one of which occurs.
        probabilities: ``[images, classes]`` of a model that did not learn from the image.
    """
    from cleanlab.filter import find_label_issues  # noqa: PLC0415 - it takes seconds to import

    found = find_label_issues(
        labels,
        probabilities,
        filter_by="prune_by_noise_rate",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,  # its processes would be forks of one with TensorFlow's threads
    )
    return np.asarray(found, np.int64)


def folds_of(labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of each image, stratified, no group in two of them.

    Within each class groups are dealt to the folds in turn, so that no fold holds all of a class: every model has seen
    every class. A group of several classes is dealt as one of the first of them.

    Args:
        labels: ``[images]``.
        groups: ``[images]``, a number that an image shares with its copies.
        seed: Of the order in which groups are dealt.

    Returns:
        int64 ``[images]``, 0 to below ``FOLDS``; -1 for images whose class has too few groups.
    """
    images = pd.DataFrame({"label": labels, "group": groups})
    first = images.drop_duplicates("group")
    dealt = first.iloc[np.random.default_rng(seed).permutation(len(first))]
    # Classes begin at different folds, or the first folds would hold the remainders of all.
    turns = dealt.groupby("label").cumcount() + dealt["label"]
    fold_of_group = pd.Series((turns % FOLDS).to_numpy(), index=dealt["group"])
    folds = images["group"].map(fold_of_group)
    of_classes = images.assign(fold=folds).groupby("label")
    enough = (of_classes["group"].transform("nunique") >= LEAST_CLASS_GROUPS) & (
        of_classes["fold"].transform("nunique") > 1
    )
    return folds.where(enough, -1).to_numpy(np.int64)


def _held_out_probabilities(
    features: npt.NDArray[np.float16],
    rows: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
    classes: int,
    seed: int,
) -> npt.NDArray[np.float64]:
    """Return float64 ``[rows, classes]``: what a model of the other folds says of each row."""
    probabilities = np.empty((len(rows), classes))
    for fold in range(FOLDS):
        learned = _sample(np.flatnonzero(folds != fold), labels, seed)
        model = LogisticRegression(C=_INVERSE_REGULARIZATION, max_iter=_MOST_ITERATIONS)
        model.fit(features[rows[learned]].astype(np.float32), labels[learned])
        held_out = np.flatnonzero(folds == fold)
        for begin in range(0, len(held_out), _MOST_TRAINING_IMAGES):
            part = held_out[begin : begin + _MOST_TRAINING_IMAGES]
            probabilities[part] = model.predict_proba(features[rows[part]].astype(np.float32))
        print(f"labels: fold {fold + 1} of {FOLDS}, {len(held_out):,} images", flush=True)
    return probabilities


def _sample(rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Return at most so many rows as there is room for, of small classes all."""
    if len(rows) <= _MOST_TRAINING_IMAGES:
        return rows
    shuffled = rows[np.random.default_rng(seed).permutation(len(rows))]
    turn = pd.Series(labels[shuffled]).groupby(labels[shuffled]).cumcount()
    return np.sort(shuffled[turn.argsort(kind="stable")[:_MOST_TRAINING_IMAGES]])
