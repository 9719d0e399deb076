"""Distributions over units: a histogram for each layer, one beneath the other, V1's behind each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from vonenet.physiology.recording import Array
from vonenet.report.differences import Estimate
from vonenet.report.physiology_axes import Axis, Box, Place, across, label
from vonenet.report.svg import STYLES, drawing, element, joined, line, marker, text

WIDTH = 350  # a phone's page, less its margins
LEFT, RIGHT = 22, 252
ROW_PX, BARS_PX, TOP = 52, 42, 8
FOOTER_PX = 38
BAR_ROW_PX = 26


@dataclass(frozen=True, eq=False)
class Histogram:
    """One layer's row.

    Attributes:
        label: the layer's.
        style: its colour and marker.
        shares: of its units in each bin, (bins,); None where there is nothing to show.
        figure: its most telling number, in words.
        units: how many units, or why there are none.
        median: over the units, on the axis; None shows none.
    """

    label: str
    style: int
    shares: Array | None
    figure: str
    units: str
    median: float | None = None


@dataclass(frozen=True)
class Bar:
    """One line of a chart of shares.

    Attributes:
        label: whose.
        style: colour and marker; None for V1.
        share: of units or cells that have the property; None where there is none.
        words: how many, or why there are none.
    """

    label: str
    style: int | None
    share: Estimate | None
    words: str


def histogram_chart(
    axis: Axis,
    edges: Array,
    rows: Sequence[Histogram],
    published: Array | None = None,
    rule: float | None = None,
) -> Markup:
    """Histograms of several layers, each before V1's where that is known.

    Args:
        axis: of the property.
        edges: (bins + 1,) on it.
        rows: layers, top to bottom.
        published: (bins,) shares of V1 cells.
        rule: a number that a line marks.
    """
    place = axis.place(LEFT, RIGHT)
    drawn = [row.shares for row in rows if row.shares is not None]
    drawn += [published] if published is not None else []
    highest = max((float(shares.max()) for shares in drawn), default=1.0) or 1.0
    bottom = TOP + ROW_PX * len(rows)
    parts = []
    if rule is not None:
        parts.append(line(place(rule), 0, place(rule), bottom, class_="zero", stroke_dasharray=3))
    for index, row in enumerate(rows):
        base = TOP + ROW_PX * (index + 1) - 4
        parts.append(_row(row, axis.name, edges, place, base, BARS_PX / highest, published))
    scale = across(axis, Box(LEFT, RIGHT, TOP, bottom))
    return drawing(WIDTH, bottom + FOOTER_PX, axis.name, joined([*parts, scale]))


def share_chart(name: str, bars: Sequence[Bar]) -> Markup:
    """Shares of units that have a property, with 95 % intervals."""
    bottom = TOP + BAR_ROW_PX * len(bars)
    axis = Axis(f"{name} (%)", 0, 100, [0, 25, 50, 75, 100])
    place = axis.place(LEFT, RIGHT)
    rows = [_bar(bar, place, TOP + BAR_ROW_PX * (i + 0.5)) for i, bar in enumerate(bars)]
    scale = across(axis, Box(LEFT, RIGHT, TOP, bottom))
    return drawing(WIDTH, bottom + FOOTER_PX, name, joined([*rows, scale]))


def _row(
    row: Histogram,
    name: str,
    edges: Array,
    place: Place,
    base: float,
    px_per_share: float,
    published: Array | None,
) -> Markup:
    parts = []
    spots = [place(edge) for edge in edges.tolist()]
    middle = base - BARS_PX / 2
    if row.shares is None:
        words = text(LEFT + 6, middle + 7, row.units, class_="soft")
        figure = text(WIDTH, middle - 7, row.figure, text_anchor="end", class_="strong")
        return joined([words, figure, marker(row.style, 7, middle, title=row.label)])
    if published is not None:
        parts.append(_bars(published, edges, spots, base, px_per_share))
    outline = _steps(row.shares, spots, base, px_per_share)
    title = element("title", _said(row.label, row.shares, name, edges))
    kind = f"s{row.style % STYLES}"
    parts.append(line(LEFT, base, RIGHT, base, class_="grid"))
    parts.append(element("path", title, d=outline, class_=f"band {kind}"))
    parts.append(element("path", d=outline, class_=f"stroke {kind}"))
    if row.median is not None:
        x = place(row.median)
        parts.append(line(x, base, x, base - BARS_PX, class_=f"median {kind}"))
    parts.append(marker(row.style, 7, middle, title=row.label))
    if row.figure:
        parts.append(text(WIDTH, middle - 7, row.figure, text_anchor="end", class_="strong"))
    y = middle + 7 if row.figure else middle
    parts.append(text(WIDTH, y, row.units, text_anchor="end", class_="soft figures"))
    return joined(parts)


def _bars(shares: Array, edges: Array, spots: Sequence[float], base: float, px: float) -> Markup:
    bars = []
    for index, share in enumerate(shares.tolist()):
        said = f"{label(edges[index])} to {label(edges[index + 1])}: {100 * share:.1f}% of V1 cells"
        width = spots[index + 1] - spots[index]
        bars.append(
            element(
                "rect",
                element("title", said),
                x=spots[index] + 0.5,
                y=base - px * share,
                width=max(width - 1, 0.5),
                height=px * share,
                class_="cells",
            )
        )
    return joined(bars)


def _steps(shares: Array, spots: Sequence[float], base: float, px: float) -> str:
    steps = [
        f"V{base - px * share:.1f}H{spots[index + 1]:.1f}"
        for index, share in enumerate(shares.tolist())
    ]
    return f"M{spots[0]:.1f} {base:.1f}{''.join(steps)}V{base:.1f}"


def _said(layer: str, shares: Array, name: str, edges: Array) -> str:
    """Every bin in words, for whoever hovers."""
    bins = [
        f"{label(low)} to {label(high)}: {100 * share:.0f}%"
        for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True)
        if share
    ]
    return f"{layer}, {name}, share of units. {'; '.join(bins)}"


def _bar(bar: Bar, place: Place, y: float) -> Markup:
    kind = "cells" if bar.style is None else f"s{bar.style % STYLES} filled"
    sign = (
        text(0, y, "V1", class_="strong")
        if bar.style is None
        else marker(bar.style, 7, y, title=bar.label)
    )
    parts = [sign, text(WIDTH, y, bar.words, text_anchor="end", class_="soft figures")]
    if bar.share is not None:
        end = place(100 * bar.share.value)
        said = element("title", f"{bar.label}: {100 * bar.share.value:.1f}%")
        parts.append(
            element(
                "rect", said, x=LEFT, y=y - 7, width=max(end - LEFT, 1.0), height=14, class_=kind
            )
        )
        ends = place(100 * bar.share.low), place(100 * bar.share.high)
        parts.append(line(ends[0], y, ends[1], y, class_="error"))
        parts += [line(x, y - 3, x, y + 3, class_="error") for x in ends]
    return joined(parts)
