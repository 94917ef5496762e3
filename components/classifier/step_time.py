"""What the time of a training step went into, from its beginning until its page is drawn."""

import dataclasses

import pandas as pd

from components.formats.trained_model import FINE_TUNE_PHASE

# What takes less is part of the rest.
_LEAST_SECONDS_SHOWN = 0.05
_OF_PASS = ["pass_input_seconds", "pass_forward_seconds", "pass_keeping_seconds"]
_STARTING, _REST = "starting", "rest"
# In the order in which they happen.
_WORDS = {
    _STARTING: "starting",
    "pass_input_seconds": "once: reading and augmenting photos",
    "pass_forward_seconds": "once: frozen layers",
    "pass_keeping_seconds": "once: compressing and writing what they give",
    "preparation_seconds": "preparation",
    "input_seconds": "waiting for batches",
    "forward_seconds": "frozen layers, in every epoch",
    "step_seconds": "training steps",
    "validation_seconds": "validation",
    "checkpoint_seconds": "checkpoints",
    _REST: "rest",
}
_HINTS = {
    "step_seconds": "the first one builds its graph",
    "validation_seconds": "after each epoch",
    _REST: "between epochs, and until the model to keep is built",
}


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Wall time of a training step, of which its history knows the epochs alone.

    Attributes:
        ready_seconds: Of all attempts until the model was ready to be written, as ``TrainingRecord`` has it.
        starting_seconds: Of them, until this attempt began to prepare its first epoch.
        saving_seconds: After them, writing what is published and trying it.
        earlier: Whether there were attempts before this one.
    """

    ready_seconds: float
    starting_seconds: float
    saving_seconds: float
    earlier: bool

    @property
    def all_seconds(self) -> float:
        """Until the page is drawn."""
        return self.ready_seconds + self.saving_seconds


@dataclasses.dataclass(frozen=True)
class Work:
    """One kind of work.

    Attributes:
        name: In words.
        hint: What it consists of, where the name does not say it; else empty.
        seconds: What it took.
        share: Of ``StepTime.all_seconds``.
    """

    name: str
    hint: str
    seconds: float
    share: float


def works_of(history: pd.DataFrame, time: StepTime, *, cached: bool) -> list[Work]:
    """Return what a step's time went into until the model was ready, whatever nobody counted being the rest.

    Args:
        history: ``HISTORY_COLUMNS`` of the step's phase, at least one row.
        time: Of the step; together the works are its ``ready_seconds``.
        cached: Whether the frozen layers were gone through once.
    """
    seconds = {name: float(history[name].sum()) for name in _WORDS if name in history}
    # A pass is part of preparation.
    seconds["preparation_seconds"] = max(seconds["preparation_seconds"] - sum(seconds[name] for name in _OF_PASS), 0.0)
    seconds[_STARTING] = time.starting_seconds
    shown = {name: spent for name, spent in seconds.items() if spent >= _LEAST_SECONDS_SHOWN}
    rest = time.ready_seconds - sum(shown.values())
    if rest >= _LEAST_SECONDS_SHOWN:
        shown[_REST] = rest
    hints = {**_HINTS, **_hints_of(str(history["phase"].iloc[0]), cached=cached)}
    if time.earlier:
        hints[_REST] += "; of earlier attempts, until their first epoch"
    return [
        Work(_name(name, cached=cached), hints.get(name, ""), shown[name], shown[name] / max(time.all_seconds, 1e-6))
        for name in _WORDS
        if name in shown
    ]


def saving_work(time: StepTime) -> Work:
    """Return what came after."""
    hint = "written, read back and compared; curves and event files"
    return Work("saving the model", hint, time.saving_seconds, time.saving_seconds / max(time.all_seconds, 1e-6))


def _name(name: str, *, cached: bool) -> str:
    return "other preparation" if name == "preparation_seconds" and cached else _WORDS[name]


def _hints_of(phase: str, *, cached: bool) -> dict[str, str]:
    fine_tuning = phase == FINE_TUNE_PHASE
    network = "the frozen phase's model" if fine_tuning else "the backbone"
    preparing = (
        ["opening the cache", "building the layers that learn"]
        if cached
        else ["decoding photos to the disk where they fit", "building the network and the graph of frozen layers"]
    )
    return {
        _STARTING: f"checking the images' files, loading {network}, building it for the devices"
        + (", trying batch sizes where none is set" if fine_tuning else ""),
        "preparation_seconds": ", ".join([*preparing, *(["validation before the first step"] if fine_tuning else [])]),
    }


def duration(seconds: float) -> str:
    """Return ``4.3 s``, ``48 s``, ``12 min 30 s`` or ``3 h 05 min``, with spaces at which no line breaks."""
    if seconds < 99.95:
        return f"{seconds:.1f} s".replace(" ", "\N{NO-BREAK SPACE}")
    whole = round(seconds)
    text = (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )
    return text.replace(" ", "\N{NO-BREAK SPACE}")
