"""The page in a real browser: no complaint, hostile names stay text, and it stays small."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from components.formats.evaluation import read_evaluation
from tests.evaluate.tiny_project import TinyProject, evaluate_project, write_project
from tests.headless_browser import dumped_dom

HOSTILE_CLASSES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "$x_1$ & 'co'\u202egpj.exe",
    "鳥 😀",
    "x" * 200,
]
MOST_BYTES = 5_000_000


class Page(HTMLParser):
    """What a page shows, and what of it could run or load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.risks: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            loads = name in {"src", "href", "xlink:href"} and not (value or "").startswith(("data:image/", "#"))
            if name.startswith("on") or loads:
                self.risks.append(f"<{tag} {name}={value}>")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a project whose class names, and so its paths, try to break out."""
    directory = tmp_path_factory.mktemp("hostile")
    labels = [number % 5 for number in range(60)]  # the last class has no test image
    looks = [*labels[:-6], 0, 0, 1, 2, 2, 5]
    project = write_project(directory, HOSTILE_CLASSES, labels, looks)
    evaluate_project(project, directory / "evaluation", directory / "report.html", batch_size=32)
    return directory / "report.html"


def test_a_browser_opens_it_without_a_complaint(hostile: Path, tmp_path: Path) -> None:
    dom = Page(dumped_dom(hostile, tmp_path))
    page = Page(hostile.read_text(encoding="utf-8"))
    assert dom.risks == page.risks == []
    assert dom.tags.count("script") == page.tags.count("script") == 1
    for tag in ("img", "svg", "figure", "tr", "h2", "h3"):
        assert dom.tags.count(tag) == page.tags.count(tag) > 0, tag
    assert dom.tags.count("button") == 9, "the script that sorts did not run"
    for name in HOSTILE_CLASSES[:3]:
        assert name in page.text
    assert "\u202e" not in page.text


def test_every_number_is_one(hostile: Path) -> None:
    assert not re.search(r">\s*(nan|None|inf)\s*<", hostile.read_text(encoding="utf-8"), re.IGNORECASE)
    metrics = (hostile.parent / "evaluation/metrics.json").read_text(encoding="utf-8")
    json.loads(metrics, parse_constant=pytest.fail)


def test_charts_have_titles_axes_and_units(hostile: Path) -> None:
    text = Page(hostile.read_text(encoding="utf-8")).text
    for words in (
        "Images", "Share of the true class", "predicted class", "true class",
        "One class against the rest", "false positive rate", "true positive rate", "Area under the curve",
        "Right by how sure", "mean probability of the answer", "share of answers that are right",
        "How sure", "test images", "Accuracy by what the image is like", "accuracy, with its 95 % interval",
        "brightness (mean luma, 0 to 255)", "resolution (megapixels)", "epoch, counted over both phases",
    ):  # fmt: skip
        assert words in text, words


def test_it_stays_small_with_many_classes_and_many_mistakes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 200, 400).tolist()
    looks = [label if number % 2 else (label + 1) % 200 for number, label in enumerate(labels)]
    names = [f"a class with a rather long name {number}" for number in range(200)]
    project = write_project(tmp_path, names, labels, looks)
    evaluate_project(project, tmp_path / "evaluation", tmp_path / "report.html", batch_size=100)
    assert read_evaluation(tmp_path / "evaluation").test_images == 400
    assert (tmp_path / "report.html").stat().st_size < MOST_BYTES
    text = " ".join(Page((tmp_path / "report.html").read_text(encoding="utf-8")).text.split())
    assert "Of 200 classes these are the 24 that mistakes are made of, or taken for, most." in text
    assert "too large for the pipeline's own metrics view; it is complete in metrics.json." in text
    assert "any other" in text


def test_the_page_says_what_the_evaluation_found(project: TinyProject, outputs: tuple[Path, Path]) -> None:
    evaluate_project(project, *outputs)
    text = " ".join(Page(outputs[1].read_text(encoding="utf-8")).text.split())
    assert "Evaluation of trees" in text
    assert "run run-1" in text, "which run it is of"
    assert read_evaluation(outputs[0]).model_sha256[:12] in text
    assert "Not compared: no registry was named." in text
    for chart in ("confusion_matrix", "roc", "curves", "reliability"):
        ElementTree.parse(outputs[0] / f"{chart}.svg")
    assert "kept epoch" in text
    assert "Temperature " in text
    assert "fitted on 40 validation images" in text
    assert "too few to say" in text, "four cedars and five birches are no slice"
    assert "Beside each image, in colour, what speaks for that answer (Grad-CAM): yellow most." in text
    calibration = read_evaluation(outputs[0]).calibration
    assert calibration.fitted
    assert calibration.temperature > 1, "the planted model is surer than its validation mistakes allow"
