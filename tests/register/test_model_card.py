"""The card shows names as they are and says what is not known, as Markdown and as a page."""

import dataclasses
import html
import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from components.formats.evaluation import read_evaluation, write_evaluation
from components.register.lineage import Origin
from components.register.markdown import literal, literal_code
from components.register.model_exports import write_exports
from tests.evaluate.tiny_project import write_project
from tests.headless_browser import dumped_dom
from tests.register.conftest import EvaluatedProject, Register, evaluate_project

HOSTILE = [
    "<b>|",
    "a\tb",
    "`code`",
    "![x](https://evil.example/x.png)",
    "cat\u200b",
    "exe\u202egpj",
    "\\|",
    "www.evil.example",
    "</td><script>alert(1)</script>",
    "&lt;",
    "line\nbreak",
    "unseen",
]
SEEN = {
    "a\tb": "a⟨0009⟩b",
    "cat\u200b": "cat⟨200B⟩",
    "exe\u202egpj": "exe⟨202E⟩gpj",
    "line\nbreak": "line⟨000A⟩break",
}
RUN = "run `1` | <i>\n``two``"
SOURCE = "gs://photos/|<b>`x`\u202e.zip"


def rendered(markdown: str) -> str:
    """Return a page as a viewer of Markdown with tables makes it, HTML in it left as it is."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)


def rows_of(page: str) -> list[list[str]]:
    """Return the cells of every table row, as text."""
    rows = re.findall(r"<tr.*?>(.*?)</tr>", page, re.DOTALL)
    return [[text_of(cell) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.DOTALL)] for row in rows]


def text_of(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup)).strip()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> EvaluatedProject:
    directory = tmp_path_factory.mktemp("hostile")
    labels = [*range(len(HOSTILE) - 1)] * 2
    return evaluate_project(write_project(directory, HOSTILE, labels, labels), directory)


@pytest.fixture
def bundle(register: Register, hostile: EvaluatedProject) -> Path:
    return Path(register(hostile, origin=Origin(SOURCE, RUN, licence="<b>CC</b> | `0`")).uri)


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a|b <i>*c*</i> # d", r"a\|b \<i\>\*c\*\</i\> \# d"),
        ("a\n# b", r"a⟨000A⟩\# b"),
        ("HTTPS://x.y www.x.y", r"HTTPS\://x.y www\.x.y"),
        ("me@x.y", r"me\@x.y"),
    ],
)
def test_names_stay_text(text: str, markdown: str) -> None:
    assert literal(text) == markdown


@pytest.mark.parametrize("text", ["a", "a|b", "`", "``a` b`", "a\\|b", "<i>", " a ", "**", "|"])
def test_code_is_code_in_one_cell(text: str) -> None:
    page = rendered(f"| a | b |\n| --- | --- |\n| x | {literal_code(text)} |\n")
    (_, cells) = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    (code,) = re.findall(r"<td><code>(.*?)</code></td>", cells)
    assert html.unescape(code) == text


def test_hostile_names_in_markdown(bundle: Path) -> None:
    page = rendered((bundle / "README.md").read_text(encoding="utf-8"))
    tags = set(re.findall(r"</?([a-zA-Z][a-zA-Z0-9]*)", page))
    assert tags <= {
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "img",
        "pre",
    }
    images = re.findall(r'src="(.*?)"', page)
    assert set(images) <= {"confusion_matrix.png", "roc.png", "curves.png", "reliability.png"}
    rows = rows_of(page)
    names = [SEEN.get(name, name) for name in HOSTILE]
    by_class = rows[next(number for number, row in enumerate(rows) if row[0] == "class") + 1 :][: len(names)]
    assert [row[0] for row in by_class] == names
    assert {len(row) for row in by_class} == {7}
    assert ["pipeline run", "run `1` | <i>⟨000A⟩``two``"] in rows
    text = text_of(page)
    assert "Without any test image, so unknown: unseen." in text
    assert "Source: gs://photos/|<b>`x`⟨202E⟩.zip" in text
    assert "<b>CC</b> | `0`. Those of the photos" in text


def test_hostile_names_on_the_page(bundle: Path, tmp_path: Path) -> None:
    page = (bundle / "model_card.html").read_text(encoding="utf-8")
    body = page[page.index("<body>") : page.rindex("<script>")]
    assert "<script>" not in body
    assert not set("\u200b\u202e") & set(body)
    names = [SEEN.get(name, name) for name in HOSTILE]
    rows = rows_of(body)
    by_class = rows[next(number for number, row in enumerate(rows) if row[0] == "class") + 1 :][: len(names)]
    assert [row[0] for row in by_class] == names
    assert {len(row) for row in by_class} == {8}
    text = text_of(body)
    assert "Without any test image, so unknown: unseen." in text
    assert "`code`" in text[: text.index("Transfer learning")], "backquotes are kept"
    assert ["pipeline run", "run `1` | <i>⟨000A⟩``two``"] in rows
    assert "Class by class" in dumped_dom(bundle / "model_card.html", tmp_path / "browser")


def test_labels_are_written_as_they_are(bundle: Path) -> None:
    assert json.loads((bundle / "labels.json").read_text(encoding="utf-8"))["class_names"] == HOSTILE
    assert (bundle / "labels.txt").read_text(encoding="utf-8").split("\n")[10] == "line break"


def test_unknown_numbers_say_so(bundle: Path) -> None:
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert "| unseen | n/a | n/a | n/a | n/a | 0 | 20 |" in card


def test_a_perfect_small_test_is_not_praised(register: Register, tmp_path: Path) -> None:
    project = write_project(tmp_path, test_labels=[0, 1, 2], looks_like=[0, 1, 2], shards=1)
    card = (Path(register(evaluate_project(project, tmp_path)).uri) / "README.md").read_text(encoding="utf-8")
    assert "With 3 test images the accuracy is known to within 0.44 to 1.00." in card
    assert "| Macro F1 | 1.000 |" in card, "an interval without width would be no evidence"


def numbers_served(bundle: Path) -> tuple[list[str], list[str]]:
    """Return the row of the probabilities that exports give, in Markdown, and the page's tiles, number before words."""
    (row,) = [
        row
        for row in rows_of(rendered((bundle / "README.md").read_text(encoding="utf-8")))
        if len(row) == 4 and row[3] == "yes" and row[0].startswith(("as trained", "with temperature"))
    ]
    page = (bundle / "model_card.html").read_text(encoding="utf-8")
    tiles = re.findall(r'<div class="tile .*?"><b>(.*?)</b><span>(.*?as served)</span>', page)
    return row, [number for number, _ in tiles]


@pytest.mark.parametrize("applied", [True, False])
def test_calibration_error_and_log_loss_are_of_the_same_probabilities(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, applied: bool
) -> None:
    project = evaluated.copy_to(tmp_path / "copy")
    known = read_evaluation(project.evaluation)
    calibration = dataclasses.replace(
        known.calibration,
        temperature=2.5,
        fitted=True,
        ece_before=0.111,
        ece_after=0.222,
        log_loss_before=0.333,
        log_loss_after=0.444,
    )
    write_evaluation(dataclasses.replace(known, log_loss=0.333, calibration=calibration), project.evaluation)
    if applied:
        folders = (project.model, project.evaluation, project.splits)
        write_exports(*folders, formats=(), temperature=2.5, directory=tmp_path / "exports")
        project = dataclasses.replace(project, exports=tmp_path / "exports")
    row, tiles = numbers_served(Path(register(project).uri))
    expected = ["0.222", "0.444"] if applied else ["0.111", "0.333"]
    assert row[1:3] == expected
    assert tiles == expected
    assert row[0] == ("with temperature 2.500" if applied else "as trained")
