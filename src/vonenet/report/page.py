"""A template and its contents -> one HTML file, whole or not at all; figures and numbers for it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import StringIO
from math import isfinite
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from vonenet.files import write_whole, written
from vonenet.report import plots
from vonenet.report.plots import COLORS, house_style

DASH = "\N{EM DASH}"
NAME_WIDTH = 24  # characters of a terminal's first column, at least
VARIABLE_OF = {color: f"var(--{name})" for name, color in COLORS.items()}


@dataclass(frozen=True)
class Panel:
    """A figure with heading and caption."""

    name: str
    picture: Markup
    finding: str


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
    environment.filters |= {"percent": percent, "points": points}
    environment.globals["swatch"] = swatch
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
        label: What it shows, for those who do not see it; "" if the text beside it says so.
    """
    written_out = StringIO()
    with house_style():
        figure.savefig(written_out, format="svg", metadata={"Date": None, "Creator": None})
    svg = written_out.getvalue()
    width, height = (round(value * plots.PIXELS_PER_INCH) for value in figure.get_size_inches())
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
    body = re.sub(r"<[^>]*>", _with_short_numbers, body)
    body = re.sub(r"\s+", " ", body)
    spoken = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    return Markup(  # noqa: S704 - matplotlib escapes what it writes
        f'<svg {spoken} viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">{body}</svg>'
    )


def _with_short_numbers(tag: re.Match[str]) -> str:
    """Return a tag with coordinates to a hundredth of a pixel."""
    return re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", tag[0])


@cache
def swatch(number: int) -> Markup:
    """Return the sign of a series for legends: a piece of its line with its marker."""
    return inline_svg(plots.swatch(number), "")


def percent(share: float) -> str:
    """Return a share of 1 as percent without the sign, such as `46.2`."""
    return f"{100 * share:.1f}"


def points(share: float) -> str:
    """Return a difference of shares in percentage points with its sign, such as `+3.2`."""
    rounded = round(100 * share, 1)
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}") if rounded else "0.0"


def number(value: float) -> str:
    """Return three digits, such as `0.0123` or `2.30`."""
    if not isfinite(value):
        return "not finite"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def duration(seconds: float) -> str:
    """Return such as `40 s`, `12 min` or `3 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return such as `1 model` or `1,200 rows`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    """Return text for a terminal, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


def first_column(names: Sequence[str]) -> list[str]:
    """Return the names of a terminal's table, all of one width."""
    shown = [printable(name) for name in names]
    width = max(NAME_WIDTH, 2 + max(map(len, shown)))
    return [name.ljust(width) for name in shown]
