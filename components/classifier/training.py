"""The training loop both phases share: compile, fit epoch by epoch, keep the best, say how it goes."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from components.classifier.checkpoints import Checkpoints
from components.classifier.fit_settings import FitSettings
from components.classifier.training_state import TrainingState
from components.failures import UserError
from components.formats.trained_model import HISTORY_COLUMNS

_MONITORED = "val_loss"
_PLATEAU_FACTOR = 0.2  # what the learning rate is multiplied by when progress stalls
_SMALLEST_PROBABILITY = 1e-7  # as Keras clips, so that a sure mistake costs 16.1 and not infinity
_SECONDS_BETWEEN_LINES = 10.0


@dataclasses.dataclass(frozen=True)
class Validation:
    """What is held back to choose the best epoch.

    Attributes:
        batches: Inputs in stored order, possibly followed by some that only fill up the last batch.
        labels: int64 ``[images]``.
    """

    batches: tf.data.Dataset
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Fit:
    """What a fit came to; the model holds the weights of its best epoch.

    Attributes:
        history: ``HISTORY_COLUMNS``, one row per epoch.
        best_epoch: From 1.
        best_val_loss: Its validation loss.
        best_val_accuracy: Its validation accuracy, [0, 1].
    """

    history: pd.DataFrame
    best_epoch: int
    best_val_loss: float
    best_val_accuracy: float


def compile_classifier(model: keras.Model, learning_rate: float) -> None:
    """Compile for integer labels. Needed again whenever ``trainable`` of a layer changed."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )


def balanced_class_weights(images_per_class: Sequence[int], kind: str) -> dict[int, float] | None:
    """Return the weight of each label, or None for ``none``.

    ``balanced`` is images / (classes * images of the class), as in King and Zeng, "Logistic Regression in Rare Events
    Data" (2001); over all images the weights average 1.
    """
    if kind == "none":
        return None
    images, classes = sum(images_per_class), len(images_per_class)
    return {label: images / (classes * count) for label, count in enumerate(images_per_class)}


def fit_epochs(
    model: keras.Model,
    phase: str,
    settings: FitSettings,
    training_batches: Callable[[int], tf.data.Dataset],
    validation: Validation,
    class_weight: dict[int, float] | None,
    checkpoints: Checkpoints | None,
) -> Fit:
    """Fit a compiled model and leave it with the weights of the epoch with the lowest validation loss.

    Each epoch has batches of its own, so what an epoch sees depends on seed and epoch and on nothing that happened
    before; Keras' callbacks are driven around it. With checkpoints, what an earlier attempt has done is not done again.

    Args:
        model: Compiled.
        phase: ``frozen`` or ``fine_tune``, for history and messages.
        settings: Checked settings.
        training_batches: Gives the batches of an epoch, counted from 0.
        validation: What decides which epoch is best.
        class_weight: Weight of each label, or None.
        checkpoints: Where the complete state is kept after each epoch, or None.

    Raises:
        UserError: When the loss is no longer a number, or checkpoints may not be read or written.
        TransientError: When Cloud Storage does not answer.
    """
    stopping, *others = _callbacks(settings)
    callbacks = keras.callbacks.CallbackList([stopping, *others], model=model)
    callbacks.on_train_begin()
    state = TrainingState(model, stopping, [stopping, *others])
    rows = _resume(state, phase, settings.epochs, checkpoints) if checkpoints else []
    while len(rows) < settings.epochs and not model.stop_training:
        epoch = len(rows)
        batches = training_batches(epoch)
        callbacks.on_epoch_begin(epoch)
        started = time.monotonic()
        rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        logs = _fit_one_epoch(model, epoch, batches, validation, class_weight)
        row = {
            "phase": phase,
            "epoch": epoch + 1,
            **logs,
            "learning_rate": rate,
            "seconds": round(time.monotonic() - started, 3),
        }
        _check_finite(row)
        best = not rows or row[_MONITORED] < min(earlier[_MONITORED] for earlier in rows)
        rows.append(row)
        print(_epoch_line(row, settings.epochs, best), flush=True)
        callbacks.on_epoch_end(epoch, dict(logs))
        if checkpoints:
            checkpoints.write(state.capture(rows))
    if model.stop_training:
        waited = settings.early_stopping_patience
        print(f"{phase}: no better validation loss for {waited} epochs, stopping early", flush=True)
    callbacks.on_train_end()
    history = pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))
    chosen = rows[int(history[_MONITORED].argmin())]
    return Fit(history, chosen["epoch"], chosen["val_loss"], chosen["val_accuracy"])


def measure(model: keras.Model, validation: Validation) -> tuple[float, float]:
    """Return cross-entropy and accuracy over every validation image, whatever the batches and devices."""
    probabilities = np.asarray(model.predict(validation.batches, verbose=0), np.float64)[: len(validation.labels)]
    of_truth = probabilities[np.arange(len(validation.labels)), validation.labels]
    loss = float(-np.log(np.maximum(of_truth, _SMALLEST_PROBABILITY)).mean())
    return loss, float((probabilities.argmax(axis=1) == validation.labels).mean())


class ProgressLines(keras.callbacks.Callback):
    """Prints a line now and then while batches pass: what a person watching a log wants.

    Args:
        doing: What is done, ``features of view 1 of 5`` for example.
        images: How many there are.
        batch_size: Images in a batch.
    """

    def __init__(self, doing: str, images: int, batch_size: int) -> None:
        super().__init__()
        self._doing = doing
        self._images = images
        self._batch_size = batch_size
        self._reported = time.monotonic()

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Print while predicting."""
        self._report(batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Print while fitting."""
        self._report(batch)

    def _report(self, batch: int) -> None:
        if time.monotonic() - self._reported > _SECONDS_BETWEEN_LINES:
            self._reported = time.monotonic()
            done = min((batch + 1) * self._batch_size, self._images)
            print(f"{self._doing}: {done} of {self._images} images", flush=True)


def _resume(state: TrainingState, phase: str, epochs: int, checkpoints: Checkpoints) -> list[dict[str, Any]]:
    """Bring back what earlier attempts came to; return their history, empty when there was none."""
    checkpoint = checkpoints.read_newest()
    if checkpoint is None:
        return []
    rows = state.restore(checkpoint)
    print(f"{phase}: resuming after epoch {checkpoint.epoch} of {epochs} from {checkpoints.folder}", flush=True)
    return rows


def _callbacks(settings: FitSettings) -> list[keras.callbacks.Callback]:
    """Return EarlyStopping, which holds the best weights, and what else is asked for."""
    callbacks: list[keras.callbacks.Callback] = [
        keras.callbacks.EarlyStopping(
            monitor=_MONITORED,
            mode="min",
            patience=settings.early_stopping_patience or settings.epochs,
            restore_best_weights=True,
        ),
    ]
    if settings.plateau_patience:
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor=_MONITORED,
                mode="min",
                factor=_PLATEAU_FACTOR,
                patience=settings.plateau_patience,
                min_delta=0.0,  # better is better, as for early stopping: fine-tuning gains little with each epoch
            )
        )
    return callbacks


def _fit_one_epoch(
    model: keras.Model,
    epoch: int,
    batches: tf.data.Dataset,
    validation: Validation,
    class_weight: dict[int, float] | None,
) -> dict[str, float]:
    history = model.fit(
        batches,
        initial_epoch=epoch,
        epochs=epoch + 1,
        class_weight=class_weight,
        shuffle=False,  # the batches are shuffled already
        verbose=0,
    ).history
    val_loss, val_accuracy = measure(model, validation)
    return {
        "loss": float(history["loss"][0]),
        "accuracy": float(history["accuracy"][0]),
        "val_loss": val_loss,
        "val_accuracy": val_accuracy,
    }


def _check_finite(row: dict[str, Any]) -> None:
    if not (math.isfinite(row["loss"]) and math.isfinite(row["val_loss"])):
        raise UserError(
            f"in epoch {row['epoch']} of the {row['phase']} phase the loss is {row['loss']}, validation "
            f"{row['val_loss']}: training diverged, lower learning_rate, which was {row['learning_rate']:g}"
        )


def _epoch_line(row: dict[str, Any], epochs: int, best: bool) -> str:
    return (
        f"{row['phase']} epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"
        f"  loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}"
        f"  val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.4f}"
        f"  learning_rate {row['learning_rate']:.2g}  {row['seconds']:.1f} s{'  best' if best else ''}"
    )
