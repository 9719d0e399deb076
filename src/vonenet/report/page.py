"""A template and its contents -> one HTML file, whole or not at all; figures as inline SVG."""

from __future__ import annotations

import hashlib
import re
from io import StringIO
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from vonenet.files import write_whole, written
from vonenet.report.plots import COLORS, house_style

VARIABLE_OF = {color: f"var(--{name})" for name, color in COLORS.items()}


def write_html(template: str, path: Path, **contents: object) -> None:
    """Render a template of this package, every text escaped, and put it at `path`.

    Raises:
        InputError: the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("vonenet.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(**contents)
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, html.encode())


def inline_svg(figure: Figure, label: str) -> Markup:
    """Return a figure as an SVG element to stand in a page.

    Colours of `plots.COLORS` become the page's variables, text has the page's font, and names of
    parts are the figure's own, so that many figures fit on one page.

    Args:
        figure: A figure made with `plots.new_figure`, one unit of length for one pixel.
        label: What it shows, for those who do not see it.
    """
    written_out = StringIO()
    with house_style():
        figure.savefig(written_out, format="svg", metadata={"Date": None, "Creator": None})
    svg = written_out.getvalue()
    width, height = (round(value * 72) for value in figure.get_size_inches())
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<(metadata|style).*?</\1>", "", body, flags=re.DOTALL)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda found: VARIABLE_OF.get(found[0], found[0]), body)
    body = re.sub(r"font: (\S+?px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL).replace("xlink:href", "href")
    prefix = hashlib.sha256(body.encode()).hexdigest()[:8]
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))
    for name in used:
        body = re.sub(rf'(id="|#){re.escape(name)}(?=["\)])', rf"\g<1>{prefix}-{name}", body)
    body = re.sub(rf' id="(?!{prefix}-)[^"]*"', "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", body)
    body = re.sub(r"\s+", " ", body)
    return Markup(  # noqa: S704 - matplotlib escapes what it writes
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">{body}</svg>'
    )
