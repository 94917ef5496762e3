"""The report of a training phase: what was kept and why, curves, settings, and what the model saw."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from markupsafe import Markup
from PIL import Image

from components.classifier.augmentation import augment
from components.classifier.curve_caption import curve_caption
from components.classifier.settings_table import grouped_settings
from components.classifier.step_time import StepTime, duration, saving_work, works_of
from components.classifier.training_figures import measured_figures
from components.classifier.training_mode import CACHED
from components.formats.splits import Splits
from components.formats.trained_model import FINE_TUNE_PHASE, PHASES, TrainingRecord
from components.report.page import data_uri, write_page
from components.report.training_curves import PHASE_TITLES

_SAMPLE_SIDE_PX = 160
_SAMPLE_QUALITY = 85
SAMPLES_SHOWN = 4
_VIEWS_SHOWN_AT_MOST = 5
# Below this many validation images one image moves accuracy by two points or more.
_FEW_VALIDATION_IMAGES = 50

_FIGURES = {
    "pass_images_per_second": ("images a second, once through frozen layers", "{:,.0f}"),
    "images_per_second": ("images a second, in training", "{:,.0f}"),
    "cpu_cores": ("processors busy", "{:.1f}"),
    "gpu_percent": ("GPU busy", "{:.0f}\N{NO-BREAK SPACE}%"),
    "peak_memory_mb": ("most memory", "{:,.0f}\N{NO-BREAK SPACE}MB"),
    "peak_gpu_memory_mb": ("most GPU memory", "{:,.0f}\N{NO-BREAK SPACE}MB"),
}


@dataclasses.dataclass(frozen=True)
class Story:
    """What the report says that only the phase knows.

    Attributes:
        title: Heading of the page.
        verdict: What was kept and why, one or two sentences.
        trained: What could learn, in words.
        warnings: Sentences about what a person should look at.
        time: Of the step, so far.
    """

    title: str
    verdict: str
    trained: str
    warnings: list[str]
    time: StepTime

    @property
    def tone(self) -> str:
        """``good``, or ``warn`` where there are warnings."""
        return "warn" if self.warnings else "good"


def write_training_report(
    destination: Path,
    story: Story,
    record: TrainingRecord,
    history: pd.DataFrame,
    curves: Sequence[Markup],
    splits: Splits,
    samples: Mapping[int, tuple[np.ndarray, int]],
) -> None:
    """Write the page.

    Args:
        destination: File to publish.
        story: What the phase has to say.
        record: What ``training.json`` says.
        history: Both phases as far as they have run.
        curves: Inline SVG, of accuracy and of loss.
        splits: What the model was trained on.
        samples: A few training images, uint8 ``[size, size, 3]``, and their labels, by their number.
    """
    settings = record.settings[record.phase]
    strength, seed = float(settings["augmentation"]), int(settings["seed"])
    of_phase = history[history["phase"] == record.phase]
    epochs_run = len(of_phase)
    cached = settings["training_mode"] == CACHED
    # Without augmented_views each epoch makes a view of its own.
    views = min(_VIEWS_SHOWN_AT_MOST, epochs_run, int(settings.get("augmented_views", epochs_run)))
    write_page(
        destination,
        Path(__file__).parent,
        "training_report.html",
        story=story,
        record=record,
        epochs_run=epochs_run,
        phases=[
            (PHASE_TITLES[phase], history[history["phase"] == phase].to_dict("records"))
            for phase in PHASES
            if phase in record.settings
        ],
        works=works_of(of_phase, story.time, cached=cached),
        saving=saving_work(story.time),
        duration=duration,
        cached=cached,
        machine=_machine_rows(of_phase),
        curves=curves,
        caption=curve_caption(record.settings, history),
        settings=grouped_settings(record.settings),
        classes=_class_rows(splits),
        split_images={name: split.images for name, split in splits.splits.items()},
        few_validation_images=splits.splits["validation"].images < _FEW_VALIDATION_IMAGES,
        views=_view_rows(samples, splits.class_names, strength, seed, views),
        views_shown=views,
        augmentation=strength,
    )


def _machine_rows(history: pd.DataFrame) -> list[tuple[str, str]]:
    """Return speed and use of the machine in a phase, by name; what nobody knows is left out."""
    figures = measured_figures(history)
    return [(words, form.format(figures[name])) for name, (words, form) in _FIGURES.items() if name in figures]


def _class_rows(splits: Splits) -> list[dict[str, Any]]:
    largest = max(max(split.images_per_class.values(), default=0) for split in splits.splits.values())
    return [
        {
            "name": name,
            "counts": {split: splits.splits[split].images_per_class.get(name, 0) for split in splits.splits},
            "share": splits.splits["train"].images_per_class.get(name, 0) / max(largest, 1),
        }
        for name in splits.class_names
    ]


def _view_rows(
    samples: Mapping[int, tuple[np.ndarray, int]], class_names: Sequence[str], strength: float, seed: int, views: int
) -> list[list[dict[str, str]]]:
    """Return rows of pictures and captions: a sample as stored, then views made of it; unaugmented, one row of all."""
    stored = {
        index: {"uri": _picture(pixels), "caption": class_names[label]} for index, (pixels, label) in samples.items()
    }
    if strength == 0.0:
        return [list(stored.values())]
    return [
        [
            stored[index],
            *(
                {
                    "uri": _picture(augment(pixels, strength, seed, tf.constant(index, tf.int64), view)),
                    "caption": f"epoch {view + 1}",
                }
                for view in range(views)
            ),
        ]
        for index, (pixels, _) in samples.items()
    ]


def _picture(pixels: np.ndarray | tf.Tensor) -> str:
    image = Image.fromarray(np.asarray(pixels).round().astype(np.uint8))
    image.thumbnail((_SAMPLE_SIDE_PX, _SAMPLE_SIDE_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_SAMPLE_QUALITY)
    return data_uri(buffer.getvalue(), "image/jpeg")


def kept_sentence(phase: str, epoch: int, loss: float, accuracy: float, images: int) -> str:
    """Return which epoch is kept, with its validation figures and the count behind the share."""
    name = "fine-tuning" if phase == FINE_TUNE_PHASE else "the frozen phase"
    right = round(accuracy * images)
    return (
        f"Kept: epoch {epoch} of {name}, with the lowest validation loss, {loss:.4f}; it names {right} of {images} "
        f"validation images correctly ({accuracy:.1%})."
    )


def times_computed(settings: Mapping[str, Any], epochs_run: int) -> str:
    """Return how often a cache was computed: ``once``, or ``once for each of 4 augmented views``.

    Args:
        settings: Of the phase.
        epochs_run: By it: training that stops early never computes the views of later epochs.
    """
    if settings["augmentation"] == 0.0:
        return "once"
    views = min(int(settings["augmented_views"]), epochs_run)
    return "once for one augmented view" if views == 1 else f"once for each of {views} augmented views"
