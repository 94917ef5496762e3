"""What is kept for evaluate is read from the cache: of the views that are whole, of very many images a sample."""

from pathlib import Path

import numpy as np
import pytest

from components.classifier.activation_cache import IMAGES_PER_SHARD, ActivationCache, StoredArray, images_of_shard
from components.classifier.activation_shards import compressed, written_shard
from components.classifier.activations import Views, section_of_view
from components.classifier.input_pipeline import SplitImages
from components.formats.splits import Shard, Split, Splits
from components.formats.training_features import TrainingFeatures, of_length_1, shuffled_positions
from components.train_frozen import kept_features as kept_features_module
from components.train_frozen.kept_features import kept_features

IMAGES, WIDTH, SEED = IMAGES_PER_SHARD + 60, 8, 4
SEEN = np.random.default_rng(0).random((3, IMAGES, WIDTH), np.float32)
TRAINING = SplitImages([Path("train.tfrecord")], [IMAGES], 32, [IMAGES - 1, 1])
SPLITS = Splits(
    class_names=["ash", "birch"],
    image_size_px=32,
    resize_policy="stretch",
    seed=SEED,
    fractions={},
    splits={"train": Split(IMAGES, {}, [Shard("train.tfrecord", IMAGES, "5" * 64)])},
    dataset_digest="d" * 64,
    certificate={},
)


def cache_of(directory: Path, views: int) -> ActivationCache:
    """Return a cache that holds the first views of ``SEEN``."""
    cache = ActivationCache(directory, "features", {}, [StoredArray("pooled_features", (WIDTH,), "float32")])
    with cache.writing():
        for view in range(views):
            for number in range(2):
                with written_shard(cache.shard(section_of_view(view), number)) as append:
                    for place in images_of_shard(number, IMAGES):
                        append(compressed(SEEN[view, place]))
    return cache


def kept(cache: ActivationCache | None, epochs: int) -> TrainingFeatures | None:
    return kept_features(cache, SPLITS, TRAINING, Views(0.5, SEED, 3), epochs, SEED)


@pytest.mark.parametrize(("there", "epochs", "views"), [(3, 9, 3), (3, 2, 2), (1, 9, 1)])
def test_the_mean_of_the_views_that_training_saw_and_are_there(
    tmp_path: Path, there: int, epochs: int, views: int
) -> None:
    found = kept(cache_of(tmp_path, there), epochs)
    assert found is not None
    assert found.views == views
    assert found.positions.tolist() == list(range(IMAGES))
    np.testing.assert_array_equal(found.features, of_length_1(SEEN[:views].mean(axis=0)))


def test_nothing_is_kept_where_nothing_is_there(tmp_path: Path) -> None:
    assert kept(None, epochs=3) is None
    assert kept(cache_of(tmp_path, 0), epochs=3) is None


def test_of_very_many_images_a_sample_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_features_module, "MOST_IMAGES", 530)
    found = kept(cache_of(tmp_path, 1), epochs=1)
    assert found is not None
    assert found.positions.tolist() == sorted(shuffled_positions(IMAGES, SEED)[:530].tolist())
    np.testing.assert_array_equal(found.features, of_length_1(SEEN[0])[found.positions])


def test_a_shard_that_is_damaged_meanwhile_stops_no_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = cache_of(tmp_path, 1)
    assert not cache.missing_shards(section_of_view(0), IMAGES)
    shard = cache.shard(section_of_view(0), 1)
    shard.write_bytes(bytes(shard.stat().st_size))
    assert kept(cache, epochs=1) is None
    assert "no features are kept for evaluate, which will compute them: " in capsys.readouterr().out
