"""How far scores may be off by the chance of which images were tested: bootstrap intervals.

Resampling n images with replacement from n is a multinomial draw over the kinds of images there are, and for accuracy,
F1 and recall an image's kind is its cell of the confusion matrix. So all resamples are drawn as counts at once,
whatever the number of images. B. Efron (1979), Bootstrap methods: another look at the jackknife, Ann. Stat. 7(1), 1-26;
the intervals are the percentile method's.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from components.evaluate.scores import Interval, wilson_interval

RESAMPLES = 2000

_PERCENTILES = (2.5, 97.5)
# Resamples in memory at once: with a thousand classes 80 MB.
_AT_ONCE = 100


@dataclasses.dataclass(frozen=True)
class ScoreIntervals:
    """Intervals of an evaluation.

    Attributes:
        accuracy: Of the share of images that are right; None where all are right, or all wrong.
        macro_f1: Of the mean F1 of the classes that have images; likewise.
        recall: Per class in label order, None for a class without images.
    """

    accuracy: Interval | None
    macro_f1: Interval | None
    recall: list[Interval | None]


def bootstrap_intervals(confusions: npt.NDArray[np.int64], seed: int, resamples: int = RESAMPLES) -> ScoreIntervals:
    """Return intervals of scores by resampling the test images.

    Of a class whose images are all right, or all wrong, every resample says the same: resampling gives an interval
    without width. Its recall gets Wilson's instead, which knows that five of five are not certainty. Where that is so
    of all images, accuracy and F1 get none: one without width would claim to know what nobody does.

    Args:
        confusions: ``[classes, classes]``, images by true class (rows) and predicted class (columns), at least one.
        seed: Of the resamples.
        resamples: How many.
    """
    rows, columns = np.nonzero(confusions)
    accuracies, f1s, recalls = [], [], []
    for counts in resampled(confusions[rows, columns], seed, resamples):
        right, true, predicted = _totals(counts, rows, columns, len(confusions))
        accuracies.append(right.sum(axis=1) / confusions.sum())
        f1s.append(mean_f1(right, true, predicted))
        recalls.append(np.divide(right, true, out=np.full(right.shape, np.nan), where=true > 0))
    by_class = np.concatenate(recalls)
    totals, hits = confusions.sum(axis=1), confusions.diagonal()
    varied = 0 < hits.sum() < totals.sum()
    return ScoreIntervals(
        accuracy=percentile_interval(np.concatenate(accuracies)) if varied else None,
        macro_f1=percentile_interval(np.concatenate(f1s)) if varied else None,
        recall=[
            None
            if total == 0
            else Interval(*wilson_interval(int(hit), int(total)))
            if hit in {0, total}
            else percentile_interval(by_class[:, label])
            for label, (hit, total) in enumerate(zip(hits, totals, strict=True))
        ],
    )


def resampled(counts: npt.NDArray[np.int64], seed: int, resamples: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield resamples of images, given how many there are of each kind.

    Args:
        counts: ``[kinds]``, each at least 1.
        seed: Of the draws.
        resamples: How many in all.

    Yields:
        int64 ``[some resamples, kinds]``, each row adding up to the number of images.
    """
    random = np.random.default_rng(seed)
    total = int(counts.sum())
    for begin in range(0, resamples, _AT_ONCE):
        yield random.multinomial(total, counts / total, size=min(_AT_ONCE, resamples - begin))


def mean_f1(
    right: npt.NDArray[np.int64], true: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the mean F1 over the classes that have images, of each resample.

    Args:
        right: ``[resamples, classes]``, images of the class that were given it.
        true: Likewise, images of the class.
        predicted: Likewise, images that were given it.
    """
    f1 = np.divide(2.0 * right, true + predicted, out=np.zeros(right.shape), where=true + predicted > 0)
    there = true > 0
    return np.asarray((f1 * there).sum(axis=1) / there.sum(axis=1))


def percentile_interval(values: npt.NDArray[np.float64]) -> Interval:
    """Return the interval that 95 % of values lie in, those that are NaN left out."""
    low, high = np.nanpercentile(values, _PERCENTILES)
    return Interval(float(low), float(high))


def summed_by(counts: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.int64]:
    """Return the counts of kinds added up by a label of each kind, int64 ``[resamples, classes]``."""
    sums = np.zeros((classes, len(counts)), np.int64)
    np.add.at(sums, labels, counts.T)
    return sums.T


def _totals(
    counts: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    hit = rows == columns
    return (
        summed_by(counts[:, hit], rows[hit], classes),
        summed_by(counts, rows, classes),
        summed_by(counts, columns, classes),
    )
