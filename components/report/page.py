"""Self-contained HTML pages: one file, no network, every value escaped, dark mode, prints well.

The KFP UI shows a page in a frame with ``sandbox=allow-scripts``. A content security policy lets in only the styles,
data images and the one script of this page, so that a hostile file name stays text.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from components.publishing import published_file

_HERE = Path(__file__).parent


def write_page(destination: Path, templates: Path, template: str, **context: Any) -> None:
    """Render a template that extends ``page.html`` and publish it.

    Args:
        destination: The file to write. KFP gives artifacts no suffix, so neither is one required here.
        templates: Folder of the step's own templates.
        template: File name of the template.
        context: Values for the template. Strings are escaped; only ``Markup`` is taken as HTML.
    """
    html = render_page(templates, template, **context)
    with published_file(destination) as path:
        path.write_text(html, encoding="utf-8")


def render_page(templates: Path, template: str, **context: Any) -> str:
    """Return what ``write_page`` writes."""
    loader = jinja2.FileSystemLoader([templates, _HERE])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    # Globals, because `{% from "page.html" import tile %}` renders page.html without the context.
    environment.globals.update(
        page_style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        page_script=Markup(script),  # noqa: S704 - our own file
        page_script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return environment.get_template(template).render(**context)


def data_uri(data: bytes, media_type: str) -> str:
    """Return bytes as a ``data:`` URI (RFC 2397), ``media_type`` being ``image/jpeg`` for example."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
