"""Line charts of accuracy against the radius of an attack, and charts of differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from markupsafe import Markup

from vonenet.report.differences import Estimate
from vonenet.report.svg import (
    STYLES,
    Scale,
    drawing,
    element,
    joined,
    line,
    marker,
    round_ticks,
    spaced,
    stroke,
    text,
)
from vonenet.report.words import percent, percent_interval, point_interval, points, radius

WIDTH = 350  # a phone's page, less its margins
CHART_HEIGHT = 270
TOP, BOTTOM, LEFT, RIGHT = 26, 222, 30, 338
CLEAN_X, FIRST_X, LAST_X = 48, 106, 322  # clean images have no place on a logarithmic axis
DIGIT_PX = 6.6  # width of a character of the axis labels

ROW_PX, HEADER_PX, FOOTER_PX = 25, 12, 40
NAMES_PX, NUMBERS_PX, CAP_PX = 92, 136, 4  # room left and right of a chart of differences


@dataclass(frozen=True)
class Series:
    """One model's line.

    Attributes:
        label: the model's.
        style: which colour, marker and dashes.
        clean: accuracy without attack, if measured.
        attacked: (radius in pixels of [0, 1], accuracy), ascending.
    """

    label: str
    style: int
    clean: Estimate | None
    attacked: Sequence[tuple[float, Estimate]]


@dataclass(frozen=True)
class Contrast:
    """A line of a chart of differences.

    Attributes:
        name: what is compared.
        difference: model less base; None where it was not measured alike.
        begins: whether a new group of lines begins here.
    """

    name: str
    difference: Estimate | None
    begins: bool = False


def accuracy_chart(norm: str, series: Sequence[Series]) -> Markup:
    """Accuracy against radius on a logarithmic axis, with 95 % bands.

    Args:
        norm: "linf", "l2" or "l1".
        series: models, at least one of them attacked.
    """
    radii = sorted({epsilon for each in series for epsilon, _ in each.attacked})
    place = _radius_scale(radii)
    estimates = [e for each in series for _, e in each.attacked]
    estimates += [each.clean for each in series if each.clean]
    ticks = round_ticks(0, 100 * max(e.high for e in estimates), 6)
    height = Scale(ticks[0], ticks[-1], BOTTOM, TOP)
    parts = [_percent_axis(ticks, height), _radius_axis(norm, radii, place)]
    for each in series:
        spots = [(place(log(epsilon)), e, radius(norm, epsilon)) for epsilon, e in each.attacked]
        clean = [(float(CLEAN_X), each.clean, "clean")] if each.clean else []
        parts.append(_series(each, clean, spots, height))
    label = f"accuracy against the {norm} radius of the attack"
    return drawing(WIDTH, CHART_HEIGHT, label, joined(parts))


def difference_chart(
    label: str, style: int, contrasts: Sequence[Contrast], ends: tuple[float, float]
) -> Markup:
    """Differences from the base, in points, with 95 % intervals.

    Args:
        label: of the model, for those who do not see it.
        style: the model's.
        contrasts: lines, top to bottom.
        ends: numbers that the axis must hold beside 0, in points.
    """
    ticks = round_ticks(min(0, ends[0]), max(0, ends[1]), 5)
    across = Scale(ticks[0], ticks[-1], NAMES_PX, WIDTH - NUMBERS_PX)
    bottom = HEADER_PX + ROW_PX * len(contrasts)
    grid = [
        line(across(t), HEADER_PX - 4, across(t), bottom, class_="zero" if t == 0 else "grid")
        for t in ticks
    ]
    labels = [text(across(tick), bottom + 12, _signed(tick)) for tick in ticks]
    middle = (NAMES_PX + WIDTH - NUMBERS_PX) / 2
    title = text(middle, bottom + 29, "points more than the base", class_="soft")
    rows = [
        _contrast(contrast, style, HEADER_PX + ROW_PX * (index + 0.5), across)
        for index, contrast in enumerate(contrasts)
    ]
    content = joined([*grid, element("g", joined([*labels, title]), text_anchor="middle"), *rows])
    return drawing(WIDTH, bottom + FOOTER_PX, f"{label}: differences from the base", content)


def _radius_scale(radii: Sequence[float]) -> Scale:
    """From the logarithm of a radius to pixels; a single radius stands in the middle."""
    low, high = log(radii[0]), log(radii[-1])
    if low == high:
        return Scale(low - 1, high + 1, FIRST_X, LAST_X)
    return Scale(low, high, FIRST_X, LAST_X)


def _percent_axis(ticks: Sequence[float], height: Scale) -> Markup:
    lines = [line(LEFT, height(t), RIGHT, height(t), class_="grid") for t in ticks]
    labels = [text(LEFT - 6, height(t), f"{t:g}", text_anchor="end") for t in ticks]
    return joined([*lines, *labels, text(0, 8, "accuracy, %", class_="soft")])


def _radius_axis(norm: str, radii: Sequence[float], place: Scale) -> Markup:
    """A tick at every radius that was measured, labels where there is room."""
    positions = [(place(log(r)), radius(norm, r)) for r in radii]
    written = spaced(positions, lambda label: DIGIT_PX * len(label))
    ticks = [line(x, BOTTOM, x, BOTTOM + 5, class_="tick") for x, _ in positions]
    labels = [text(x, BOTTOM + 15, label) for i, (x, label) in enumerate(positions) if i in written]
    gap = (CLEAN_X + FIRST_X) / 2 - 6
    slashes = [line(gap + dx, BOTTOM + 5, gap + dx + 5, BOTTOM - 5, class_="tick") for dx in (0, 5)]
    clean = [line(CLEAN_X, BOTTOM, CLEAN_X, BOTTOM + 5, class_="tick"), text(CLEAN_X, 237, "clean")]
    axis = text((FIRST_X + LAST_X) / 2, BOTTOM + 34, "radius \N{GREEK SMALL LETTER EPSILON}")
    labelled = element("g", joined([*labels, *clean, axis]), text_anchor="middle")
    return joined([*ticks, *slashes, labelled])


def _series(
    series: Series,
    clean: Sequence[tuple[float, Estimate, str]],
    spots: Sequence[tuple[float, Estimate, str]],
    height: Scale,
) -> Markup:
    """Band, line and markers; the step from clean to the smallest radius is thin."""
    kind = f"s{series.style % STYLES}"
    upper = [f"{x:.2f} {height(100 * e.high):.2f}" for x, e, _ in spots]
    lower = [f"{x:.2f} {height(100 * e.low):.2f}" for x, e, _ in reversed(spots)]
    band = element("path", d=f"M{'L'.join(upper + lower)}Z", class_=f"band {kind}")
    path = [f"{x:.2f} {height(100 * e.value):.2f}" for x, e, _ in spots]
    parts = [band] if spots[1:] else []
    if clean and spots:
        x, e, _ = clean[0]
        lead = f"M{x:.2f} {height(100 * e.value):.2f}L{path[0]}"
        parts.append(element("path", d=lead, class_=f"lead {kind}"))
    parts += [stroke(series.style, f"M{'L'.join(path)}")] if path[1:] else []
    for x, e, name in [*clean, *spots]:
        ends = height(100 * e.low), height(100 * e.high)
        parts.append(line(x, ends[0], x, ends[1], class_=f"whisker {kind}"))
        said = f"{series.label}, {name}: {percent(e.value)}% {percent_interval(e)}"
        parts.append(marker(series.style, x, height(100 * e.value), title=said))
    return joined(parts)


def _signed(number: float) -> str:
    return f"{number:+g}".replace("-", "\N{MINUS SIGN}") if number else "0"


def _contrast(contrast: Contrast, style: int, y: float, across: Scale) -> Markup:
    parts = [text(0, y, contrast.name, class_="strong" if contrast.begins else "")]
    difference = contrast.difference
    if contrast.begins:
        parts.append(line(0, y - ROW_PX / 2, WIDTH, y - ROW_PX / 2, class_="rule"))
    if difference is None:
        parts.append(text(WIDTH, y, "not comparable", text_anchor="end", class_="soft"))
        return joined(parts)
    kind = f"s{style % STYLES}"
    ends = (across(100 * difference.low), across(100 * difference.high))
    said = f"{points(difference.value)} {point_interval(difference)}"
    parts.append(line(ends[0], y, ends[1], y, class_=f"interval {kind}"))
    parts += [line(x, y - CAP_PX, x, y + CAP_PX, class_=f"whisker {kind}") for x in ends]
    middle = across(100 * difference.value)
    parts.append(marker(style, middle, y, size=0.75, hollow=not difference.sign, title=said))
    weight = "strong" if difference.sign else ""
    parts.append(text(WIDTH, y, said, text_anchor="end", class_=f"figures {weight}"))
    return joined(parts)
