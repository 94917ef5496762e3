"""Charts as inline SVG that follow the page's colours, in light and in dark.

Matplotlib draws text and axes in two marker colours; in the SVG these become the page's CSS variables.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cycler
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from components.report.series_colours import SERIES

__all__ = ["SERIES", "chart_style", "inline_svg", "save_png"]

_INK, _MUTED = "#010203", "#040506"  # markers, replaced by the page's variables

_STYLE: Any = {
    "axes.axisbelow": True,  # grid lines behind bars, not over them
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.prop_cycle": cycler.cycler(color=SERIES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.figsize": (6.0, 3.6),
    "figure.constrained_layout.use": True,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": _MUTED,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "savefig.transparent": True,
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's font
    "svg.hashsalt": "image-classification-components",  # the same chart gives the same bytes
    "text.color": _INK,
    "text.parse_math": False,  # a "$" in a class name is a "$"
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
}


@contextlib.contextmanager
def chart_style() -> Iterator[None]:
    """Draw within the project's style; create figures with ``matplotlib.figure.Figure``, which has no global state."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Matplotlib only measures with its font; the browser, which draws the text, has the letters of all scripts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def inline_svg(figure: Figure, alternative_text: str) -> Markup:
    """Return a figure as SVG for a page. Call it within ``chart_style``.

    Args:
        figure: Finished figure, with titles, axis labels and units.
        alternative_text: What the chart shows, for readers who cannot see it.
    """
    FigureCanvasSVG(figure)
    layout = figure.get_layout_engine()
    if layout is not None:
        # Laid out here, by the measures of this canvas, the figure is drawn once. Saving would draw it a first time, to
        # be measured.
        layout.execute(figure)
        figure.set_layout_engine("none")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Names of parts (figure_1, axes_1) that nothing refers to, and that every chart of a page would repeat.
    svg = re.sub(r'<g id="[^"]*_\d+">', "<g>", svg)
    svg = svg.replace(_INK, "var(--ink)").replace(_MUTED, "var(--muted)")
    label = Markup('<svg role="img" aria-label="{}"').format(alternative_text)
    return label + Markup(svg[len("<svg") :])  # noqa: S704 - matplotlib escapes text


def save_png(figure: Figure, destination: Path) -> None:
    """Save a figure as PNG on white, 150 dots per inch. Call it within ``chart_style``."""
    figure.savefig(
        destination, format="png", dpi=150, transparent=False, facecolor="white", metadata={"Software": None}
    )
