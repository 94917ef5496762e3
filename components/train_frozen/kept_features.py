"""What the frozen backbone saw in training images, kept for the judgement of their labels."""

import numpy as np

from components.classifier.activation_cache import IMAGES_PER_SHARD, ActivationCache
from components.classifier.activation_shards import DamagedShardError
from components.classifier.activations import Views, section_of_view
from components.classifier.input_pipeline import SplitImages
from components.formats.splits import Splits
from components.formats.training_features import (
    MOST_IMAGES,
    TrainingFeatures,
    of_length_1,
    shuffled_positions,
    training_shards_digest,
)


def kept_features(
    cache: ActivationCache | None, splits: Splits, training: SplitImages, views: Views, epochs: int, seed: int
) -> TrainingFeatures | None:
    """Return the mean features of training images over the views that training saw: read, and never computed.

    Args:
        cache: Of features; None where training streamed.
        splits: Description of the images.
        training: The training images.
        views: Of them.
        epochs: How many were trained. A view of theirs that lies on another disk, where an earlier attempt was
            stopped, is left out of the mean.
        seed: Of the sample that is kept of very many images.

    Returns:
        None where nothing is there to be read.
    """
    if cache is None:
        return None
    sections = [section_of_view(view) for view in sorted(views.of_epochs(range(epochs)))]
    whole = [section for section in sections if not cache.missing_shards(section, training.images)]
    if not whole:
        return None
    positions = np.sort(shuffled_positions(training.images, seed)[:MOST_IMAGES])
    features = np.empty((len(positions), *cache.arrays[0].shape), np.float16)
    try:
        for begin in range(0, len(positions), IMAGES_PER_SHARD):
            places = positions[begin : begin + IMAGES_PER_SHARD]
            of_views = [cache.read(section, places, 0) for section in whole]
            features[begin : begin + len(places)] = of_length_1(np.mean(of_views, axis=0, dtype=np.float32))
    except DamagedShardError as error:
        # The model is trained already, and evaluate can look at the images itself.
        print(f"train_frozen: no features are kept for evaluate, which will compute them: {error}", flush=True)
        return None
    print(f"train_frozen: features of {len(positions)} training images are kept for evaluate", flush=True)
    return TrainingFeatures(features, positions, len(whole), splits.dataset_digest, training_shards_digest(splits))
