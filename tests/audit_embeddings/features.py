"""Features drawn instead of computed: directions of classes, with noise."""

import numpy as np
import numpy.typing as npt

from components.audit_embeddings.neighbours import Images


def unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float16]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def clusters(labels: npt.NDArray[np.int64], seed: int = 0, noise: float = 0.5, width: int = 48) -> Images:
    """Return an image per label, near the direction of its class, none a copy of another."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(int(labels.max()) + 1, width))
    features = unit(centres[labels] + noise * generator.normal(size=(len(labels), width)))
    return Images(features, np.arange(len(labels)))
