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

from components.classifier.attempts_made import AttemptsMade
from components.classifier.checkpoints import Checkpoints
from components.classifier.epoch_steps import EpochProgress, TrainingSteps
from components.classifier.fit_settings import FitSettings
from components.classifier.frozen_layers import FrozenLayers
from components.classifier.learning_rates import PLATEAU, LearningRates
from components.classifier.preparation import PassSeconds, Preparation
from components.classifier.resource_use import watched
from components.classifier.training_faults import enough_memory
from components.classifier.training_figures import measured_figures, training_warnings
from components.classifier.training_state import TrainingState
from components.failures import StoppedError, UserError
from components.formats.trained_model import HISTORY_COLUMNS
from components.termination import termination_deferred

_MONITORED = "val_loss"
_WATCHED = ("loss", "accuracy", "val_loss", "val_accuracy")  # by callbacks
_PLATEAU_FACTOR = 0.2  # what the learning rate is multiplied by when progress stalls
_SMALLEST_PROBABILITY = 1e-7  # as Keras clips, so that a sure mistake costs 16.1 and not infinity
_SECONDS_BETWEEN_LINES = 10.0
_SLOW_CHECKPOINT_SECONDS = 30.0

_OPTIMIZERS: dict[str, Callable[[float], keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,  # decay 0.004, as Keras has it
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
}


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
        warnings: Sentences about what a person should look at.
        measured: Speed, use of the machine and the number of warnings, for the metrics.
        began: When the first epoch of this attempt began to be prepared, by ``time.monotonic``.
    """

    history: pd.DataFrame
    best_epoch: int
    best_val_loss: float
    best_val_accuracy: float
    warnings: list[str]
    measured: dict[str, float]
    began: float

    def warned(self, phase: str, warning: str) -> "Fit":
        """Return the same with one more warning, and print it; the same where it is empty."""
        if not warning:
            return self
        print(f"{phase}: warning: {warning}", flush=True)
        warnings = [*self.warnings, warning]
        return dataclasses.replace(self, warnings=warnings, measured={**self.measured, "warnings": len(warnings)})


def compile_classifier(model: keras.Model, settings: FitSettings) -> None:
    """Give the model its optimizer. Needed again whenever ``trainable`` of a layer changed."""
    with model.distribute_strategy.scope():
        model.compile(optimizer=_OPTIMIZERS[settings.optimizer](settings.learning_rate), jit_compile=False)
        model.optimizer.build(model.trainable_variables)


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
    frozen: FrozenLayers | None = None,
    preparation: Preparation | None = None,
    loss_before: float | None = None,
    attempts: AttemptsMade | None = None,
) -> Fit:
    """Fit a compiled model and leave it with the weights of the epoch with the lowest validation loss.

    Each epoch has batches of its own, so what an epoch sees depends on seed and epoch and on nothing that happened
    before; Keras' callbacks are driven around it. With checkpoints, what an earlier attempt has done is not done again.

    Args:
        model: Compiled.
        phase: ``frozen`` or ``fine_tune``, for history and messages.
        settings: Checked settings.
        training_batches: Gives the batches of an epoch, counted from 0: their number known, the same in each epoch.
        validation: What decides which epoch is best.
        class_weight: Weight of each label, or None.
        checkpoints: Where the complete state is kept now and then and after each epoch, or None.
        frozen: What batches, of training and of validation, go through before the model; None where they are what it
            takes.
        preparation: Watches what is done before an epoch; None when nothing was yet.
        loss_before: Validation loss of the model as it is given, for the log to compare with; None where nothing is
            known of it. It stops no fit: what is kept in the end is for the caller to say.
        attempts: Counts those that checkpoints know of; None where nobody asks.

    Raises:
        UserError: When the loss is no longer a number, a step wants more memory than there is, or checkpoints may not
            be read or written.
        TransientError: When Cloud Storage does not answer.
        StoppedError: When SIGTERM arrives; the state is kept before.
    """
    stopping, *others = _callbacks(settings)
    callbacks = keras.callbacks.CallbackList([stopping, *others], model=model)
    callbacks.on_train_begin()
    state = TrainingState(model, stopping, [stopping, *others])
    attempts = attempts or AttemptsMade()
    rows, progress = _resume(state, phase, settings.epochs, checkpoints, attempts) if checkpoints else ([], None)
    preparation = preparation or Preparation()
    fitting = _Fitting(
        model=model,
        phase=phase,
        settings=settings,
        steps=TrainingSteps(
            model, settings.label_smoothing, class_weight, settings.xla, settings.gpu_prefetch_batches, frozen
        ),
        frozen=frozen,
        preparation=preparation,
        training_batches=training_batches,
        validation=validation,
        checkpoints=checkpoints,
        state=state,
        rows=rows,
        loss_before=loss_before,
        attempts=attempts,
    )
    with watched() as use:
        while len(rows) < settings.epochs and not model.stop_training:
            callbacks.on_epoch_begin(len(rows))
            row = fitting.epoch(progress or EpochProgress(_rate_of(model), checkpoint_seconds=fitting.kept_seconds))
            progress = None
            rows.append({**row, **use.since_last()})
            callbacks.on_epoch_end(row["epoch"] - 1, {name: row[name] for name in _WATCHED})
            fitting.keep(None)
    if model.stop_training:
        waited = settings.early_stopping_patience
        print(f"{phase}: no better validation loss for {waited} epochs, stopping early", flush=True)
    callbacks.on_train_end()
    history = pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))
    chosen = rows[int(history[_MONITORED].argmin())]
    measured = {**measured_figures(history), "warnings": 0}
    fit = Fit(
        history,
        chosen["epoch"],
        chosen["val_loss"],
        chosen["val_accuracy"],
        [],
        measured,
        began=preparation.made,
    )
    for warning in training_warnings(history):
        fit = fit.warned(phase, warning)
    return fit


@dataclasses.dataclass
class _Fitting:
    """What the epochs of a fit share.

    Attributes:
        rows: History so far; whoever drives the epochs adds to it.
        loss_before: Validation loss before the first epoch, where it is known.
        kept_seconds: How long keeping the last checkpoint took.
    """

    model: keras.Model
    phase: str
    settings: FitSettings
    steps: TrainingSteps
    frozen: FrozenLayers | None
    preparation: Preparation
    training_batches: Callable[[int], tf.data.Dataset]
    validation: Validation
    checkpoints: Checkpoints | None
    state: TrainingState
    rows: list[dict[str, Any]]
    loss_before: float | None
    attempts: AttemptsMade
    kept_seconds: float = 0.0

    def epoch(self, progress: EpochProgress) -> dict[str, Any]:
        """Train on what is left of the next epoch and validate; return its row of the history."""
        started = self.preparation.begun()
        before = _seconds(progress)
        batches = self.training_batches(len(self.rows))
        _add(progress, *self.preparation.ended())
        work = f"a step of the {self.phase} phase with {self.settings.batch_size} images"
        try:
            with enough_memory(work, "lower its batch size"):
                with termination_deferred() as terminated:
                    self._train(batches, progress, terminated)
                validating = time.monotonic()
                val_loss, val_accuracy = measure(self.model, self.validation, self.frozen)
        except StoppedError:
            self.keep(progress)
            raise
        self.model.optimizer.learning_rate = progress.learning_rate
        ended = time.monotonic()
        row = {
            "phase": self.phase,
            "epoch": len(self.rows) + 1,
            "loss": progress.loss,
            "accuracy": progress.accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "learning_rate": _shortest(progress.mean_learning_rate),
            "seconds": round(before + ended - started, 3),
            "preparation_seconds": round(progress.preparation_seconds, 3),
            "pass_images": progress.pass_images,
            "pass_input_seconds": round(progress.pass_input_seconds, 3),
            "pass_forward_seconds": round(progress.pass_forward_seconds, 3),
            "pass_keeping_seconds": round(progress.pass_keeping_seconds, 3),
            "input_seconds": round(progress.input_seconds, 3),
            "forward_seconds": round(progress.forward_seconds, 3),
            "step_seconds": round(progress.step_seconds, 3),
            "validation_seconds": round(ended - validating, 3),
            "checkpoint_seconds": round(progress.checkpoint_seconds, 3),
            "images_per_second": round(progress.images_per_second, 1),
        }
        self._check_finite(progress, val_loss)
        print(f"{_epoch_line(row, self.settings.epochs)}{self._standing(val_loss)}", flush=True)
        return row

    def _standing(self, val_loss: float) -> str:
        """Return what ends the line of an epoch that is better than all before it, and empty for others."""
        if not all(val_loss < earlier[_MONITORED] for earlier in self.rows):
            return ""
        if self.loss_before is not None and not val_loss < self.loss_before:
            return "  best of the phase, no better than before it"
        return "  best"

    def keep(self, progress: EpochProgress | None) -> None:
        """Keep the state after the epochs in ``rows``, or in the midst of the next one, if it is to be kept at all.

        SIGTERM waits until it is kept.
        """
        if self.checkpoints is None:
            return
        started = time.monotonic()
        with termination_deferred():
            self.checkpoints.write(self.attempts.counted(self.state.capture(self.rows, progress)))
        self.kept_seconds = time.monotonic() - started
        if self.kept_seconds > _SLOW_CHECKPOINT_SECONDS:
            print(
                f"{self.phase}: keeping the state took {self.kept_seconds:.0f} s: {self.checkpoints.folder} is slow or "
                "was out of reach",
                flush=True,
            )
        if progress is not None:
            progress.checkpoint_seconds += self.kept_seconds

    def _train(self, batches: tf.data.Dataset, progress: EpochProgress, terminated: Callable[[], bool]) -> None:
        count = int(batches.cardinality())
        if count < 0:
            raise ValueError("the number of an epoch's batches must be known: see in_batches")
        epochs = self.settings.epochs
        rates = LearningRates.planned(self.settings.schedule, self.settings.warmup_epochs, epochs, count)
        lines = _Lines(f"{self.phase} epoch {len(self.rows) + 1:>{len(str(epochs))}}/{epochs}", count, progress)
        kept = time.monotonic()

        def after_step() -> None:
            nonlocal kept
            self._check_finite(progress, None)
            lines.report()
            if terminated():
                raise StoppedError(f"stopped by SIGTERM after batch {progress.batches} of {count}")
            every = self.checkpoints.every_seconds if self.checkpoints else 0.0
            if 0.0 < every <= time.monotonic() - kept and progress.batches < count:
                self.keep(progress)
                kept = time.monotonic()

        self.steps.run(batches, rates, len(self.rows) * count, progress, after_step)

    def _check_finite(self, progress: EpochProgress, val_loss: float | None) -> None:
        if math.isfinite(progress.loss_sum) and (val_loss is None or math.isfinite(val_loss)):
            return
        if val_loss is None and not self.rows and progress.batches == 1:
            halved = isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer)
            raise UserError(
                f"the loss of the very first batch of the {self.phase} phase is {progress.loss}, before anything was "
                "learned: look at weights and at the training images"
                f"{', or set precision to float32: the network may give what float16 cannot hold' if halved else ''}"
            )
        where = f"at batch {progress.batches} " if val_loss is None else ""
        validation = "" if val_loss is None else f", validation {val_loss}"
        raise UserError(
            f"{where}in epoch {len(self.rows) + 1} of the {self.phase} phase the loss is {progress.loss}{validation}: "
            f"training diverged, lower {self.phase}_learning_rate, learning_rate of the step, which was "
            f"{progress.learning_rate:g}"
        )


class _Lines:
    """Prints a line now and then while an epoch passes."""

    def __init__(self, epoch: str, batches: int, progress: EpochProgress) -> None:
        self._epoch = epoch
        self._batches = batches
        self._progress = progress
        self._reported = time.monotonic()

    def report(self) -> None:
        if time.monotonic() - self._reported <= _SECONDS_BETWEEN_LINES:
            return
        self._reported = time.monotonic()
        now = self._progress
        left = (self._batches - now.batches) * now.training_seconds / now.batches
        print(
            f"{self._epoch}  batch {now.batches} of {self._batches}  loss {now.loss:.4f}  accuracy {now.accuracy:.4f}"
            f"  {now.images_per_second:.1f} images/s  {left:.0f} s left of it",
            flush=True,
        )


def measure(model: keras.Model, validation: Validation, frozen: FrozenLayers | None = None) -> tuple[float, float]:
    """Return cross-entropy and accuracy over every validation image, whatever the batches and devices.

    Args:
        model: From what batches hold, or what frozen layers make of it, to probabilities.
        validation: The images.
        frozen: What batches go through before the model, or None.
    """
    if frozen is None:
        predicted = model.predict(validation.batches, verbose=0)
    else:
        model.make_predict_function()
        # All are begun before the first is waited for, as ``predict`` does.
        of_batches = [model.predict_function([(inputs,)]) for inputs in frozen.outputs_of(validation.batches)]
        predicted = np.concatenate([np.asarray(of_batch) for of_batch in of_batches])
    probabilities = np.asarray(predicted, np.float64)[: len(validation.labels)]
    of_truth = probabilities[np.arange(len(validation.labels)), validation.labels]
    loss = float(-np.log(np.maximum(of_truth, _SMALLEST_PROBABILITY)).mean())
    return loss, float((probabilities.argmax(axis=1) == validation.labels).mean())


def _resume(
    state: TrainingState, phase: str, epochs: int, checkpoints: Checkpoints, attempts: AttemptsMade
) -> tuple[list[dict[str, Any]], EpochProgress | None]:
    """Bring back what earlier attempts came to; return their history, empty when there was none, and the rest of it."""
    checkpoint = checkpoints.read_newest(state.fits)
    if checkpoint is None:
        return [], None
    rows, progress = state.restore(checkpoint)
    attempts.go_on(checkpoint)
    within = f" and batch {checkpoint.batches} of the next" if progress else ""
    print(f"{phase}: resuming after epoch {checkpoint.epoch} of {epochs}{within} from {checkpoints.folder}", flush=True)
    return rows, progress


def _shortest(rate: float) -> float:
    """Return the number with fewest digits that is the same float32, which optimizers compute in.

    >>> _shortest(0.0010000000474974513)
    0.001
    """
    return float(str(np.float32(rate)))


def _rate_of(model: keras.Model) -> float:
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


def _add(progress: EpochProgress, seconds: float, passed: PassSeconds) -> None:
    progress.preparation_seconds += seconds
    progress.pass_images += passed.images
    progress.pass_input_seconds += passed.input_seconds
    progress.pass_forward_seconds += passed.forward_seconds
    progress.pass_keeping_seconds += passed.keeping_seconds


def _seconds(progress: EpochProgress) -> float:
    """Return what an epoch has taken in earlier attempts."""
    return progress.preparation_seconds + progress.training_seconds + progress.checkpoint_seconds


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
    if settings.schedule == PLATEAU and settings.plateau_patience:
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


def _epoch_line(row: dict[str, Any], epochs: int) -> str:
    return (
        f"{row['phase']} epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"
        f"  loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}"
        f"  val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.4f}"
        f"  learning_rate {row['learning_rate']:.2g}  {row['images_per_second']:.1f} images/s"
        f"  {row['seconds']:.1f} s"
    )
