"""Labels are judged by models that saw neither the image nor a copy of it."""

import numpy as np
import pytest

from components.audit_embeddings.neighbours import Images
from components.label_errors import confident_learning
from components.label_errors.confident_learning import FOLDS, JudgedLabels, find_wrong_labels, folds_of, judge_labels
from tests.audit_embeddings.features import clusters

LABELS = np.repeat([0, 1, 2], [60, 40, 20])


def judged(images: Images, labels: np.ndarray, seed: int) -> JudgedLabels:
    return judge_labels(images.features, images.groups, labels, seed)


def planted() -> tuple[np.ndarray, list[int]]:
    """Return the labels with six of them wrong, and where."""
    labels, wrong = LABELS.copy(), [0, 1, 60, 61, 100, 101]
    labels[wrong] = (labels[wrong] + 1) % 3
    return labels, wrong


def test_planted_errors_are_found_with_the_right_suggestion() -> None:
    labels, wrong = planted()
    found = judged(clusters(LABELS), labels, seed=1)
    assert np.flatnonzero(found.wrong).tolist() == wrong
    assert found.suggested[wrong].tolist() == LABELS[wrong].tolist()
    assert found.judged.all()
    assert (found.confidence[wrong] < found.suggested_confidence[wrong]).all()


def test_the_same_seed_judges_the_same() -> None:
    labels, _ = planted()
    one, two = (judged(clusters(LABELS), labels, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.confidence, two.confidence)


def test_copies_do_not_vouch_for_each_other() -> None:
    """Two copies under one wrong label: known as copies they are found, unknown they confirm each other's label."""
    images = clusters(LABELS, noise=1.0)
    features = np.concatenate([images.features, np.repeat(images.features[:1], 9, axis=0)])
    labels = np.concatenate([LABELS, np.full(9, 1)])
    labels[0] = 1
    copies = np.append(np.flatnonzero(np.arange(len(LABELS)) == 0), np.arange(len(LABELS), len(labels)))
    groups = np.arange(len(labels))
    unknown = judge_labels(features, groups, labels, seed=1)
    known = judge_labels(features, np.where(np.isin(groups, copies), 0, groups), labels, seed=1)
    assert known.confidence[copies].max() < 0.2 < unknown.confidence[copies].min()
    assert set(copies) <= set(np.flatnonzero(known.wrong))


def test_folds_are_stratified_and_never_part_a_group() -> None:
    groups = np.arange(len(LABELS))
    groups[:10] = 0
    groups[58:64] = 58  # of two classes
    folds = folds_of(LABELS, groups, seed=3)
    assert len(set(folds[:10])) == len(set(folds[58:64])) == 1
    for label, images in enumerate([60, 40, 20]):
        sizes = np.bincount(folds[label == LABELS], minlength=FOLDS)
        assert sizes.sum() == images
        assert np.count_nonzero(sizes) == FOLDS, "every fold learns of every class"
    alone = folds_of(LABELS, np.arange(len(LABELS)), seed=3)
    assert [np.bincount(alone[label == LABELS]).tolist() for label in range(3)] == [[12] * 5, [8] * 5, [4] * 5]


@pytest.mark.parametrize(
    ("sizes", "judged_labels"),
    [([20, 20, 4], {0, 1}), ([20, 4, 4], set()), ([20], set()), ([5, 5], {0, 1})],
    ids=["one class too small", "one class left", "one class", "just enough"],
)
def test_classes_with_too_few_images_are_not_judged(sizes: list[int], judged_labels: set[int]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    found = judged(clusters(labels), labels, seed=0)
    assert set(labels[found.judged]) == judged_labels
    assert not found.wrong[~found.judged].any()
    assert np.isnan(found.confidence[~found.judged]).all()


def test_a_class_that_is_all_copies_of_one_image_is_not_judged() -> None:
    labels = np.repeat([0, 1, 2], [20, 20, 8])
    images = clusters(labels)
    found = judge_labels(images.features, np.where(labels == 2, 40, images.groups), labels, seed=0)
    assert set(labels[found.judged]) == {0, 1}


def test_learning_from_a_sample_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confident_learning, "_MOST_TRAINING_IMAGES", 80)
    labels, wrong = planted()
    found = judged(clusters(LABELS), labels, seed=1)
    assert set(wrong) <= set(np.flatnonzero(found.wrong))


def test_confident_learning_takes_the_least_confident_first() -> None:
    labels = np.repeat([0, 1], 20)
    probabilities = np.where(np.eye(2)[labels] > 0, 0.9, 0.1)
    probabilities[3] = (0.02, 0.98)
    probabilities[25] = (0.95, 0.05)
    assert find_wrong_labels(labels, probabilities).tolist() == [3, 25]
