"""Pages and charts: self-contained, escaped, the same bytes each time."""

import base64
import hashlib
import re
import warnings
from pathlib import Path

import jinja2
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

from components.report import charts
from components.report.charts import chart_style, inline_svg, save_png
from components.report.page import data_uri, write_page
from tests.headless_browser import dumped_dom

TEMPLATE = """{% extends "page.html" %}
{% from "page.html" import tile %}
{% block title %}{{ name }}{% endblock %}
{% block main %}{{ tile(7, name, "bad") }}{{ chart }}{% endblock %}
"""


def page(directory: Path, **context: object) -> str:
    (directory / "template.html").write_text(TEMPLATE, encoding="utf-8")
    write_page(directory / "page", directory, "template.html", **context)
    return (directory / "page").read_text(encoding="utf-8")


def chart(label: str) -> Markup:
    with chart_style():
        figure = Figure()
        axes = figure.subplots()
        axes.barh([label], [1])
        return inline_svg(figure, f"Bars of {label}")


def test_names_are_escaped_and_the_tile_is_not(tmp_path: Path) -> None:
    html = page(tmp_path, name="<b>&\"'", chart="<i>")
    assert "<title>&lt;b&gt;&amp;&#34;&#39;</title>" in html
    assert '<div class="tile bad"><b>7</b>' in html
    assert "<b>&" not in html
    assert "&lt;i&gt;" in html


def test_the_policy_lets_in_this_script_and_no_other(tmp_path: Path) -> None:
    html = page(tmp_path, name="x", chart="")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html


def test_a_missing_value_fails_and_leaves_no_page(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError):
        page(tmp_path, name="x")
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("label", ["<script>", "$\\frac$", "a & b", "鸟"])
def test_a_chart_shows_names_as_they_are(label: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = str(chart(label))
    assert str(Markup.escape(label)) in svg
    assert "<script" not in svg


def test_charts_repeat_no_ids_and_follow_the_page_colours() -> None:
    first, second = str(chart("a")), str(chart("b"))
    assert re.findall(r'<g id="', first) == []
    assert "var(--ink)" in first
    assert "#010203" not in first + second
    assert chart("a") == chart("a")


def test_png_charts_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        with chart_style():
            figure = Figure()
            figure.subplots().plot([1, 2])
            save_png(figure, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_data_uri() -> None:
    assert data_uri(b"\xff\x00", "image/jpeg") == "data:image/jpeg;base64,/wA="


FIGURES = {"": ["93.3 %", "100.0 %", "1.0747", "85.6 s", "123,456"], "compact": ["1 h 12 min", "12 min 30 s"]}
MEASURE = """
for (const figure of document.querySelectorAll(".tile b")) {
  const style = getComputedStyle(figure);
  const lines = Math.round(figure.clientHeight / parseFloat(style.lineHeight));
  figure.dataset.lines = `${lines} ${figure.scrollWidth <= figure.clientWidth ? "fits" : "sticks out"}`;
}
"""


@pytest.mark.parametrize("medium", ["screen", "print"])
def test_the_figure_of_a_tile_stays_on_one_line_and_in_its_tile(tmp_path: Path, medium: str) -> None:
    """Six tiles in a row on a page of A4, as a browser prints it: 19 cm wide between its margins."""
    style = (Path(charts.__file__).parent / "page.css").read_text(encoding="utf-8")
    if medium == "print":
        style = style.replace("@media screen", "@media not all").replace("@media print", "@media all")
    assert style.count("@media all") == (medium == "print")
    tiles = [(tone, figure) for tone, figures in FIGURES.items() for figure in figures]
    rows = [
        "".join(f'<div class="tile {tone}"><b>{figure}</b><span>validation accuracy</span></div>' for _ in range(6))
        for tone, figure in tiles
    ]
    grids = "".join(f'<div class="tiles">{row}</div>' for row in rows)
    html = f"<!doctype html><meta charset=utf-8><style>{style}</style><div style='width: 190mm'>{grids}</div>"
    (tmp_path / "tiles.html").write_text(f"{html}<script>{MEASURE}</script>", encoding="utf-8")
    dom = dumped_dom(tmp_path / "tiles.html", tmp_path / "profile")
    found = dict(re.findall(r'<b data-lines="([^"]*)">([^<]*)</b>', dom))
    assert found.keys() == {"1 fits"}, found
    assert dom.count("1 fits") == 6 * len(tiles)
