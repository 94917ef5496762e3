"""The settings of the command line; the pipeline's defaults are the same, which a test holds."""

from components.audit_embeddings.embedding_settings import EmbeddingSettings

RECOMMENDED = EmbeddingSettings(
    backbone="inception_v3",
    weights="imagenet",
    outlier_deviation=2.5,
    label_error_confidence=0.2,
    semantic_duplicate_distance=0.5,
    batch_size=32,
    workers=0,
    require_gpu=False,
    seed=20260,
)
