"""The page of a training step: what it says, and that a telephone shows all of it."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.classifier.report import Story, times_computed, write_training_report
from components.classifier.step_time import StepTime
from components.formats.splits import SPLIT_NAMES, Split, Splits
from components.formats.trained_model import HISTORY_COLUMNS, TrainingRecord
from components.report.charts import chart_style, inline_svg
from components.report.training_curves import TrainingCurves
from tests.headless_browser import dumped_dom

FIT: dict[str, Any] = {
    "epochs": 5, "batch_size": 32, "learning_rate": 1e-5, "schedule": "plateau", "warmup_epochs": 0.0,
    "optimizer": "adam", "label_smoothing": 0.1, "class_weights": "balanced", "early_stopping_patience": 3,
    "plateau_patience": 2, "precision": "mixed_bfloat16", "xla": False, "seed": 1, "augmentation": 0.5,
    "gpu_count": 1, "training_mode": "cached", "augmented_views": 3, "cache_precision": "float16",
}  # fmt: skip
WEIGHTS = {"backbone": "efficientnet_lite0", "weights": "gs://some-bucket/weights/of/somebody_imagenet_float16.npz"}
SETTINGS = {
    "frozen": {**FIT, **WEIGHTS, "head_units": 512, "dropout": 0.5},
    "fine_tune": {**FIT, "unfrozen_layers": 30, "train_batch_normalization": True, "export_h5": False},
}
LONG_NAME = "a very long class name of an animal that nobody knows (Latin: Longissimusnomenanimalium)"


def history_of(phase: str, epochs: int) -> pd.DataFrame:
    row = dict.fromkeys(HISTORY_COLUMNS, 0.5) | {"phase": phase, "seconds": 4321.0, "images_per_second": 12_345.6}
    rows = [
        {**row, "epoch": epoch, "val_loss": 1.0 / epoch, "learning_rate": 9.3e-06} for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the page of fine-tuning that was not kept, on as many classes as are wanted."""

    def write(classes: int = 3) -> Path:
        names = [LONG_NAME, *(f"class {number}" for number in range(1, classes))]
        split = Split(classes, dict.fromkeys(names, 1), [])
        splits = Splits(names, 96, "stretch", 0, {}, dict.fromkeys(SPLIT_NAMES, split), "d" * 64, {})
        record = TrainingRecord(
            backbone=WEIGHTS["backbone"], weights=WEIGHTS["weights"], weights_sha256="a" * 64,
            preprocessing="RGB in [0, 255] becomes x / 127.5 - 1, inside the model",
            class_names=names, image_size_px=96, resize_policy="stretch", dataset_digest="d" * 64, phase="fine_tune",
            best_phase="frozen", best_epoch=3, best_val_loss=1 / 3, best_val_accuracy=0.5, images_per_class={},
            devices=["GPU: NVIDIA H100 80GB HBM3"], settings=SETTINGS, frozen_val_loss=0.25, frozen_val_accuracy=0.75,
        )  # fmt: skip
        history = pd.concat([history_of("frozen", 3), history_of("fine_tune", 2)], ignore_index=True)
        time = StepTime(9_000.0, 12.0, 123.0, earlier=False)
        story = Story("The last layers of efficientnet_lite0, fine-tuned", "Kept: epoch 3.", "Some learned.", [], time)
        pixels = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), np.uint8)
        samples = {index: (image, index % classes) for index, image in enumerate(pixels)}
        curves = TrainingCurves.of(record, history)
        page = tmp_path_factory.mktemp("page") / "report"
        with chart_style():
            drawn = [inline_svg(figure, "curves") for figure in (curves.accuracy(), curves.loss())]
        write_training_report(page, story, record, history, drawn, splits, samples)
        return page

    return write


def text_of(page: Path) -> str:
    return " ".join(page.read_text().split())  # at spaces that break no line too


def test_the_page_tells_where_fine_tuning_started_and_how_long_all_took(written: Callable[..., Path]) -> None:
    page = text_of(written())

    assert '<td>before</td><td class="number">0.2500</td> <td class="number">75.0&nbsp;%</td>' in page
    assert '3 <span class="badge keep">kept</span>' in page
    assert "with label smoothing 0.1 and balanced class weights: compare" in page
    assert "<b>2 h 30 min</b>" in page
    assert 'until the model was ready</th><th class="number">2 h 30 min</th>' in page
    assert 'together</th><th class="number">2 h 32 min</th>' in page


_MEASURE = """
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const inside = frame.contentDocument;
  const all = [...inside.querySelectorAll("body *")];
  const outside = all.filter((e) => !e.closest(".scroll, svg, head") && e.getBoundingClientRect().right > WIDTH + 1);
  const rects = (e) => { const r = inside.createRange(); r.selectNodeContents(e); return [...r.getClientRects()]; };
  const lines = (e) => new Set(rects(e).map((r) => Math.round(r.bottom / 8))).size;
  const whole = [...inside.querySelectorAll("code.name, td.number, .tile b")];
  document.body.dataset.measured = JSON.stringify({
    outside: outside.map((e) => e.tagName + "." + e.className),
    broken: whole.filter((e) => lines(e) > 1).map((e) => e.textContent),
    hidden: [...inside.querySelectorAll(".scroll")].map((e) => e.scrollWidth > e.clientWidth),
    charts: [...inside.querySelectorAll("figure > svg")].map((e) => Math.round(e.getBoundingClientRect().left)),
  });
});
"""


def measured(page: Path, width: int, directory: Path) -> dict[str, Any]:
    """Open a page in a frame of so many pixels, and return what is outside of it or broken over lines."""
    frame = directory / "frame.html"
    framed = f'<iframe style="width: {width}px; height: 4000px; border: 0" srcdoc="{html.escape(page.read_text())}">'
    script = _MEASURE.replace("WIDTH", str(width))
    frame.write_text(f'<meta charset="utf-8"><body style="margin: 0">{framed}</iframe><script>{script}</script>')
    (text,) = re.findall(r'data-measured="(.*?)"', dumped_dom(frame, directory / "profile"))
    result: dict[str, Any] = json.loads(html.unescape(text))
    return result


@pytest.mark.parametrize("classes", [3, 40])
def test_a_telephone_shows_all_of_it_and_breaks_no_word(
    written: Callable[..., Path], classes: int, tmp_path: Path
) -> None:
    seen = measured(written(classes), 390, tmp_path)

    assert seen["outside"] == []
    assert seen["broken"] == []
    assert seen["hidden"] == [True, False], "epochs scroll in their box; classes fit"
    assert len(seen["charts"]) == 2
    assert len(set(seen["charts"])) == 1, "one below the other"


def test_a_desktop_shows_charts_side_by_side_and_breaks_no_duration(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    seen = measured(written(), 1200, tmp_path)

    assert (seen["outside"], seen["broken"], seen["hidden"]) == ([], [], [False, False])
    assert len(set(seen["charts"])) == 2


@pytest.mark.parametrize(
    ("augmentation", "views", "epochs_run", "words"),
    [
        (0.0, 1, 4, "once"),
        (0.5, 1, 4, "once for one augmented view"),
        (0.5, 5, 4, "once for each of 4 augmented views"),
        (0.5, 5, 1, "once for one augmented view"),
        (0.5, 5, 9, "once for each of 5 augmented views"),
    ],
)
def test_views_that_no_epoch_saw_were_not_computed(
    augmentation: float, views: int, epochs_run: int, words: str
) -> None:
    assert times_computed({"augmentation": augmentation, "augmented_views": views}, epochs_run) == words
