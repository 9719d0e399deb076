"""Elements of inline SVG, escaped; axes and scales shared by the charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from math import ceil, floor, log, log10

from markupsafe import Markup, escape

# A series is told apart by colour (class s0 to s7 of the template's style), marker and dashes.
STYLES = 8
MARKERS = ("square", "circle", "diamond", "triangle", "cross", "wedge", "plus", "bar")
DASHES = ("6 3", "", "", "", "2 2", "2 2", "2 2", "8 2 2 2")


@dataclass(frozen=True)
class Scale:
    """A linear map from numbers to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, number: float) -> float:
        """Where a number stands, pixels."""
        share = (number - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def log_scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """A map from numbers above 0 to pixels in which equal factors are equal steps."""
    logarithms = Scale(log(low), log(high), start, end)
    return lambda number: logarithms(log(number))


def element(name: str, content: str = "", /, **attributes: object) -> Markup:
    """An SVG element; underscores of attributes become hyphens, `class_` is `class`.

    Args:
        name: of the element.
        content: text, escaped unless it is `Markup`.
        attributes: numbers are rounded to a hundredth of a pixel.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{written}>{escape(content)}</{name}>")  # noqa: S704 - escaped above


def joined(parts: Sequence[str]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def drawing(width: float, height: float, label: str, content: Markup) -> Markup:
    """A picture of fixed size that shrinks with a narrower page."""
    return element(
        "svg",
        content,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
    )


def text(x: float, y: float, words: str, **attributes: object) -> Markup:
    """Text whose anchor is at a point; the middle of its line unless said otherwise."""
    return element("text", words, x=x, y=y, dominant_baseline="central", **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def marker(
    style: int, x: float, y: float, *, size: float = 1.0, hollow: bool = False, title: str = ""
) -> Markup:
    """The mark of a series at a point, with words for whoever hovers over it."""
    outline = _OUTLINES[MARKERS[style % STYLES]]
    spoken = element("title", title) if title else ""
    where = f"translate({x:.2f} {y:.2f}) scale({size:g})"
    kind = f"mark s{style % STYLES}" + (" hollow" if hollow else "")
    return element("path", spoken, d=outline, transform=where, class_=kind)


def stroke(style: int, path: str) -> Markup:
    """The line of a series."""
    dashes = DASHES[style % STYLES]
    return element("path", d=path, class_=f"stroke s{style % STYLES}", stroke_dasharray=dashes)


def swatch(style: int) -> Markup:
    """A piece of a series' line with its marker, for legends."""
    content = joined([stroke(style, "M1 8H33"), marker(style, 17, 8)])
    return element("svg", content, width=34, height=16, viewBox="0 0 34 16", aria_hidden="true")


def round_ticks(low: float, high: float, most: int, finest: int = 0) -> list[float]:
    """At most so many round numbers, from at or below `low` to at or above `high`.

    Args:
        low: may equal `high`.
        high: finite.
        most: 3 or more.
        finest: power of ten that all of them are multiples of.
    """
    for power in count(finest):
        for factor in (1, 2, 2.5, 5) if power > finest else (1, 2, 5):
            step = factor * 10.0**power
            first, last = floor(low / step), ceil(high / step)
            if last - first + 1 <= most:
                return [step * number for number in range(first, max(last, first + 1) + 1)]
    raise AssertionError("a step is wide enough in the end")


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """At most so many numbers for a logarithmic axis, from at or below `low` to at or above `high`.

    They are 1, 2 and 5 times powers of ten, or powers of ten alone.

    Args:
        low: above 0.
        high: above `low`.
        most: 3 or more.
    """
    first, last = floor(log10(low)) - 1, ceil(log10(high)) + 1  # wider: logarithms are rounded
    fine = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    begin, end = max(t for t in fine if t <= low), min(t for t in fine if t >= high)
    ticks = [tick for tick in fine if begin <= tick <= end]
    stride = 0
    while len(ticks) > most:
        stride += 1
        ticks = [10.0**power for power in range(first + 1, last - 1 + stride, stride)]
    return ticks


def spaced(positions: Sequence[tuple[float, str]], apart: Callable[[str], float]) -> set[int]:
    """Which labels on a line can be written without touching, first come first served.

    Args:
        positions: (pixel, label), ascending.
        apart: width of a label, pixels.

    Returns:
        Their indices.
    """
    kept: set[int] = set()
    free_from = float("-inf")
    for index, (position, label) in enumerate(positions):
        half = apart(label) / 2
        if position - half >= free_from:
            kept.add(index)
            free_from = position + half + 4
    return kept


def _short(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


_OUTLINES = {
    "square": "M-4 -4H4V4H-4Z",
    "circle": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",
    "diamond": "M0 -5.8L5.8 0L0 5.8L-5.8 0Z",
    "triangle": "M0 -5.2L5.4 4.2H-5.4Z",
    "cross": "M-4.5 -2.5L-2.5 -4.5L0 -2L2.5 -4.5L4.5 -2.5L2 0L4.5 2.5L2.5 4.5L0 2L-2.5 4.5L-4.5 2.5"
    "L-2 0Z",
    "wedge": "M0 5.2L5.4 -4.2H-5.4Z",
    "plus": "M-1.5 -5H1.5V-1.5H5V1.5H1.5V5H-1.5V1.5H-5V-1.5H-1.5Z",
    "bar": "M-2 -5.5H2V5.5H-2Z",
}
