"""The model beside the champion on the same images: is the difference more than chance?

The same images are those that both were tested on, which neither was trained on. What counts is where they differ:
paired bootstrap for how large the difference may be, and McNemar's test, in its exact form, for whether there is one.
Q. McNemar (1947), Note on the sampling error of the difference between correlated proportions or percentages,
Psychometrika 12(2), 153-157.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

from components.evaluate.intervals import RESAMPLES, mean_f1, percentile_interval, resampled, summed_by
from components.formats.champion import find_champion, shared_answers
from components.formats.evaluation import Comparison

Labels = npt.NDArray[np.int64]


def compare_with_champion(
    predictions: pd.DataFrame,
    class_names: list[str],
    dataset_digest: str,
    *,
    registry_uri: str,
    model_name: str,
    seed: int,
) -> tuple[Comparison | None, str]:
    """Return the comparison with the registry's champion; or None and why there is none.

    Args:
        predictions: ``PREDICTION_COLUMNS`` of the model.
        class_names: In label order.
        dataset_digest: Of the splits whose test split was predicted.
        registry_uri: ``gs://bucket/prefix`` or a local folder; empty for no comparison.
        model_name: Name in the registry.
        seed: Of the resamples.

    Raises:
        UserError: When the registry may not be read or is damaged.
        TransientError: When the registry does not answer.
    """
    if not registry_uri:
        return None, "no registry was named"
    champion = find_champion(registry_uri, model_name)
    if champion is None:
        return None, "the registry has no champion yet"
    shared, reason = shared_answers(predictions, dataset_digest, champion)
    if shared is None:
        return None, reason
    # A champion that was trained on a class without test images may answer with it.
    names = dict.fromkeys([*class_names, *shared["champion_class"]])
    numbers = {name: number for number, name in enumerate(names)}
    columns = (shared["true_class"], shared["predicted_class"], shared["champion_class"])
    labels, ours, other = (np.asarray(column.map(numbers), np.int64) for column in columns)
    return compare(labels, ours, other, classes=len(numbers), champion=champion.version, seed=seed), ""


def compare(
    labels: Labels, answers: Labels, champion_answers: Labels, *, classes: int, champion: str, seed: int
) -> Comparison:
    """Compare two models' answers to the same images.

    Args:
        labels: ``[images]``, indices of the true classes, at least one image.
        answers: ``[images]``, what the model says.
        champion_answers: ``[images]``, what the champion says.
        classes: How many there are.
        champion: Version of the champion.
        seed: Of the resamples.
    """
    right, champion_right = answers == labels, champion_answers == labels
    only_model, only_champion = int((right & ~champion_right).sum()), int((~right & champion_right).sum())
    kinds, counts = np.unique(np.stack([labels, answers, champion_answers], axis=1), axis=0, return_counts=True)
    accuracy_differences, f1_differences = [], []
    for drawn in resampled(counts, seed, RESAMPLES):
        accuracy, f1 = _differences(drawn, kinds, classes)
        accuracy_differences.append(accuracy)
        f1_differences.append(f1)
    (difference,), (f1_difference,) = _differences(counts[None, :], kinds, classes)
    accuracy_interval = percentile_interval(np.concatenate(accuracy_differences))
    f1_interval = percentile_interval(np.concatenate(f1_differences))
    differing = only_model + only_champion
    return Comparison(
        champion=champion,
        champion_accuracy=float(champion_right.mean()),
        images=len(labels),
        both_right=int((right & champion_right).sum()),
        only_model_right=only_model,
        only_champion_right=only_champion,
        both_wrong=int((~right & ~champion_right).sum()),
        accuracy_difference=float(difference),
        accuracy_difference_low=accuracy_interval.low,
        accuracy_difference_high=accuracy_interval.high,
        macro_f1_difference=float(f1_difference),
        macro_f1_difference_low=f1_interval.low,
        macro_f1_difference_high=f1_interval.high,
        mcnemar_p=float(binomtest(only_model, differing, 0.5).pvalue) if differing else 1.0,
    )


def _differences(
    counts: npt.NDArray[np.int64], kinds: npt.NDArray[np.int64], classes: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the differences of accuracy and of macro F1 in each resample.

    Args:
        counts: ``[resamples, kinds]``.
        kinds: ``[kinds, 3]``: true class, the model's answer, the champion's.
        classes: How many there are.
    """
    labels = kinds[:, 0]
    true = summed_by(counts, labels, classes)
    accuracies, f1s = [], []
    for answers in (kinds[:, 1], kinds[:, 2]):
        hit = answers == labels
        right = summed_by(counts[:, hit], labels[hit], classes)
        accuracies.append(right.sum(axis=1) / counts.sum(axis=1))
        f1s.append(mean_f1(right, true, summed_by(counts, answers, classes)))
    return accuracies[0] - accuracies[1], f1s[0] - f1s[1]
