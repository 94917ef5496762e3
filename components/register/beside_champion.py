"""A model beside a champion that its evaluation did not compare it with: another one was promoted meanwhile.

The difference of two shares of the same images has the interval of R. G. Newcombe (1998), Improved confidence intervals
for the difference between binomial proportions based on paired data, Statistics in Medicine 17(22), 2635-2650, method
10; whether there is one is asked of McNemar's exact test. The evaluation itself resamples, for more than accuracy.
"""

import math

import pandas as pd
from scipy.stats import binomtest

from components.formats.champion import Champion, shared_answers
from components.register.promotion_gate import Difference, NotCompared

_NORMAL_QUANTILE = 1.959963984540054  # of 0.975


def beside_champion(predictions: pd.DataFrame, dataset_digest: str, champion: Champion) -> Difference | NotCompared:
    """Compare a model's answers with the champion's, on the test images that both were tested on.

    Args:
        predictions: ``components.formats.evaluation.PREDICTION_COLUMNS`` of the model.
        dataset_digest: Of the splits whose test split was predicted.
        champion: With which to compare.

    Raises:
        UserError: When the champion's bundle may not be read.
        TransientError: When the registry does not answer.
    """
    shared, reason = shared_answers(predictions, dataset_digest, champion)
    if shared is None:
        return NotCompared(champion.version, reason)
    right = shared["predicted_class"] == shared["true_class"]
    champion_right = shared["champion_class"] == shared["true_class"]
    both, neither = int((right & champion_right).sum()), int((~right & ~champion_right).sum())
    gained, lost = int((right & ~champion_right).sum()), int((~right & champion_right).sum())
    low, high = paired_interval(both, gained, lost, neither)
    return Difference(
        champion=champion.version,
        images=len(shared),
        test_images=len(predictions),
        difference=(gained - lost) / len(shared),
        low=low,
        high=high,
        p=float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0,
    )


def paired_interval(both: int, gained: int, lost: int, neither: int) -> tuple[float, float]:
    """Return the 95 % interval of a difference of accuracies, model minus champion, each end in [-1, 1].

    Args:
        both: Images that both get right.
        gained: Images that only the model gets right.
        lost: Images that only the champion gets right.
        neither: Images that both get wrong. All four together are at least 1.
    """
    images = both + gained + lost + neither
    ours, theirs = (both + gained) / images, (both + lost) / images
    low, high = _wilson_interval(ours, images)
    their_low, their_high = _wilson_interval(theirs, images)
    correlation = _correlation(both, gained, lost, neither)

    def distance(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))

    below, above = distance(ours - low, their_high - theirs), distance(high - ours, theirs - their_low)
    return (gained - lost) / images - below, (gained - lost) / images + above


def _correlation(both: int, gained: int, lost: int, neither: int) -> float:
    """Return Newcombe's phi, with his correction for continuity where it is positive."""
    product = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    if product == 0:
        return 0.0
    covariance: float = both * neither - gained * lost
    if covariance > 0:
        covariance = max(0.0, covariance - (both + gained + lost + neither) / 2)
    return covariance / math.sqrt(product)


def _wilson_interval(share: float, images: int) -> tuple[float, float]:
    square = _NORMAL_QUANTILE**2
    centre = (share + square / (2 * images)) / (1 + square / images)
    half = share * (1 - share) / images + square / (4 * images**2)
    half = _NORMAL_QUANTILE / (1 + square / images) * math.sqrt(half)
    return centre - half, centre + half
