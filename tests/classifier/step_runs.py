"""Run the training components as a pipeline would, on given splits."""

import gc
from pathlib import Path
from typing import Any

import keras
import numpy as np
from kfp import dsl

from components.fine_tune.component import fine_tune
from components.train_frozen.component import train_frozen

# Keras collects garbage several times in a run, and what was imported is a lot to look through.
gc.freeze()

FROZEN: dict[str, Any] = {
    "backbone": "efficientnet_lite0",
    "weights": "random",
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "schedule": "plateau",
    "warmup_epochs": 0.0,
    "optimizer": "adam",
    "label_smoothing": 0.0,
    "head_units": 8,
    "dropout": 0.5,
    "augmentation": 0.0,
    "training_mode": "auto",
    "augmented_views": 1,
    "unfrozen_layers": 30,
    "cache_precision": "float16",
    "cache_limit_gb": 1.0,
    "cache_directory": "",
    "class_weights": "none",
    "early_stopping_patience": 0,
    "plateau_patience": 0,
    "precision": "auto",
    "xla": False,
    "gpu_memory_growth": True,
    "gpu_prefetch_batches": 2,
    "checkpoint_uri": "",
    "checkpoint_seconds": 0.0,
    "gpu_count": 0,
    "seed": 3,
}

FINE_TUNE: dict[str, Any] = {
    "unfrozen_layers": 30,
    "train_batch_normalization": False,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 1e-4,
    "schedule": "plateau",
    "warmup_epochs": 0.0,
    "optimizer": "adam",
    "label_smoothing": 0.0,
    "augmentation": 0.0,
    "training_mode": "auto",
    "augmented_views": 1,
    "cache_precision": "float16",
    "cache_limit_gb": 1.0,
    "cache_directory": "",
    "class_weights": "none",
    "early_stopping_patience": 0,
    "plateau_patience": 0,
    "precision": "auto",
    "xla": False,
    "gpu_memory_growth": True,
    "gpu_prefetch_batches": 2,
    "export_h5": False,
    "checkpoint_uri": "",
    "checkpoint_seconds": 0.0,
    "gpu_count": 0,
    "seed": 3,
}


def run_train_frozen(splits: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Run train_frozen; it leaves ``model``, ``cache`` and ``report`` in ``output``. Returns the metrics."""
    metrics = dsl.Metrics(name="metrics", uri=str(output / "metrics"), metadata={})
    train_frozen.python_func(
        splits=dsl.Dataset(name="splits", uri=str(splits), metadata={}),
        model=dsl.Model(name="model", uri=str(output / "model"), metadata={}),
        cache=dsl.Artifact(name="cache", uri=str(output / "cache"), metadata={}),
        report=dsl.HTML(name="report", uri=str(output / "report"), metadata={}),
        metrics=metrics,
        **{**FROZEN, **changes},
    )
    return dict(metrics.metadata)


def run_fine_tune(splits: Path, frozen_model: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Run fine_tune; it leaves ``model`` and ``report`` in ``output``. Returns the metrics.

    The cache beside the frozen model is handed over.
    """
    metrics = dsl.Metrics(name="metrics", uri=str(output / "metrics"), metadata={})
    fine_tune.python_func(
        splits=dsl.Dataset(name="splits", uri=str(splits), metadata={}),
        frozen_model=dsl.Model(name="frozen_model", uri=str(frozen_model), metadata={}),
        cache=dsl.Artifact(name="cache", uri=str(frozen_model.with_name("cache")), metadata={}),
        model=dsl.Model(name="model", uri=str(output / "model"), metadata={}),
        report=dsl.HTML(name="report", uri=str(output / "report"), metadata={}),
        metrics=metrics,
        **{**FINE_TUNE, **changes},
    )
    return dict(metrics.metadata)


def trained_model(output: Path) -> keras.Model:
    """Load the model a run left in ``output``."""
    return keras.saving.load_model(output / "model" / "model.keras", safe_mode=True)


def changed_layers(before: keras.Model, after: keras.Model) -> list[int]:
    """Return the numbers of layers whose weights differ."""
    return [
        number
        for number, (one, other) in enumerate(zip(before.layers, after.layers, strict=True))
        if not all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
    ]
