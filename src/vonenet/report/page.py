"""A template and its contents -> one HTML file, whole or not at all; figures and numbers for it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache, partial
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from vonenet.files import write_whole, written
from vonenet.report import plots
from vonenet.results import Result

DASH, MINUS = "\N{EM DASH}", "\N{MINUS SIGN}"
NAME_WIDTH = 24  # characters of a terminal's first column, at least
VARIABLE_OF = {color: f"var(--{name})" for name, color in plots.COLORS.items()}


class Panel(NamedTuple):
    """A figure with heading and caption."""

    name: str
    picture: Markup
    finding: str


def write_html(template: str, path: Path, **contents: object) -> None:
    """Render a template of this package, every text escaped, and put it at `path`.

    Raises:
        InputError: The file cannot be written.
    """
    html = _environment().get_template(template).render(**contents)
    pictures = itertools.count()
    html = re.sub(r"<svg .*?</svg>", lambda svg: _with_own_names(svg[0], next(pictures)), html)
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, html.encode())


@cache  # with the compiled templates
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("vonenet.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {each.__name__: each for each in (percent, points, number, breakable)}
    environment.globals |= {"swatch": swatch, "count": count, "duration": duration}
    return environment


def _with_own_names(svg: str, number: int) -> str:
    """Return a picture of a page with parts whose names no other picture of the page has."""

    def renamed(tag: re.Match[str]) -> str:
        return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>f{number}-", tag[0])

    return re.sub(r"<[^>]*>", renamed, svg)


def inline_svg(figure: Figure, label: str) -> Markup:
    """Return a figure as an SVG element to stand in a page.

    Colours of `plots.COLORS` become the page's variables, and text has the page's font.

    Args:
        figure: One unit of length for one pixel, as `plots.new_figure` makes it.
        label: What it shows, for those who do not see it; "" if the text beside it says so.
    """
    written_out = StringIO()
    with plots.house_style():
        figure.savefig(written_out, format="svg", metadata={"Date": None, "Creator": None})
    svg = written_out.getvalue()
    width, height = (round(value * plots.PIXELS_PER_INCH) for value in figure.get_size_inches())
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<(metadata|style).*?</\1>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda found: VARIABLE_OF.get(found[0], found[0]), body)
    body = re.sub(r"font: (\S+?px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r" font-family: [^;\"]*;?", "", body).replace("xlink:href", "href")
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))
    body = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    short = partial(re.sub, r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}")
    body = re.sub(r"<[^>]*>", lambda tag: short(tag[0]), body)  # to a hundredth of a pixel
    body = re.sub(r"\s+", " ", body)
    spoken = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    return Markup(  # noqa: S704 - matplotlib escapes what it writes
        f'<svg {spoken} viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">{body}</svg>'
    )


@cache
def swatch(number: int, line: bool = True) -> Markup:
    """Return the sign of a series for legends: its marker, on a piece of its line or alone."""
    width = 34 if line else 16
    with plots.house_style():
        figure = plots.empty_figure(width, 16)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, 16))
        axes.axis("off")
        style = plots.series_style(number) | ({} if line else {"linestyle": ""})
        style = {"markersize": 8} | style
        axes.plot([1, width / 2, width - 1], [8, 8, 8], markevery=[1], **style)
    return inline_svg(figure, "")


def breakable(name: str) -> Markup:
    """Return a name that may go on in a new line after `_` and `/`."""
    return Markup(re.sub("([_/])", r"\1<wbr>", str(escape(name))))  # noqa: S704 - escaped


def percent(share: float) -> str:
    """Return a share of 1 as percent without the sign, such as `46.2`."""
    return f"{100 * share:.1f}"


def points(share: float) -> str:
    """Return a difference of shares in percentage points with its sign, such as `+3.2`."""
    rounded = round(100 * share, 1)
    return f"{rounded:+.1f}".replace("-", MINUS) if rounded else "0.0"


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


def with_interval(row: Result, digits: int = 3) -> str:
    """Return a number of a row and its interval, such as `0.41 [0.37, 0.44]`."""
    return f"{row.value:.{digits}f} [{row.ci_low:.{digits}f}, {row.ci_high:.{digits}f}]"


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
