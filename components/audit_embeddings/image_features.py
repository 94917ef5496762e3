"""Features of every image: what a pretrained network sees in it, kept on disk."""

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

from components.audit_embeddings.embedding_settings import EmbeddingSettings
from components.audit_embeddings.image_squares import Pixels, UndecodableImageError, middle_square
from components.classifier.backbones import find_backbone, known_backbone
from components.classifier.devices import Devices, prepare_training
from components.classifier.head import feature_extractor
from components.classifier.weights import load_weights
from components.failures import UserError
from components.formats.image_archive import ArchiveReader
from components.image_progress import ImageProgress
from components.ordered_work import in_order, processors

Features = npt.NDArray[np.float16]


@dataclasses.dataclass(frozen=True)
class EmbeddedImages:
    """Images and their features.

    Attributes:
        rows: int64 ``[images]``, ascending: where each image is in the catalog.
        features: float16 ``[images, features]``, each of length 1, on disk: a million images take 4 GB with
            InceptionV3. The product of two is the cosine similarity of their images.
        undecodable: Why an image has no features, by its row in the catalog.
        device: What they were computed on, for people.
        weights_sha256: Of the weights file, hex; empty for random weights.
    """

    rows: npt.NDArray[np.int64]
    features: Features
    undecodable: dict[int, str]
    device: str
    weights_sha256: str


def embed_images(
    archive: Path, catalog: pd.DataFrame, rows: npt.NDArray[np.int64], settings: EmbeddingSettings
) -> EmbeddedImages:
    """Decode images once each, and return their pooled, L2-normalized features.

    Args:
        archive: Folder of the archive.
        catalog: Its catalog.
        rows: Rows of the catalog to look at, ascending.
        settings: Checked settings.

    Raises:
        UserError: When the weights are not fit for the backbone, or there is no GPU and one is required.
        TransientError: When the weights cannot be reached for now.
    """
    backbone = known_backbone(settings.backbone)
    side_px = backbone.pretrained_size_px
    devices = _devices(settings)
    with devices.building():
        network = find_backbone(settings.backbone, side_px).build(side_px)
        weights_sha256 = load_weights(network, backbone, settings.weights)
        network.trainable = False
        extractor = feature_extractor(backbone, network)
    compute = _compiled(extractor, side_px)

    features = _on_disk(len(rows), extractor.output_shape[1])
    undecodable: dict[int, str] = {}
    embedded: list[int] = []
    progress = ImageProgress("audit_embeddings", len(rows))
    for batch in _batches(_squares(archive, catalog, rows, side_px, settings.workers), settings.batch_size):
        undecodable |= {row: square for row, square in batch if isinstance(square, str)}
        pixels = [(row, square) for row, square in batch if not isinstance(square, str)]
        if pixels:
            begin = len(embedded)
            embedded += [row for row, _ in pixels]
            features[begin : len(embedded)] = compute(np.stack([square for _, square in pixels])).numpy()
        progress.done(len(batch))
    return EmbeddedImages(
        rows=np.array(embedded, np.int64),
        features=features[: len(embedded)],
        undecodable=undecodable,
        device=", ".join(devices.names),
        weights_sha256=weights_sha256,
    )


def _devices(settings: EmbeddingSettings) -> Devices:
    """Claim a GPU where one is required, or there and fit for use."""
    if settings.require_gpu or not tf.config.list_physical_devices("GPU"):
        return prepare_training(int(settings.require_gpu), settings.seed)
    try:
        return prepare_training(1, settings.seed)
    except UserError as error:
        print(f"audit_embeddings: on the CPU, because the GPU cannot be used: {error}", flush=True)
        return prepare_training(0, settings.seed)


def _compiled(extractor: keras.Model, side_px: int) -> tf.types.experimental.PolymorphicFunction:
    """Return what computes float16 features, of length 1, of uint8 images; one graph, whatever the batch holds."""

    @tf.function(input_signature=[tf.TensorSpec([None, side_px, side_px, 3], tf.uint8)], autograph=False)
    def compute(pixels: tf.Tensor) -> tf.Tensor:
        features = extractor(tf.cast(pixels, tf.float32), training=False)
        return tf.cast(tf.math.l2_normalize(features, axis=1), tf.float16)

    return compute


def _on_disk(images: int, width: int) -> Features:
    """Return an array that lies in a file without a name: it goes with the array."""
    if not images:
        return np.empty((0, width), np.float16)
    with tempfile.TemporaryFile(prefix="features-") as file:
        return np.memmap(file, np.float16, mode="w+", shape=(images, width))


def _squares(
    archive: Path, catalog: pd.DataFrame, rows: npt.NDArray[np.int64], side_px: int, workers: int
) -> Iterator[tuple[int, Pixels | str]]:
    """Yield the row and the pixels of each image in order, or in their place why there are none."""
    columns = [catalog[name].to_numpy()[rows].tolist() for name in ("part", "offset", "size_bytes")]
    with ArchiveReader(archive) as reader:

        def square(place: tuple[int, str, int, int]) -> tuple[int, Pixels | str]:
            row, part, offset, size_bytes = place
            try:
                return row, middle_square(reader.read(part, offset, size_bytes), side_px)
            except UndecodableImageError as error:
                return row, str(error)

        yield from in_order(square, zip(rows.tolist(), *columns, strict=True), workers or processors())


def _batches(squares: Iterable[tuple[int, Pixels | str]], size: int) -> Iterator[list[tuple[int, Pixels | str]]]:
    batch: list[tuple[int, Pixels | str]] = []
    for square in squares:
        batch.append(square)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
