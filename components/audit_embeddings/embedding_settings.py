"""Settings of the embedding audit, and which make sense. Without TensorFlow: a launcher checks them before a run."""

import dataclasses

from components.classifier.backbones import known_backbone
from components.classifier.fit_settings import MOST_IN_BATCH, check_at_least, check_between, check_share
from components.classifier.weights_source import check_weights
from components.failures import UserError

OWN_PARAMETERS = ("outlier_deviation", "label_error_confidence", "semantic_duplicate_distance")
"""What a pipeline has for this step alone, and therefore only where it has the step."""


@dataclasses.dataclass(frozen=True)
class EmbeddingSettings:
    """Settings of the embedding audit.

    Attributes:
        backbone: ``inception_v3`` or ``efficientnet_lite0``.
        weights: ``imagenet``, a path or ``gs://`` URI, or ``random``.
        outlier_deviation: Robust standard deviations above the median of its class beyond which an image's distance
            from its neighbours makes it an outlier, above 0.
        label_error_confidence: A label is doubted only where its own probability is at most this, [0, 1].
        semantic_duplicate_distance: Semantic duplicates are at most this many times as far apart as neighbours in
            their class are at the median, [0, 1].
        batch_size: Images in one step, at least 1.
        workers: Threads that decode; 0 for one per processor.
        require_gpu: Fail without a GPU. Otherwise one is used where there is one.
        seed: Of the folds, 0 to 2**31 - 1.
    """

    backbone: str
    weights: str
    outlier_deviation: float
    label_error_confidence: float
    semantic_duplicate_distance: float
    batch_size: int
    workers: int
    require_gpu: bool
    seed: int


def check_settings(settings: EmbeddingSettings) -> None:
    """Check all that can be checked without images, weights and devices.

    Raises:
        UserError: Naming the parameter, its value and what it can be.
    """
    check_weights(settings.weights, known_backbone(settings.backbone).name)
    if not settings.outlier_deviation > 0:
        raise UserError(f"outlier_deviation is {settings.outlier_deviation:g}: set it above 0")
    check_share("label_error_confidence", settings.label_error_confidence, below_one=False)
    check_share("semantic_duplicate_distance", settings.semantic_duplicate_distance, below_one=False)
    check_between("batch_size", settings.batch_size, 1, MOST_IN_BATCH)
    check_at_least("workers", settings.workers, 0)
    if not 0 <= settings.seed < 2**31:
        raise UserError(f"seed is {settings.seed}: set it between 0 and {2**31 - 1}")
