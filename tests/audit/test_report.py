"""The report: one safe, self-contained, small page that a browser opens without a complaint."""

import base64
import hashlib
import json
import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from components.audit.checks import CHECKS, run_checks
from components.audit.dataset_facts import COPY_CHECKS, dataset_facts, verdict
from components.audit.galleries import orientation_name
from components.audit.image_audit import audit_archive
from components.audit.report import write_report
from components.formats.check_names import SHOWS_NOTHING
from components.formats.findings import FACTS_FILE, FINDING_COLUMNS
from components.formats.image_archive import ArchiveReader
from components.report.shown_text import NAME_CHARACTERS, shown
from pipeline import CLEANING_POLICY
from tests.audit.conftest import RECOMMENDED, SAMPLES, MakeArchive
from tests.audit.images import flat, photo
from tests.headless_browser import dumped_dom

HOSTILE = [
    "bird/<script>alert(1)</script>.jpg",
    "bird/<img src=x onerror=alert(1)>.jpg",
    "bird/\"><svg onload=alert('1')>.jpg",
    "bird/'; DROP TABLE images; --.jpg",
    "bird/{{ 7 * 7 }}{% raw %}.jpg",
    "bird/$x_1$ & co.jpg",
    "bird/\u202egpj.exe",
    "bird/" + "long" * 250 + ".jpg",
    "bird/😀'\"😀.jpg",
    "<b>class</b>/鸟.jpg",
    "javascript:alert(1)/طائر.jpg",
    "$\\frac/x.jpg",
]


class Elements(HTMLParser):
    """Counts elements and collects what could run or load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.risks: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        for name, value in attributes:
            loads = name in {"src", "href", "xlink:href"} and not (value or "").startswith(("data:image/jpeg", "#"))
            if name.startswith("on") or loads:
                self.risks.append(f"<{tag} {name}={value}>")

    def handle_data(self, data: str) -> None:
        self.text += data


def report_of(archive: Path, directory: Path) -> Path:
    page = directory / "report.html"
    audit_archive(archive, directory / "findings", page, RECOMMENDED, sample_images=8, workers=2, seed=0)
    return page


@pytest.fixture(scope="module")
def animals_report(animals_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(animals_archive, tmp_path_factory.mktemp("animals-report"))


@pytest.fixture
def hostile_report(make_archive: MakeArchive, tmp_path: Path) -> Path:
    files = {name: photo(number % 3) for number, name in enumerate(HOSTILE)}
    files |= {name.replace(".", "-2.") + ".png": flat(0) for name in HOSTILE}
    labels = dict.fromkeys(HOSTILE, "<i>recorded</i>")
    return report_of(make_archive(files, labels), tmp_path)


def test_hostile_names_stay_text(hostile_report: Path) -> None:
    page = Elements(hostile_report.read_text(encoding="utf-8"))
    assert page.risks == []
    assert page.counts["script"] == 1
    assert page.counts["i"] == 0
    assert "<img src=x onerror=alert(1)>.jpg" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "<i>recorded</i>" in page.text
    assert "⟨202E⟩gpj.exe" in page.text
    assert "\u202e" not in page.text


def test_the_page_loads_nothing(animals_report: Path) -> None:
    page = Elements(animals_report.read_text(encoding="utf-8"))
    assert page.risks == []
    assert page.counts["svg"] == 9
    assert page.counts["link"] == page.counts["iframe"] == page.counts["object"] == 0
    assert page.counts["img"] > 40


def test_the_page_says_what_was_found(animals_report: Path) -> None:
    text = re.sub(r"\s+", " ", Elements(animals_report.read_text(encoding="utf-8")).text)
    assert "11 images of 97 must not be trained on" in text
    assert "15 limit 40 95th percentile of luma" in text
    assert "mirrored left to right" in text
    assert "and leaves out 22: 11 with an error" in text
    assert "The label file says 'fish', the class folder says 'bird'." in text
    assert all(check.title in text for check in CHECKS)


def test_the_page_stays_small_and_says_what_it_leaves_out(make_archive: MakeArchive, tmp_path: Path) -> None:
    noise = photo(0, 900, 160)  # large thumbnails
    archive = make_archive({"bird/owl.jpg": noise, "bird/dark.png": flat(0)})
    count = 6000
    numbers = pd.Series(range(count))
    long = '"' * 180  # each takes five bytes in HTML
    texts = ["path", "filename", "label", "recorded_label", "md5", "error", "decoder_warning", "cause"]
    texts += ["near_group", "near_path"]
    table = pd.DataFrame(
        {
            "path": [f"class{number % 300}-{long}/{long}{number}.png" for number in numbers],
            "filename": [f"{long}{number % 2000}.png" for number in numbers],
            "label": [f"class{number % 300}-{long}" for number in numbers],
            "recorded_label": "another",
            "part": "part-00000.tar",
            "offset": 512,
            "size_bytes": len(noise),
            "md5": [f"{number // 7}" for number in numbers],
            "format": "JPEG",
            "mode": "RGB",
            "width_px": 20 + numbers,
            "height_px": 20 + numbers % 777,
            "brightness": 100.0,
            "contrast": (numbers % 128).astype("float64"),
            "grayscale": numbers % 3 == 0,
            "colour": (numbers % 3).astype("float64"),
            "error": None,
            "luma_p5": (numbers % 256).astype("float64"),
            "luma_p95": (numbers % 255).astype("float64"),
            "decoder_warning": "junk",
            "cause": None,
            "exif_rotated": numbers % 2 == 0,
            "animated": numbers % 3 == 0,
            "alpha": numbers % 4 == 0,
            "sixteen_bit": numbers % 5 == 0,
            "blur": numbers % 10 / 10,
            "entropy": (numbers % 8).astype("float64"),
            "pixels": (numbers // 2).astype("uint64"),
            "near_group": "near-" + (numbers // 3).astype("str"),
            "near_path": long,
            "near_correlation": 1.0,
        }
    ).astype(dict.fromkeys(texts, "str"))
    page = tmp_path / "report.html"
    skipped = pd.DataFrame({"path": [long] * 500, "reason": [f"{long}{number}" for number in range(500)]})
    findings = run_checks(table, skipped, RECOMMENDED)
    facts = dataset_facts(table, findings, skipped, RECOMMENDED)
    with ArchiveReader(archive) as reader:
        write_report(page, table, findings, RECOMMENDED, facts, reader=reader, sample_images=200, seed=0)
    assert page.stat().st_size < 5_000_000
    text = re.sub(r"\s+", " ", Elements(page.read_text(encoding="utf-8")).text)
    (shown_rows,) = re.findall(rf"Here are ([\d,]+) of {len(findings):,} findings", text)
    assert 400 < int(shown_rows.replace(",", "")) <= 1000
    assert "and 50 smaller classes" in text
    assert all(f"{name} ({count:,})" in text for name, count in findings["check"].value_counts().items())


@pytest.mark.parametrize(
    ("name", "visible"),
    [
        ("owl.jpg", "owl.jpg"),
        ("a\u202eb", "a⟨202E⟩b"),
        ("a\nb\x00", "a⟨000A⟩b⟨0000⟩"),
        ("鸟", "鸟"),
        ("x" * NAME_CHARACTERS, "x" * NAME_CHARACTERS),
    ],
)
def test_names_are_shown_as_they_can_safely_be_read(name: str, visible: str) -> None:
    assert shown(name) == visible


def test_long_names_keep_their_ends() -> None:
    cut = shown("bird/" + "x" * 500 + "/owl.jpg")
    assert len(cut) == NAME_CHARACTERS
    assert cut.startswith("bird/x")
    assert cut.endswith("x/owl.jpg")


@pytest.mark.parametrize(
    ("findings", "tone", "sentence"),
    [
        ([], "good", "Nothing speaks against training on all 4 images."),
        ([("a/1", "info")], "good", "Nothing speaks against training on all 4 images."),
        (
            [("a/1", "warning"), ("a/1", "warning")],
            "warn",
            "No image is unusable; a person or a cleaning policy should decide about 1 of 4. "
            "3 images (75%) have neither error nor warning.",
        ),
        (
            [("a/1", "error"), ("a/1", "warning"), ("a/2", "warning"), ("a", "warning")],
            "bad",
            "1 image of 4 must not be trained on, and a person or a cleaning policy should decide about 1 more. "
            "2 images (50%) have neither error nor warning. 1 class needs attention.",
        ),
        (
            [(f"a/{number}", "error") for number in range(3)],
            "bad",
            "3 images of 4 must not be trained on. 1 image (25%) has neither error nor warning.",
        ),
    ],
)
def test_the_verdict_counts_each_image_once(findings: list[tuple[str, str]], tone: str, sentence: str) -> None:
    table = pd.DataFrame({"path": [f"a/{number}" for number in range(4)], "label": "a"})
    rows = pd.DataFrame(findings, columns=["path", "severity"]).reindex(columns=list(FINDING_COLUMNS))
    told = verdict(table, rows)
    assert (told["tone"], told["sentence"]) == (tone, sentence)


def test_what_the_default_policy_drops_is_what_the_page_says() -> None:
    errors = {one.name for one in CHECKS if one.severity == "error"}
    dropped = {name for name, action in CLEANING_POLICY.items() if action not in {"warn", "fix"}}
    assert dropped == errors | set(COPY_CHECKS) | set(SHOWS_NOTHING)


def facts_beside(report: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (report.parent / "findings" / FACTS_FILE).read_text(encoding="utf-8")
    return dict(json.loads(text, parse_constant=refuse))


def test_the_same_facts_lie_beside_the_findings_as_json(animals_report: Path) -> None:
    facts = facts_beside(animals_report)
    assert facts["verdict"]["sentence"].startswith("11 images of 97 must not be trained on")
    assert facts["default_cleaning"] == {"kept": 75, "with_errors": 11, "shows_nothing": 7, "spare_copies": 4}
    counts = {check["name"]: check["findings"] for check in facts["checks"]}
    assert counts["exact_duplicate"] == 7
    assert sum(counts.values()) == 59
    assert [row["label"] for row in facts["classes"]] == ["mammal", "fish", "bird"]
    assert sum(row["images"] for row in facts["classes"]) == 97
    assert facts["measured"]["brightness"]["median"] == pytest.approx(105.5, abs=5)
    assert facts["thresholds"]["dark_brightness"] == 40.0


def test_a_data_set_that_cannot_be_read_at_all_has_a_page(make_archive: MakeArchive, tmp_path: Path) -> None:
    page = report_of(make_archive({"bird/a.jpg": b"", "bird/b.jpg": b"text"}), tmp_path)
    text = re.sub(r"\s+", " ", Elements(page.read_text(encoding="utf-8")).text)
    assert "2 images of 2 must not be trained on." in text
    assert "Random sample" not in text
    assert facts_beside(page)["measured"] == {}


@pytest.mark.parametrize(
    ("turn", "name"),
    [
        (None, ""),
        (Image.Transpose.FLIP_LEFT_RIGHT, "mirrored left to right"),
        (Image.Transpose.FLIP_TOP_BOTTOM, "mirrored top to bottom"),
        (Image.Transpose.ROTATE_180, "turned by 180°"),
        (Image.Transpose.ROTATE_90, "turned by 90°"),
        (Image.Transpose.ROTATE_270, "turned by 90°"),
        (Image.Transpose.TRANSPOSE, "mirrored along a diagonal"),
    ],
)
def test_copies_say_how_they_are_turned(turn: Image.Transpose | None, name: str) -> None:
    with Image.open(SAMPLES / "photos" / "bird" / "penguin.jpg") as opened:
        image = opened.convert("RGB")
    copy = image if turn is None else image.transpose(turn)
    assert orientation_name(np.asarray(image), np.asarray(copy.resize((120, 90)))) == name


def test_a_browser_opens_the_page_and_runs_its_script(animals_report: Path, tmp_path: Path) -> None:
    dom = dumped_dom(animals_report, tmp_path)
    page = Elements(dom)
    original = Elements(animals_report.read_text(encoding="utf-8"))
    assert "59 of 59 rows" in page.text, "the script that filters did not run"
    assert dom.count('<button type="button" class="sort">') == 14
    for tag in ("img", "svg", "figure", "tr", "section", "h2", "h3"):
        assert page.counts[tag] == original.counts[tag], tag


DRIVER = """
const rows = () => [...document.querySelectorAll("#finding-table tbody tr")].filter((row) => !row.hidden);
const cells = (column) => rows().map((row) => row.cells[column].textContent);
const [words, severity, check, label] = document.querySelectorAll("[data-filter=finding-table]");
const set = (control, value) => { control.value = value; control.dispatchEvent(new Event("input")); };
const buttons = [...document.querySelectorAll("#finding-table .sort")];
const press = (name) => buttons.find((button) => button.textContent === name).click();
const told = {};
set(words, "OWL exact"); told.words = cells(3); set(words, "");
set(severity, "0"); told.severities = [...new Set(cells(0))]; told.errors = rows().length; set(severity, "");
set(check, "dark"); set(label, "mammal"); told.both = cells(3);
told.counter = document.querySelector(".filters output").textContent;
document.querySelector(".filters .reset").click(); told.all = rows().length;
document.querySelector("[data-choose][data-value=tiny]").click(); told.chosen = cells(1);
document.querySelector(".filters .reset").click();
press("Image or class folder"); told.up = cells(3); press("Image or class folder"); told.down = cells(3);
press("Measured"); told.numbers = cells(4);
set(check, ""); set(words, "no such thing"); told.none = rows().length;
document.title = JSON.stringify(told);
"""


def test_filters_and_sorting_work_in_a_browser(animals_report: Path, tmp_path: Path) -> None:
    html = animals_report.read_text(encoding="utf-8")
    # The policy lets in the page's script alone: the driver comes in with its own digest.
    digest = base64.b64encode(hashlib.sha256(DRIVER.encode()).digest()).decode()
    html = html.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    driven = tmp_path / "driven.html"
    driven.write_text(html.replace("</body>", f"<script>{DRIVER}</script></body>"), encoding="utf-8")
    (title,) = re.findall(r"<title>(.*?)</title>", dumped_dom(driven, tmp_path / "profile"), re.DOTALL)
    told = json.loads(unescape(title))
    assert told["words"] == ["bird/owl-2.jpg", "bird/owl-3.jpg", "bird/owl.jpg"]
    assert (told["severities"], told["errors"]) == (["error"], 13)
    assert told["both"] == ["mammal/gibbon-2.jpg", "mammal/mole.jpg"]
    assert told["counter"] == "2 of 59 rows"
    assert told["all"] == 59
    assert told["chosen"] == ["tiny"]
    assert told["up"].index("fish/fish3.jpg") < told["up"].index("fish/fish12.jpg")
    assert told["down"][0] == told["up"][-1]
    numbers = [float(text.replace(",", "")) for text in told["numbers"] if text]
    assert numbers == sorted(numbers)
    assert told["none"] == 0


def test_a_browser_runs_nothing_of_a_hostile_name(hostile_report: Path, tmp_path: Path) -> None:
    page = Elements(dumped_dom(hostile_report, tmp_path / "profile"))
    assert page.counts["script"] == 1
    assert page.risks == []
