"""All that changes while a model is fitted, as arrays and JSON: what a checkpoint holds, and how to go on from it.

And all that does not change and decides what comes out: what a checkpoint belongs to.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from components.classifier.checkpoints import Checkpoint
from components.classifier.epoch_steps import EpochProgress
from components.formats.splits import Splits
from components.formats.trained_model import trained_shards_digest

# Of EarlyStopping and ReduceLROnPlateau.
_COUNTERS = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")


def training_identity(splits: Splits, model_digest: str, precision: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides what a phase comes to, as small JSON.

    Args:
        splits: What is trained on.
        model_digest: Of the weights that the phase begins with, see ``weights_digest``.
        precision: Of the devices, ``float32`` for example.
        settings: Every parameter.
    """
    return {
        "dataset_digest": splits.dataset_digest,
        "shards_digest": trained_shards_digest(splits),
        "model_digest": model_digest,
        "precision": precision,
        "settings": dict(settings),
    }


class TrainingState:
    """The changing part of a compiled model and of the callbacks that watch it.

    Frozen layers are left out: whoever builds the model again has them already.

    Args:
        model: Compiled, its optimizer built.
        stopping: Holds the best weights.
        callbacks: Those that count epochs, ``stopping`` among them.
    """

    def __init__(
        self,
        model: keras.Model,
        stopping: keras.callbacks.EarlyStopping,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        self._model = model
        self._stopping = stopping
        self._callbacks = callbacks
        learning = {id(weight) for layer in _layers(model) if layer.trainable for weight in layer.weights}
        self._learning = [number for number, weight in enumerate(model.weights) if id(weight) in learning]

    def capture(self, rows: Sequence[Mapping[str, Any]], progress: EpochProgress | None = None) -> Checkpoint:
        """Return the state after the epochs in ``rows``, the history so far, and in the midst of the next one."""
        arrays = {
            f"{group}/{number:04d}": keras.ops.convert_to_numpy(variable)
            for group, variables in self._variables().items()
            for number, variable in enumerate(variables)
        }
        if rows and (self._stopping.wait or progress):  # else the weights are the best ones
            arrays |= {f"best/{place:04d}": self._stopping.best_weights[number] for place, number in self._places()}
        state = {
            "history": [dict(row) for row in rows],
            "progress": dataclasses.asdict(progress) if progress else None,
            "stopped": self._model.stop_training,
            "callbacks": [
                {name: getattr(callback, name) for name in _COUNTERS if hasattr(callback, name)}
                for callback in self._callbacks
            ],
        }
        return Checkpoint(len(rows), progress.batches if progress else 0, state, arrays)

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Return whether a checkpoint holds all that ``restore`` takes, in the shapes of this model."""
        wanted = {
            f"{group}/{number:04d}": tuple(variable.shape)
            for group, variables in self._variables().items()
            for number, variable in enumerate(variables)
        }
        weights = self._model.weights
        best = {f"best/{place:04d}": tuple(weights[number].shape) for place, number in self._places()}
        found = {name: array.shape for name, array in checkpoint.arrays.items()}
        state = checkpoint.state
        return (
            wanted.items() <= found.items() <= (wanted | best).items()
            and state.keys() >= {"history", "progress", "stopped", "callbacks"}
            and len(state["history"]) == checkpoint.epoch
            and len(state["callbacks"]) == len(self._callbacks)
        )

    def restore(self, checkpoint: Checkpoint) -> tuple[list[dict[str, Any]], EpochProgress | None]:
        """Bring model, optimizer, random state and callbacks to where a checkpoint was taken.

        Returns:
            The history, and how far the epoch after it had come when the checkpoint was taken in its midst.
        """
        arrays, state = checkpoint.arrays, checkpoint.state
        for group, variables in self._variables().items():
            for number, variable in enumerate(variables):
                variable.assign(arrays[f"{group}/{number:04d}"])
        if state["history"]:
            best = self._model.get_weights()
            for place, number in self._places():
                best[number] = arrays.get(f"best/{place:04d}", best[number])
            self._stopping.best_weights = best
        for callback, counters in zip(self._callbacks, state["callbacks"], strict=True):
            for name, value in counters.items():
                setattr(callback, name, value)
        self._model.stop_training = state["stopped"]
        progress = state["progress"]
        return list(state["history"]), EpochProgress(**progress) if progress else None

    def _places(self) -> Iterator[tuple[int, int]]:
        """Yield the place among the weights that learn, and among all weights."""
        return enumerate(self._learning)

    def _variables(self) -> dict[str, list[keras.Variable]]:
        weights = self._model.weights
        known = {id(weight) for weight in weights}
        return {
            "weights": [weights[number] for number in self._learning],
            "optimizer": list(self._model.optimizer.variables),
            # What Keras counts as a variable of a model and not as a weight: the random state of its Dropout layers.
            "random": [variable for variable in self._model.variables if id(variable) not in known],
        }


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 of a model's weights: the same for whatever devices and precision it is built."""
    digest = hashlib.sha256()
    for variable in model.weights:  # one by one: together they take as much memory as the model
        weights = keras.ops.convert_to_numpy(variable)
        digest.update(f"{weights.dtype}{weights.shape}".encode())
        digest.update(np.ascontiguousarray(weights).data)
    return digest.hexdigest()
